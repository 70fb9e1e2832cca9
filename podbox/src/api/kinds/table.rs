//! The rows of the kinds' table.

use super::{ALL, Kind, Name, Scope, Subresource, Twin, Verb};
use crate::api::rules::{Of, Rules, autoscale, event};
use k8s_openapi::api::{
    admissionregistration::v1 as admission,
    apps::v1 as apps,
    authentication::v1 as authentication,
    authorization::v1 as authorization,
    autoscaling::{v1 as autoscaling_v1, v2 as autoscaling},
    batch::v1 as batch,
    certificates::v1 as certificates,
    coordination::v1 as coordination,
    core::v1 as core,
    discovery::v1 as discovery,
    events::v1 as events,
    flowcontrol::v1 as flow,
    networking::v1 as networking,
    node::v1 as node,
    policy::v1 as policy,
    rbac::v1 as rbac,
    resource::v1 as resource,
    scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use serde_json::Value;
use std::sync::Arc;

const CREATE: &[Verb] = &[Verb::Create];
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const READ_WRITE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
const ANY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
/// Namespaces are not deleted by the dozen.
const ONE_BY_ONE: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

/// A row: a type of `k8s-openapi` says group, version, kind, plural and scope.
fn row<T>() -> Kind
where
    T: Rules + k8s_openapi::Resource + 'static,
{
    let in_namespaces =
        std::any::TypeId::of::<T::Scope>() == std::any::TypeId::of::<k8s_openapi::NamespaceResourceScope>();
    let scope = if in_namespaces { Scope::Namespaced } else { Scope::Cluster };
    Kind {
        group: T::GROUP.into(),
        version: T::VERSION.into(),
        kind: T::KIND.into(),
        plural: T::URL_PATH_SEGMENT.into(),
        singular: T::KIND.to_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: ALL,
        subresources: Vec::new(),
        schema: schema_name::<T>(),
        rules: Arc::new(Of::<T>::new()),
        fields: &[],
        inert: None,
        create_on_update: false,
        needs_version: false,
        shows_deleted: false,
        deprecated: None,
        generation: false,
        measured: false,
        twin: None,
    }
}

/// A row of what nodes or pods use, for which `k8s-openapi` has no type.
fn measured(kind: &'static str, plural: &'static str, scope: Scope) -> Kind {
    Kind {
        group: "metrics.k8s.io".into(),
        version: "v1beta1".into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: "".into(),
        scope,
        verbs: &[Verb::Get, Verb::List],
        schema: format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}").into(),
        rules: Arc::new(Of::<Value>::new()),
        measured: true,
        short_names: Vec::new(),
        ..row::<core::Node>()
    }
}

/// `io.k8s.api.core.v1.Pod`: the module path of the type says the same as the definition's name.
fn schema_name<T: k8s_openapi::Resource>() -> Name {
    let group = match T::GROUP {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{group}.{}.{}", T::VERSION, T::KIND).into()
}

impl Kind {
    fn short(mut self, names: &[&'static str]) -> Kind {
        self.short_names = names.iter().map(|name| Name::from(*name)).collect();
        self
    }

    /// In `kubectl get all`.
    fn in_all(mut self) -> Kind {
        self.categories = vec!["all".into()];
        self
    }

    /// Among those by which the API itself is extended.
    fn extends(mut self) -> Kind {
        self.categories = vec!["api-extensions".into()];
        self
    }

    fn verbs(mut self, verbs: &'static [Verb]) -> Kind {
        self.verbs = verbs;
        self
    }

    fn sub(mut self, name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Kind {
        self.subresources.push(Subresource { name: name.into(), kind: kind.into(), of: None, verbs });
        self
    }

    fn sub_of(
        mut self,
        name: &'static str,
        of: (&'static str, &'static str, &'static str),
        verbs: &'static [Verb],
    ) -> Kind {
        let (group, version, kind) = of;
        let of = Some((group.into(), version.into()));
        self.subresources.push(Subresource { name: name.into(), kind: kind.into(), of, verbs });
        self
    }

    fn status(self) -> Kind {
        let kind = self.kind.clone();
        let mut with = self;
        with.subresources.push(Subresource { name: "status".into(), kind, of: None, verbs: READ_WRITE });
        with
    }

    fn scale(self) -> Kind {
        self.sub_of("scale", ("autoscaling", "v1", "Scale"), READ_WRITE)
    }

    fn fields(mut self, fields: &'static [&'static str]) -> Kind {
        self.fields = fields;
        self
    }

    fn inert(mut self, why: &'static str) -> Kind {
        self.inert = Some(format!("{} is stored, but {why}", self.kind).into());
        self
    }

    /// The same objects as another kind's, in other words.
    fn twin_of(
        mut self,
        group: &'static str,
        plural: &'static str,
        to_stored: fn(Value) -> Value,
        from_stored: fn(Value) -> Value,
    ) -> Kind {
        self.twin = Some(Twin { of: (group.into(), plural.into()), to_stored, from_stored });
        self
    }

    fn counts(mut self) -> Kind {
        self.generation = true;
        self
    }

    fn upsert(mut self) -> Kind {
        self.create_on_update = true;
        self
    }

    fn versioned(mut self) -> Kind {
        self.needs_version = true;
        self
    }

    fn shown_deleted(mut self) -> Kind {
        self.shows_deleted = true;
        self
    }

    fn deprecated(mut self, since: &'static str, instead: &'static str) -> Kind {
        let (version, kind) = (&self.version, &self.kind);
        self.deprecated = Some(format!("{version} {kind} is deprecated in {since}+; use {instead}").into());
        self
    }
}

/// What the scale subresource of other kinds takes and gives. It is no resource of its own.
pub fn scale() -> Kind {
    Kind { scope: Scope::Namespaced, plural: "scales".into(), ..row::<autoscaling_v1::Scale>() }
}

/// podbox's own kinds.
pub fn builtin() -> Vec<Kind> {
    [cores(), workloads(), access(), others(), asked_for()].concat()
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const NOT_SCALED: &str = "nothing acts on it: pods are not scaled automatically";

const NOT_ANSWERED: &str = "nothing forwards what is sent to its address yet";
const NOT_PROVIDED: &str = "nothing provides storage by it yet";

fn cores() -> Vec<Kind> {
    vec![
        row::<core::Binding>().verbs(CREATE),
        row::<core::ConfigMap>().short(&["cm"]),
        row::<core::Endpoints>()
            .short(&["ep"])
            .upsert()
            .deprecated("v1.33", "discovery.k8s.io/v1 EndpointSlice"),
        row::<core::Event>().short(&["ev"]).fields(EVENT_FIELDS).upsert(),
        row::<core::LimitRange>().short(&["limits"]).upsert(),
        row::<core::Namespace>()
            .short(&["ns"])
            .verbs(ONE_BY_ONE)
            .fields(&["status.phase"])
            .sub("finalize", "Namespace", &[Verb::Update])
            .status(),
        row::<core::Node>()
            .short(&["no"])
            .fields(&["spec.unschedulable"])
            .sub("proxy", "NodeProxyOptions", ANY)
            .status(),
        row::<core::PersistentVolume>().short(&["pv"]).shown_deleted().status(),
        row::<core::PersistentVolumeClaim>().short(&["pvc"]).shown_deleted().status(),
        row::<core::Pod>()
            .short(&["po"])
            .in_all()
            .counts()
            .shown_deleted()
            .fields(POD_FIELDS)
            .sub("attach", "PodAttachOptions", CONNECT)
            .sub("binding", "Binding", CREATE)
            .sub("ephemeralcontainers", "Pod", READ_WRITE)
            .sub_of("eviction", ("policy", "v1", "Eviction"), CREATE)
            .sub("exec", "PodExecOptions", CONNECT)
            .sub("log", "Pod", &[Verb::Get])
            .sub("portforward", "PodPortForwardOptions", CONNECT)
            .sub("proxy", "PodProxyOptions", ANY)
            .sub("resize", "Pod", READ_WRITE)
            .status(),
        row::<core::PodTemplate>().counts().shown_deleted(),
        row::<core::ReplicationController>()
            .short(&["rc"])
            .in_all()
            .counts()
            .fields(&["status.replicas"])
            .scale()
            .status(),
        row::<core::ResourceQuota>().short(&["quota"]).shown_deleted().status(),
        row::<core::Secret>().fields(&["type"]),
        row::<core::Service>()
            .inert(NOT_ANSWERED)
            .short(&["svc"])
            .in_all()
            .upsert()
            .shown_deleted()
            .fields(&["spec.clusterIP", "spec.type"])
            .sub("proxy", "ServiceProxyOptions", ANY)
            .status(),
        row::<core::ServiceAccount>().short(&["sa"]).shown_deleted().sub_of(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            CREATE,
        ),
    ]
}

fn workloads() -> Vec<Kind> {
    vec![
        row::<apps::ControllerRevision>(),
        row::<apps::DaemonSet>().short(&["ds"]).in_all().counts().status(),
        row::<apps::Deployment>().short(&["deploy"]).in_all().counts().scale().status(),
        row::<apps::ReplicaSet>()
            .short(&["rs"])
            .in_all()
            .counts()
            .fields(&["status.replicas"])
            .scale()
            .status(),
        row::<apps::StatefulSet>().short(&["sts"]).in_all().counts().scale().status(),
        row::<batch::CronJob>().short(&["cj"]).in_all().counts().status(),
        row::<batch::Job>().in_all().counts().fields(&["status.successful"]).status(),
        row::<policy::PodDisruptionBudget>().short(&["pdb"]).counts().versioned().status(),
        row::<autoscaling::HorizontalPodAutoscaler>().short(&["hpa"]).in_all().inert(NOT_SCALED).status(),
        row::<autoscaling_v1::HorizontalPodAutoscaler>()
            .short(&["hpa"])
            .in_all()
            .inert(NOT_SCALED)
            .status()
            .twin_of("autoscaling", "horizontalpodautoscalers", autoscale::to_stored, autoscale::from_stored),
    ]
}

fn access() -> Vec<Kind> {
    vec![
        row::<rbac::ClusterRole>().upsert(),
        row::<rbac::ClusterRoleBinding>().upsert(),
        row::<rbac::Role>().upsert(),
        row::<rbac::RoleBinding>().upsert(),
        row::<authentication::SelfSubjectReview>().verbs(CREATE),
        row::<authentication::TokenReview>().verbs(CREATE),
        row::<authorization::LocalSubjectAccessReview>().verbs(CREATE),
        row::<authorization::SelfSubjectAccessReview>().verbs(CREATE),
        row::<authorization::SelfSubjectRulesReview>().verbs(CREATE),
        row::<authorization::SubjectAccessReview>().verbs(CREATE),
    ]
}

fn others() -> Vec<Kind> {
    vec![
        row::<coordination::Lease>().upsert().versioned(),
        row::<discovery::EndpointSlice>().counts(),
        row::<events::Event>()
            .short(&["ev"])
            .upsert()
            .fields(&[
                "regarding.kind",
                "regarding.namespace",
                "regarding.name",
                "regarding.uid",
                "regarding.apiVersion",
                "regarding.resourceVersion",
                "regarding.fieldPath",
                "reason",
                "reportingController",
                "type",
            ])
            .twin_of("", "events", event::to_stored, event::from_stored),
        measured("NodeMetrics", "nodes", Scope::Cluster),
        measured("PodMetrics", "pods", Scope::Namespaced),
        row::<networking::Ingress>()
            .short(&["ing"])
            .counts()
            .inert("nothing acts on it: there is no ingress controller")
            .status(),
        row::<networking::IngressClass>()
            .counts()
            .inert("nothing acts on it: there is no ingress controller"),
        row::<networking::IPAddress>()
            .short(&["ip"])
            .inert("nothing acts on it: which Service has which address is read from the Services"),
        row::<networking::NetworkPolicy>()
            .short(&["netpol"])
            .counts()
            .inert("nothing enforces it: pods reach each other as before"),
        row::<networking::ServiceCIDR>()
            .counts()
            .inert("Services get addresses only from the range of the one called kubernetes")
            .status(),
        row::<node::RuntimeClass>().versioned(),
        row::<scheduling::PriorityClass>().short(&["pc"]).counts(),
        row::<storage::CSIDriver>().inert(NOT_PROVIDED).versioned().shown_deleted(),
        row::<storage::CSINode>().inert(NOT_PROVIDED).versioned().shown_deleted(),
        row::<storage::CSIStorageCapacity>().inert(NOT_PROVIDED).versioned(),
        row::<storage::StorageClass>().short(&["sc"]).shown_deleted(),
        row::<storage::VolumeAttachment>().inert(NOT_PROVIDED).versioned().shown_deleted().status(),
        row::<storage::VolumeAttributesClass>().inert(NOT_PROVIDED).short(&["vac"]),
    ]
}

const NOT_ENFORCED: &str = "NOTHING ENFORCES IT: no request is judged or changed by it";
const NOT_QUEUED: &str = "nothing queues requests by it: one bound is for all that are in flight";
const NOT_ALLOCATED: &str = "nothing allocates devices yet";

/// What others of a cluster's parts would act on.
fn asked_for() -> Vec<Kind> {
    vec![
        row::<admission::MutatingAdmissionPolicy>().extends().counts().inert(NOT_ENFORCED),
        row::<admission::MutatingAdmissionPolicyBinding>().extends().counts().inert(NOT_ENFORCED),
        row::<admission::ValidatingAdmissionPolicy>().extends().counts().inert(NOT_ENFORCED).status(),
        row::<admission::ValidatingAdmissionPolicyBinding>().extends().counts().inert(NOT_ENFORCED),
        row::<certificates::CertificateSigningRequest>()
            .short(&["csr"])
            .fields(&["spec.signerName"])
            .inert("nobody signs it, also when it is approved")
            .sub("approval", "CertificateSigningRequest", READ_WRITE)
            .status(),
        row::<flow::FlowSchema>().counts().inert(NOT_QUEUED).status(),
        row::<flow::PriorityLevelConfiguration>().counts().inert(NOT_QUEUED).status(),
        row::<resource::DeviceClass>().counts().inert(NOT_ALLOCATED),
        row::<resource::ResourceClaim>().inert(NOT_ALLOCATED).shown_deleted().status(),
        row::<resource::ResourceClaimTemplate>().inert(NOT_ALLOCATED),
        row::<resource::ResourceSlice>()
            .counts()
            .fields(&["spec.driver", "spec.nodeName"])
            .inert(NOT_ALLOCATED),
    ]
}
