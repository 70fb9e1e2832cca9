//! The tables of default roles and bindings.

use super::{BindingRow, RoleRow, named, on, paths};
use crate::auth::rbac::rule::Rule;

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_WRITE: &str = "create delete deletecollection get list patch update watch";
const RECORD: &str = "create patch update";
const EVENTS: &str = "core events.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const REVIEWS: &str = "authorization.k8s.io";
const TOKENS: &str = "authentication.k8s.io";

/// The roles.
pub(super) fn roles() -> Vec<RoleRow> {
    [people(), everyone(), parts()].into_iter().flatten().collect()
}

fn role(name: &'static str, rules: Vec<Rule>) -> RoleRow {
    RoleRow { name, into: None, of: None, rules }
}

/// A role that has the rules of all that are labelled to be aggregated to it.
fn aggregate(name: &'static str, into: Option<&'static str>) -> RoleRow {
    RoleRow { name, into, of: Some(name), rules: Vec::new() }
}

fn part_of(into: &'static str, name: &'static str, rules: Vec<Rule>) -> RoleRow {
    RoleRow { name, into: Some(into), of: None, rules }
}

/// For people who use the cluster.
fn people() -> Vec<RoleRow> {
    let everything = Rule { urls: vec!["*".to_owned()], ..on("*", "", "") };
    vec![
        role("cluster-admin", vec![on("*", "*", "*"), everything]),
        aggregate("admin", None),
        aggregate("edit", Some("admin")),
        aggregate("view", Some("edit")),
        part_of(
            "admin",
            "system:aggregate-to-admin",
            vec![
                on("create", REVIEWS, "localsubjectaccessreviews"),
                on(READ_WRITE, RBAC, "rolebindings roles"),
            ],
        ),
        part_of("edit", "system:aggregate-to-edit", edit()),
        part_of("view", "system:aggregate-to-view", view()),
        part_of("view", "system:aggregated-metrics-reader", vec![on(READ, "metrics.k8s.io", "nodes pods")]),
    ]
}

/// What `edit` may do beyond `view`. Secrets are here, since whoever reads them can act as their service accounts.
fn edit() -> Vec<Rule> {
    vec![
        on(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        on("impersonate", "core", "serviceaccounts"),
        on(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        on("create", "core", "pods/eviction"),
        on(
            WRITE,
            "core",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
             serviceaccounts services services/proxy",
        ),
        on("create", "core", "serviceaccounts/token"),
        on(
            WRITE,
            "apps",
            "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
        ),
        on(WRITE, "autoscaling", "horizontalpodautoscalers"),
        on(WRITE, "batch", "cronjobs jobs"),
        on(WRITE, "policy", "poddisruptionbudgets"),
        on(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        on(READ_WRITE, "coordination.k8s.io", "leases"),
    ]
}

fn view() -> Vec<Rule> {
    vec![
        on(
            READ,
            "core",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
             replicationcontrollers/scale serviceaccounts services services/status",
        ),
        on(
            READ,
            "core",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
             resourcequotas resourcequotas/status",
        ),
        on(READ, "core", "namespaces"),
        on(READ, "discovery.k8s.io", "endpointslices"),
        on(
            READ,
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
             replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        ),
        on(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        on(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        on(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        on(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ]
}

/// For whoever connects.
fn everyone() -> Vec<RoleRow> {
    vec![
        role(
            "system:discovery",
            vec![paths(
                "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
            )],
        ),
        role(
            "system:basic-user",
            vec![
                on("create", REVIEWS, "selfsubjectaccessreviews selfsubjectrulesreviews"),
                on("create", TOKENS, "selfsubjectreviews"),
            ],
        ),
        role("system:public-info-viewer", vec![paths("/healthz /livez /readyz /version /version/")]),
        role(
            "system:service-account-issuer-discovery",
            vec![paths("/.well-known/openid-configuration /openid/v1/jwks")],
        ),
        role(
            "system:monitoring",
            vec![paths("/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
        ),
    ]
}

/// For programs that are part of a cluster, or stand beside it.
fn parts() -> Vec<RoleRow> {
    let reviews =
        || vec![on("create", TOKENS, "tokenreviews"), on("create", REVIEWS, "subjectaccessreviews")];
    vec![
        role("system:auth-delegator", reviews()),
        role("system:kube-dns", vec![on("list watch", "core", "endpoints services")]),
        role("system:kube-scheduler", [scheduler(), reviews()].concat()),
        role(
            "system:volume-scheduler",
            vec![
                on("get list patch update watch", "core", "persistentvolumes"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("get list patch update watch", "core", "persistentvolumeclaims"),
            ],
        ),
        role("system:node", [reviews(), node()].concat()),
        role(
            "system:node-proxier",
            vec![
                on("list watch", "core", "endpoints services"),
                on(READ, "core", "nodes"),
                on(RECORD, EVENTS, "events"),
                on("list watch", "discovery.k8s.io", "endpointslices"),
            ],
        ),
        role(
            "system:node-problem-detector",
            vec![
                on("get", "core", "nodes"),
                on("patch", "core", "nodes/status"),
                on(RECORD, EVENTS, "events"),
            ],
        ),
        role(
            "system:persistent-volume-provisioner",
            vec![
                on("create delete get list watch", "core", "persistentvolumes"),
                on("get list update watch", "core", "persistentvolumeclaims"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("watch", "core", "events"),
                on(RECORD, EVENTS, "events"),
            ],
        ),
    ]
}

fn scheduler() -> Vec<Rule> {
    vec![
        on(RECORD, EVENTS, "events"),
        on("create", "coordination.k8s.io", "leases"),
        named(on("get list update watch", "coordination.k8s.io", "leases"), "kube-scheduler"),
        on(READ, "core", "namespaces nodes"),
        on("delete get list watch", "core", "pods"),
        on("create", "core", "bindings pods/binding"),
        on("patch update", "core", "pods/status"),
        on(READ, "core", "replicationcontrollers services"),
        on(READ, "apps", "replicasets statefulsets"),
        on(READ, "policy", "poddisruptionbudgets"),
        on(READ, "core", "persistentvolumeclaims persistentvolumes"),
        on(
            READ,
            "storage.k8s.io",
            "csidrivers csinodes csistoragecapacities storageclasses volumeattachments",
        ),
    ]
}

fn node() -> Vec<Rule> {
    vec![
        on("create", REVIEWS, "localsubjectaccessreviews"),
        on(READ, "core", "services"),
        on("create get list patch update watch", "core", "nodes"),
        on("patch update", "core", "nodes/status"),
        on(RECORD, EVENTS, "events"),
        on("create delete get list watch", "core", "pods"),
        on("patch update", "core", "pods/status"),
        on("create", "core", "pods/eviction"),
        on(READ, "core", "configmaps secrets"),
        on("get", "core", "persistentvolumeclaims persistentvolumes"),
        on("get patch update", "core", "persistentvolumeclaims/status"),
        on("get", "core", "endpoints"),
        on("create delete get patch update", "coordination.k8s.io", "leases"),
        on("get", "storage.k8s.io", "volumeattachments"),
        on(READ, "storage.k8s.io", "csidrivers"),
        on("create delete get patch update", "storage.k8s.io", "csinodes"),
        on("create", "core", "serviceaccounts/token"),
        on(READ, "node.k8s.io", "runtimeclasses"),
    ]
}

/// The bindings, each of the role of its name.
pub(super) fn bindings() -> Vec<BindingRow> {
    let bind = |role, subjects| BindingRow { role, subjects };
    vec![
        bind("cluster-admin", &[("Group", "system:masters")]),
        bind("system:discovery", &[("Group", "system:authenticated")]),
        bind("system:basic-user", &[("Group", "system:authenticated")]),
        bind(
            "system:public-info-viewer",
            &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
        ),
        bind("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
        bind("system:monitoring", &[("Group", "system:monitoring")]),
        bind("system:kube-dns", &[("User", "system:kube-dns")]),
        bind("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
        bind("system:volume-scheduler", &[("User", "system:kube-scheduler")]),
        bind("system:node-proxier", &[("User", "system:kube-proxy")]),
        // The node is in the same process; nobody else is one.
        bind("system:node", &[]),
    ]
}
