//! Bindings, aggregation, escalation: from objects to answers.

use super::*;
use crate::api::recorded;
use crate::api::status::ApiError;
use serde_json::json;

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "a"}, "rules": rules})
}

fn cluster_role(name: &str, labels: Value, rules: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, subjects: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "a"},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": subjects,
    })
}

fn pods(verb: &str) -> Value {
    json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}])
}

fn of_cluster(mut object: Value) -> Value {
    object["metadata"]["namespace"] = Value::Null;
    object
}

fn ask<'a>(user: &'a User, verb: &'a str, namespace: &'a str) -> Attributes<'a> {
    Attributes { verb, resource: "pods", namespace, ..Attributes::of(user) }
}

fn user(name: &str) -> User {
    User::authenticated(name, ["dev".to_owned()])
}

#[test]
fn a_binding_gives_its_role_where_it_is_and_to_whom_it_names() {
    let mut rbac = Rbac::default();
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    let subjects = json!([
        {"kind": "User", "name": "jane"},
        {"kind": "ServiceAccount", "name": "app"},
        {"kind": "ServiceAccount", "name": "app", "namespace": "b"},
    ]);
    rbac.put("rolebindings", &binding("x", "Role", "r", subjects)).unwrap();
    let may = |user: &User, verb, namespace| rbac.decide(&ask(user, verb, namespace)).allowed();
    assert!(may(&user("jane"), "get", "a"));
    assert!(!may(&user("jane"), "get", "b"));
    assert!(!may(&user("jane"), "get", ""));
    assert!(!may(&user("jane"), "list", "a"));
    assert!(!may(&user("joe"), "get", "a"));
    assert!(
        may(&User::service_account("a", "app", ""), "get", "a"),
        "without a namespace, it is the binding's"
    );
    assert!(may(&User::service_account("b", "app", ""), "get", "a"));
    assert!(!may(&User::service_account("c", "app", ""), "get", "a"));
    assert!(may(&User::authenticated("root", [crate::api::user::MASTERS.to_owned()]), "anything", ""));
}

#[test]
fn a_cluster_binding_gives_its_role_everywhere() {
    let mut rbac = Rbac::default();
    rbac.put("clusterroles", &cluster_role("r", json!({}), pods("get"))).unwrap();
    let group = json!([{"kind": "Group", "name": "dev"}]);
    rbac.put("clusterrolebindings", &of_cluster(binding("x", "ClusterRole", "r", group))).unwrap();
    assert!(["", "a", "b"].iter().all(|namespace| rbac.decide(&ask(&user("x"), "get", namespace)).allowed()));
}

#[test]
fn what_is_taken_back_is_gone() {
    let subjects = json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "dev"}]);
    let jane = user("jane");
    let mut rbac = Rbac::default();
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    rbac.put("rolebindings", &binding("x", "Role", "r", subjects.clone())).unwrap();
    rbac.put("rolebindings", &binding("x", "Role", "r", json!([{"kind": "User", "name": "joe"}]))).unwrap();
    assert!(!rbac.decide(&ask(&jane, "get", "a")).allowed());
    rbac.put("rolebindings", &binding("x", "Role", "r", subjects.clone())).unwrap();
    rbac.put("roles", &role("r", pods("list"))).unwrap();
    assert!(!rbac.decide(&ask(&jane, "get", "a")).allowed());
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    assert!(rbac.decide(&ask(&jane, "get", "a")).allowed());
    rbac.remove("roles", "a", "r");
    let gone = rbac.decide(&ask(&jane, "get", "a")).reason();
    assert_eq!(gone, "RBAC: role.rbac.authorization.k8s.io \"r\" not found");
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    rbac.remove("rolebindings", "a", "x");
    assert_eq!(rbac.decide(&ask(&jane, "get", "a")).reason(), "");
    assert!(rbac.users.is_empty() && rbac.groups.is_empty());
}

#[test]
fn what_cannot_be_read_grants_nothing() {
    let mut rbac = Rbac::default();
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    let subjects = json!([{"kind": "User", "name": "jane"}]);
    rbac.put("rolebindings", &binding("x", "Role", "r", subjects.clone())).unwrap();
    let mut broken = role("r", pods("get"));
    broken["rules"] = json!("all of them");
    let why = rbac.put("roles", &broken).unwrap_err();
    assert!(why.starts_with("roles \"r\" grants nothing"), "{why}");
    assert!(!rbac.decide(&ask(&user("jane"), "get", "a")).allowed());
    assert!(rbac.put("rolebindings", &binding("x", "Node", "r", subjects)).is_err());
}

#[test]
fn a_decision_says_why() {
    let mut rbac = Rbac::default();
    rbac.put("clusterroles", &cluster_role("r", json!({}), pods("get"))).unwrap();
    let account = json!([{"kind": "ServiceAccount", "name": "app", "namespace": "a"}]);
    rbac.put("rolebindings", &binding("x", "ClusterRole", "r", account)).unwrap();
    let app = User::service_account("a", "app", "");
    assert_eq!(
        rbac.decide(&ask(&app, "get", "a")).reason(),
        "RBAC: allowed by RoleBinding \"x/a\" of ClusterRole \"r\" to ServiceAccount \"app/a\""
    );
}

fn aggregate(name: &str, word: &str, labels: Value) -> Value {
    let mut role = cluster_role(name, labels, Value::Null);
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {word: "true"}}]});
    role
}

#[test]
fn an_aggregated_role_has_the_rules_of_those_it_selects() {
    let jane = user("jane");
    let mut rbac = Rbac::default();
    let subjects = json!([{"kind": "User", "name": "jane"}]);
    rbac.put("rolebindings", &binding("x", "ClusterRole", "top", subjects)).unwrap();
    rbac.put("clusterroles", &aggregate("top", "to-top", json!({}))).unwrap();
    rbac.put("clusterroles", &aggregate("middle", "to-middle", json!({"to-top": "true"}))).unwrap();
    rbac.put("clusterroles", &cluster_role("leaf", json!({"to-middle": "true"}), pods("get"))).unwrap();
    assert!(rbac.decide(&ask(&jane, "get", "a")).allowed(), "through two levels, in any order");
    assert_eq!(
        rbac.aggregated().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["middle", "top"]
    );
    rbac.put("clusterroles", &cluster_role("leaf", json!({}), pods("get"))).unwrap();
    assert!(!rbac.decide(&ask(&jane, "get", "a")).allowed());
    rbac.put("clusterroles", &cluster_role("leaf", json!({"to-top": "true"}), pods("get"))).unwrap();
    assert!(rbac.decide(&ask(&jane, "get", "a")).allowed());
    rbac.remove("clusterroles", "", "leaf");
    assert!(!rbac.decide(&ask(&jane, "get", "a")).allowed());
}

#[test]
fn roles_that_aggregate_each_other_end() {
    let mut rbac = Rbac::default();
    rbac.put("clusterroles", &aggregate("one", "x", json!({"x": "true"}))).unwrap();
    rbac.put("clusterroles", &aggregate("two", "x", json!({"x": "true"}))).unwrap();
    rbac.put("clusterroles", &cluster_role("leaf", json!({"x": "true"}), pods("get"))).unwrap();
    assert!(rbac.aggregated().iter().all(|(_, rules)| rules.len() == 1));
}

#[test]
fn the_rules_that_hold_are_listed_once() {
    let jane = user("jane");
    let mut rbac = Rbac::default();
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    let both = json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "dev"}]);
    rbac.put("rolebindings", &binding("x", "Role", "r", both.clone())).unwrap();
    rbac.put("rolebindings", &binding("y", "Role", "gone", both)).unwrap();
    let (rules, missing) = rbac.rules_for(&jane, "a");
    assert_eq!((rules.len(), missing.len()), (1, 1));
    assert_eq!(rbac.rules_for(&jane, "b").0.len(), 0);
}

/// `plain` may write roles and bindings in `a`, and get pods.
fn writer() -> (Rbac, User) {
    let mut rbac = Rbac::default();
    for object in default::objects() {
        let resource = if object["kind"] == "ClusterRole" { "clusterroles" } else { "clusterrolebindings" };
        rbac.put(resource, &object).unwrap();
    }
    let rules = json!([
        {"verbs": ["create", "update"], "apiGroups": [GROUP], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"]},
    ]);
    rbac.put("roles", &role("w", rules)).unwrap();
    let subjects = json!([{"kind": "User", "name": "plain"}]);
    rbac.put("rolebindings", &binding("w", "Role", "w", subjects)).unwrap();
    (rbac, User::authenticated("plain", []))
}

fn guard(rbac: &Rbac, user: &User, resource: &str, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let namespace = if resource.starts_with("cluster") { "" } else { "a" };
    let asked = Attributes { verb: "create", group: GROUP, resource, namespace, ..Attributes::of(user) };
    rbac.claim(&asked, new, old)?.judge(&asked, new)
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let (rbac, plain) = writer();
    let grant = |rules: Value| guard(&rbac, &plain, "roles", &role("n", rules), None);
    assert!(grant(pods("get")).is_ok());
    assert!(grant(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "x/log"]}])).is_ok());
    let named = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}]);
    assert!(grant(named).is_ok());
    let error = grant(json!([
        {"verbs": ["get", "delete", "watch"], "apiGroups": [""], "resources": ["pods", "secrets"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"]},
    ]));
    assert_eq!(
        error.unwrap_err().message,
        "roles.rbac.authorization.k8s.io \"n\" is forbidden: user \"plain\" (groups=[\"system:authenticated\"]) is attempting \
         to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"s\"], Verbs:[\"get\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\" \"watch\"]}"
    );
}

#[test]
fn escalate_and_bind_are_permissions() {
    let (mut rbac, plain) = writer();
    let all = role("n", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
    let bind = binding("n", "ClusterRole", "cluster-admin", json!([]));
    assert!(guard(&rbac, &plain, "roles", &all, None).is_err());
    assert!(guard(&rbac, &plain, "rolebindings", &bind, None).is_err());
    let rules = json!([
        {"verbs": ["escalate"], "apiGroups": [GROUP], "resources": ["roles"]},
        {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]},
    ]);
    rbac.put("roles", &role("e", rules)).unwrap();
    let subjects = json!([{"kind": "User", "name": "plain"}]);
    rbac.put("rolebindings", &binding("e", "Role", "e", subjects)).unwrap();
    assert!(guard(&rbac, &plain, "roles", &all, None).is_ok());
    assert!(guard(&rbac, &plain, "rolebindings", &bind, None).is_ok());
    let other = binding("n", "ClusterRole", "admin", json!([]));
    assert!(guard(&rbac, &plain, "rolebindings", &other, None).is_err());
}

#[test]
fn who_gathers_rules_cannot_make_judging_take_for_ever() {
    let (mut rbac, plain) = writer();
    let subjects = json!([{"kind": "User", "name": "plain"}]);
    let rules: Vec<_> = (0..20_000)
        .map(|index| json!({"verbs": ["get"], "apiGroups": [""], "resources": ["services"], "resourceNames": [format!("p{index}")]}))
        .collect();
    rbac.put("roles", &role("many", json!(rules))).unwrap();
    rbac.put("rolebindings", &binding("many", "Role", "many", subjects)).unwrap();
    let names: Vec<_> = (0..19_000).map(|index| format!("q{index}")).collect();
    let rule =
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["services"], "resourceNames": names}]);
    let error = guard(&rbac, &plain, "roles", &role("n", rule), None).unwrap_err();
    assert!(error.message.contains("more than 10000000 steps"), "{}", error.message);
    let few = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["services"], "resourceNames": ["p7", "p19999"]}]);
    assert!(guard(&rbac, &plain, "roles", &role("n", few), None).is_ok(), "an ordinary role is still judged");
}

#[test]
fn a_role_that_is_not_there_is_bound_by_nobody_but_masters() {
    let (rbac, plain) = writer();
    let bind = binding("n", "Role", "gone", json!([]));
    let error = guard(&rbac, &plain, "rolebindings", &bind, None).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (404, "role.rbac.authorization.k8s.io \"gone\" not found")
    );
    let master = User::authenticated("root", [crate::api::user::MASTERS.to_owned()]);
    assert!(guard(&rbac, &master, "rolebindings", &bind, None).is_ok());
}

#[test]
fn aggregation_is_for_whoever_holds_everything() {
    let (mut rbac, plain) = writer();
    let role = aggregate("n", "x", json!({}));
    let error = guard(&rbac, &plain, "clusterroles", &role, None).unwrap_err();
    assert!(error.message.ends_with("must have cluster-admin privileges to use an aggregationRule"));
    let subjects = json!([{"kind": "User", "name": "plain"}]);
    rbac.put("clusterrolebindings", &of_cluster(binding("all", "ClusterRole", "cluster-admin", subjects)))
        .unwrap();
    assert!(guard(&rbac, &plain, "clusterroles", &role, None).is_ok());
}

#[test]
fn an_update_that_only_collects_garbage_grants_nothing() {
    let (rbac, plain) = writer();
    let old = role("n", pods("delete"));
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["example.com/x"]);
    assert!(guard(&rbac, &plain, "roles", &new, Some(&old)).is_ok());
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(guard(&rbac, &plain, "roles", &new, Some(&old)).is_err());
}

#[test]
fn a_role_of_too_many_permissions_is_refused_and_not_looked_at() {
    let (rbac, plain) = writer();
    let many: Vec<String> = (0..10_000).map(|n| format!("r{n}")).collect();
    let rules = json!([{"verbs": many, "apiGroups": many, "resources": many}]);
    let error = guard(&rbac, &plain, "roles", &role("n", rules), None).unwrap_err();
    assert!(error.message.contains("more than"), "{}", error.message);
}

#[test]
fn other_resources_are_not_judged() {
    let (rbac, plain) = writer();
    assert!(guard(&rbac, &plain, "pods", &json!({}), None).is_ok());
}

/// The answers that upstream gave.
#[test]
fn recorded_escalations_are_refused_in_the_same_words() {
    let (mut rbac, _) = writer();
    let user = User::service_account("rec-val", "plain", "u");
    for line in recorded::lines("validation.jsonl") {
        let body = &line["request"]["body"];
        let resource = match body["kind"].as_str() {
            Some("Role") => "roles",
            Some("RoleBinding") => "rolebindings",
            _ => continue,
        };
        let name = line["name"].as_str().unwrap();
        let mut object = body.clone();
        object["metadata"]["namespace"] = "rec-val".into();
        if name.starts_with("rbac setup") {
            rbac.put(resource, &object).unwrap();
        } else if name.starts_with("rbac escalation") {
            let namespace = "rec-val";
            let asked =
                Attributes { verb: "create", group: GROUP, resource, namespace, ..Attributes::of(&user) };
            let claim = rbac.claim(&asked, &object, None).unwrap();
            assert_eq!(claim.judge(&asked, &object).unwrap_err().body(), line["response"], "{name}");
        }
    }
}

/// What it takes to decide, and not more.
#[test]
fn deciding_does_not_depend_on_what_others_may() {
    let mut rbac = Rbac::default();
    rbac.put("roles", &role("r", pods("get"))).unwrap();
    for index in 0..5_000 {
        let subjects = json!([{"kind": "User", "name": format!("user-{index}")}]);
        rbac.put("rolebindings", &binding(&format!("b{index}"), "Role", "r", subjects)).unwrap();
    }
    let asker = user("user-77");
    assert_eq!(rbac.bindings(&asker, "a").count(), 1);
    assert!(rbac.decide(&ask(&asker, "get", "a")).allowed());
}
