//! The defaults against what upstream documents of them.

use super::*;
use crate::api::kinds::Kinds;
use crate::api::user::User;
use crate::auth::attributes::Attributes;
use crate::auth::rbac::Rbac;
use std::collections::BTreeSet;

/// Served by parts of the API that are no kinds of the table, or not yet.
const BESIDE: &[&str] = &["metrics.k8s.io/nodes", "metrics.k8s.io/pods"];

fn cluster() -> Rbac {
    let mut rbac = Rbac::default();
    for object in objects() {
        let resource = if object["kind"] == "ClusterRole" { "clusterroles" } else { "clusterrolebindings" };
        rbac.put(resource, &object).unwrap();
    }
    rbac
}

/// The cluster with `user` bound to `role`, in namespace `a`.
fn bound(role: &str) -> Rbac {
    let mut rbac = cluster();
    let binding = json!({
        "metadata": {"name": "b", "namespace": "a"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": "user"}],
    });
    rbac.put("rolebindings", &binding).unwrap();
    rbac
}

#[track_caller]
fn check(role: &str, namespace: &str, question: &str, expected: bool) {
    let user = User::authenticated("user", []);
    let [verb, group, resource] = question.split(' ').collect::<Vec<_>>()[..] else { panic!("{question}") };
    let group = if group == "core" { "" } else { group };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let asked = Attributes { verb, group, resource, subresource, namespace, ..Attributes::of(&user) };
    assert_eq!(bound(role).decide(&asked).allowed(), expected, "{role} in {namespace:?}: {question}");
}

#[test]
fn view_reads_what_is_not_secret() {
    for question in ["get core pods", "list apps deployments", "get core pods/log", "watch core configmaps"] {
        check("view", "a", question, true);
        check("view", "b", question, false);
        check("view", "", question, false);
    }
    for question in [
        "get core secrets",
        "create core pods",
        "get rbac.authorization.k8s.io roles",
        "create core pods/exec",
    ] {
        check("view", "a", question, false);
    }
}

#[test]
fn edit_writes_and_does_not_grant() {
    for question in [
        "create core pods",
        "get core secrets",
        "create core pods/exec",
        "update apps deployments/scale",
        "create core serviceaccounts/token",
        "impersonate core serviceaccounts",
        "get core pods/log",
    ] {
        check("edit", "a", question, true);
    }
    for question in [
        "create rbac.authorization.k8s.io rolebindings",
        "update core resourcequotas",
        "update core namespaces",
        "patch core pods/status",
        "create core endpoints",
    ] {
        check("edit", "a", question, false);
    }
}

#[test]
fn admin_grants_and_does_not_set_quotas() {
    check("admin", "a", "create rbac.authorization.k8s.io rolebindings", true);
    check("admin", "a", "delete core pods", true);
    check("admin", "a", "get core secrets", true);
    check("admin", "a", "create core resourcequotas", false);
    check("admin", "a", "delete core namespaces", false);
    check("admin", "a", "get core nodes", false);
}

#[test]
fn cluster_admin_does_everything_where_it_is_bound() {
    check("cluster-admin", "a", "escalate anything.example things/part", true);
    check("cluster-admin", "b", "get core pods", false);
}

#[track_caller]
fn check_path(user: &User, path: &str, expected: bool) {
    let asked = Attributes { verb: "get", path, ..Attributes::of(user) };
    assert_eq!(cluster().decide(&asked).allowed(), expected, "{} {path}", user.name);
}

#[test]
fn who_connects_finds_out_what_there_is() {
    let (nobody, somebody) = (User::anonymous(), User::authenticated("jane", []));
    let app = User::service_account("a", "b", "");
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        check_path(&nobody, path, true);
        check_path(&somebody, path, true);
    }
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3"] {
        check_path(&nobody, path, false);
        check_path(&somebody, path, true);
    }
    check_path(&somebody, "/metrics", false);
    check_path(&somebody, "/openid/v1/jwks", false);
    check_path(&app, "/openid/v1/jwks", true);
}

#[test]
fn what_is_granted_is_served() {
    let kinds = Kinds::new();
    let served: BTreeSet<String> = kinds
        .iter()
        .flat_map(|kind| {
            let parts =
                kind.subresources.iter().map(|part| format!("{}/{}/{}", kind.group, kind.plural, part.name));
            parts.chain([format!("{}/{}", kind.group, kind.plural)]).collect::<Vec<_>>()
        })
        .collect();
    for rule in table::roles().iter().flat_map(|role| &role.rules) {
        for resource in rule.resources.iter().filter(|resource| *resource != "*") {
            let named = |group: &String| {
                let name = format!("{group}/{resource}");
                served.contains(&name) || BESIDE.contains(&&*name)
            };
            assert!(rule.groups.iter().all(named), "{resource} of {:?}", rule.groups);
        }
    }
}

#[test]
fn defaults_are_valid_and_named_once() {
    let kinds = Kinds::new();
    let mut names = BTreeSet::new();
    for object in objects() {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        assert!(kinds.kind(version, kind).is_some());
        assert!(names.insert(format!("{kind} {}", object::name(&object))));
        if kind == "ClusterRoleBinding" {
            assert!(names.contains(&format!("ClusterRole {}", object["roleRef"]["name"].as_str().unwrap())));
        }
    }
}

fn find(kind: &str, name: &str) -> Value {
    objects().into_iter().find(|object| object["kind"] == kind && object::name(object) == name).unwrap()
}

#[test]
fn what_is_as_it_should_be_is_kept() {
    for object in objects() {
        assert_eq!(mend(&object, &object), Mend::Keep);
    }
}

#[test]
fn what_is_missing_comes_back_and_what_was_added_stays() {
    let expected = find("ClusterRole", "system:basic-user");
    let mut there = expected.clone();
    let rules = there["rules"].as_array_mut().unwrap();
    rules.remove(0);
    rules.push(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}));
    there["metadata"]["labels"]["mine"] = "yes".into();
    there["metadata"]["annotations"] = Value::Null;
    let Mend::Write(mended) = mend(&there, &expected) else { panic!("nothing to mend?") };
    assert_eq!(mended["rules"].as_array().unwrap().len(), 3);
    assert_eq!(mended["metadata"]["labels"]["mine"], "yes");
    assert_eq!(mended["metadata"]["annotations"][AUTOUPDATE], "true");
    assert_eq!(mend(&mended, &expected), Mend::Keep);
}

#[test]
fn a_subject_and_a_selector_come_back() {
    let expected = find("ClusterRoleBinding", "system:discovery");
    let mut there = expected.clone();
    there.as_object_mut().unwrap().remove("subjects");
    assert_eq!(mend(&there, &expected), Mend::Write(expected));

    let expected = find("ClusterRole", "admin");
    let mut there = expected.clone();
    there["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(mend(&there, &expected), Mend::Keep, "its rules are written by aggregation");
    there["aggregationRule"]["clusterRoleSelectors"] = json!([]);
    let Mend::Write(mended) = mend(&there, &expected) else { panic!("nothing to mend?") };
    assert_eq!(mended["aggregationRule"], expected["aggregationRule"]);
}

#[test]
fn what_is_not_to_be_mended_is_left_alone() {
    let expected = find("ClusterRoleBinding", "system:discovery");
    let mut there = expected.clone();
    there["subjects"] = json!([]);
    there["metadata"]["annotations"][AUTOUPDATE] = "false".into();
    assert_eq!(mend(&there, &expected), Mend::Keep);
}

#[test]
fn a_binding_of_another_role_is_made_anew() {
    let expected = find("ClusterRoleBinding", "cluster-admin");
    let mut there = expected.clone();
    there["roleRef"]["name"] = "view".into();
    assert_eq!(mend(&there, &expected), Mend::Recreate(expected));
}
