//! What upstream's server does at the edges, and clients lean on: forms, versions, warnings, health.

use super::writes::{accounts, named, pod};
use super::*;
use crate::api::object;

const SPACE: &str = "/api/v1/namespaces/kube-public";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-public/leases";

fn cause(answer: &Value) -> (&str, &str) {
    let cause = &answer["details"]["causes"][0];
    let word = |field: &str| cause[field].as_str().unwrap_or_default();
    (word("field"), word("message"))
}

#[tokio::test]
async fn what_is_kept_nowhere_has_no_columns() {
    let mut client = Client::new().await;
    let table = json!({"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"});
    for path in [
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
        "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
        format!("{SPACE}/bindings"),
        format!("{SPACE}/pods/p/eviction"),
        format!("{SPACE}/serviceaccounts/default/token"),
    ] {
        let (code, answer) = client.root("POST", &path, table.clone(), json!({})).await;
        assert_eq!((code, &answer["reason"]), (406, &json!("NotAcceptable")), "{path}: {answer}");
    }
    let either = json!({"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io, application/json"});
    let asked = json!({"spec": {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (code, answer) = client.root("POST", reviews, either, asked).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)), "{answer}");
}

#[tokio::test]
async fn some_updates_have_to_name_the_version_that_they_mean() {
    let mut client = Client::new().await;
    let budgets = "/apis/policy/v1/namespaces/kube-public/poddisruptionbudgets";
    client.done("POST", budgets, named("b", json!({"spec": {"minAvailable": 1}}))).await;
    client.done("POST", LEASES, named("l", json!({}))).await;
    for (path, new) in [
        (format!("{LEASES}/l"), named("l", json!({"spec": {"holderIdentity": "me"}}))),
        (format!("{budgets}/b"), named("b", json!({"spec": {"minAvailable": 2}}))),
    ] {
        let (code, answer) = client.ask("PUT", &path, new.clone()).await;
        let why = "Invalid value: 0x0: must be specified for an update";
        assert_eq!((code, cause(&answer)), (422, ("metadata.resourceVersion", why)), "{answer}");
        let mut meant = new.clone();
        let there = client.done("GET", &path, Value::Null).await;
        meant["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
        client.done("PUT", &path, meant).await;
        // A patch means what is there.
        client.done("PATCH", &path, json!({"metadata": {"labels": {"a": "b"}}})).await;
    }
    // Others mean any, whether they say nothing or zero.
    let maps = format!("{SPACE}/configmaps");
    let mut any = named("m", json!({"data": {"a": "1"}}));
    any["metadata"]["resourceVersion"] = "0".into();
    client.done("POST", &maps, any.clone()).await;
    any["data"]["a"] = "2".into();
    assert_eq!(client.done("PUT", &format!("{maps}/m"), any).await["data"]["a"], "2");
}

#[tokio::test]
async fn an_update_makes_what_upstreams_would_make() {
    let mut client = Client::new().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    for (collection, rest) in [
        (format!("{SPACE}/services"), json!({"spec": {"ports": [{"port": 1}]}})),
        (format!("{SPACE}/endpoints"), json!({})),
        (format!("{SPACE}/limitranges"), json!({"spec": {"limits": []}})),
        (LEASES.to_owned(), json!({})),
        (format!("{rbac}/clusterroles"), json!({"rules": []})),
        (format!("{rbac}/clusterrolebindings"), json!({"roleRef": role})),
        (format!("{rbac}/namespaces/kube-public/roles"), json!({"rules": []})),
        (format!("{rbac}/namespaces/kube-public/rolebindings"), json!({"roleRef": role})),
    ] {
        let (code, answer) = client.ask("PUT", &format!("{collection}/new"), named("new", rest)).await;
        assert_eq!(code, 201, "{collection}: {answer}");
    }
    let quota = named("new", json!({"spec": {"hard": {"pods": "1"}}}));
    assert_eq!(client.ask("PUT", &format!("{SPACE}/resourcequotas/new"), quota).await.0, 404);
}

#[tokio::test]
async fn a_binding_says_of_a_pod_what_it_carries() {
    let mut client = Client::new().await;
    accounts(&mut client).await;
    client.done("POST", &format!("{SPACE}/pods"), pod("p", json!({"zone": "old", "app": "a"}))).await;
    let mut binding = named("p", json!({"target": {"kind": "Node", "name": "n"}}));
    binding["metadata"]["labels"] = json!({"zone": "east"});
    binding["metadata"]["annotations"] = json!({"e.io/by": "me"});
    client.done("POST", &format!("{SPACE}/pods/p/binding"), binding).await;
    let there = client.done("GET", &format!("{SPACE}/pods/p"), Value::Null).await;
    assert_eq!(there["metadata"]["labels"], json!({"zone": "east", "app": "a"}));
    assert_eq!(there["metadata"]["annotations"]["e.io/by"], "me");
    assert_eq!(there["spec"]["nodeName"], "n");
}

#[tokio::test]
async fn a_kind_on_its_way_out_says_so_whatever_is_asked() {
    let mut client = Client::new().await;
    let endpoints = format!("{SPACE}/endpoints");
    let why = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    for (method, path, body) in [
        ("POST", endpoints.clone(), named("e", json!({}))),
        ("POST", endpoints.clone(), named("e", json!({}))),
        ("POST", endpoints.clone(), named("no", json!({"subsets": [{}]}))),
        ("GET", format!("{endpoints}/e"), Value::Null),
        ("GET", format!("{endpoints}/missing"), Value::Null),
        ("GET", endpoints.clone(), Value::Null),
        ("GET", format!("{endpoints}?watch=1&timeoutSeconds=1&resourceVersion=0"), Value::Null),
        (
            "PUT",
            format!("{endpoints}/e"),
            named("e", json!({"metadata": {"name": "e", "labels": {"a": "b"}}})),
        ),
        ("PATCH", format!("{endpoints}/e"), json!({"metadata": {"labels": {"a": "c"}}})),
        ("DELETE", format!("{endpoints}/e"), Value::Null),
        ("DELETE", endpoints.clone(), Value::Null),
    ] {
        client.ask(method, &path, body).await;
        assert_eq!(client.warnings(), [why], "{method} {path}");
    }
    client.ask("GET", &format!("{SPACE}/configmaps"), Value::Null).await;
    assert_eq!(client.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn answers_are_for_who_asked_and_for_nobodys_cache() {
    let mut client = Client::new().await;
    for path in
        ["/healthz", "/version", "/nowhere", &format!("{SPACE}/configmaps"), &format!("{SPACE}/pods/no")]
    {
        client.ask("GET", path, Value::Null).await;
        let header = |name: &str| client.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("cache-control").as_deref(), Some("no-cache, private"), "{path}");
    }
}

#[tokio::test]
async fn a_list_that_takes_too_long_goes_on_with_what_there_is_then() {
    let mut client = Client::new().await;
    let maps = format!("{SPACE}/configmaps");
    for name in ["a", "c", "d"] {
        client.done("POST", &maps, named(name, json!({}))).await;
    }
    let page = client.done("GET", &format!("{maps}?limit=1"), Value::Null).await;
    let word = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    let (at, next) = (word(&page, "resourceVersion"), word(&page, "continue"));
    let second = format!("{maps}?limit=1&continue={next}");
    client.done("POST", &maps, named("b", json!({}))).await;
    client.api.store.age();
    // What was before one look only is remembered.
    assert_eq!(client.done("GET", &second, Value::Null).await["items"][0]["metadata"]["name"], "c");
    client.api.store.age();
    let (code, gone) = client.ask("GET", &second, Value::Null).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    assert!(
        gone["message"].as_str().unwrap().contains("or use the continue token in this response"),
        "{gone}"
    );
    let go_on = format!("{maps}?limit=2&continue={}", word(&gone, "continue"));
    let rest = client.done("GET", &go_on, Value::Null).await;
    let names: Vec<_> = rest["items"].as_array().unwrap().iter().map(object::name).collect();
    assert_eq!(names, ["b", "c"]);
    assert_ne!(word(&rest, "resourceVersion"), at);
    assert_eq!(rest["metadata"]["remainingItemCount"], 1);
    // So is the list of exactly that revision.
    let exact = format!("{maps}?resourceVersion={at}&resourceVersionMatch=Exact");
    let (code, gone) = client.ask("GET", &exact, Value::Null).await;
    let why = "The resourceVersion for the provided list is too old.";
    assert_eq!((code, gone["message"].as_str()), (410, Some(why)));
}

#[tokio::test]
async fn health_is_told_check_by_check() {
    let mut client = Client::new().await;
    let mut told = async |path: &str| {
        let (code, text) = client.send("GET", path, &json!({}), Bytes::new()).await;
        (code, String::from_utf8(text.to_vec()).unwrap())
    };
    assert_eq!(told("/livez/log").await, (200, "ok".to_owned()));
    assert_eq!(told("/readyz/etcd").await, (200, "ok".to_owned()));
    assert_eq!(told("/readyz/nothing").await.0, 404);
    let all = "[+]ping ok\n[+]log ok\n[+]etcd ok\nreadyz check passed\n";
    assert_eq!(told("/readyz?verbose").await, (200, all.to_owned()));
    let (_, text) = told("/livez?verbose&exclude=etcd&exclude=x").await;
    assert!(text.contains(
        "[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n"
    ));
    client.api.store.close().await;
    let mut told = async |path: &str| {
        let (code, text) = client.send("GET", path, &json!({}), Bytes::new()).await;
        (code, String::from_utf8(text.to_vec()).unwrap())
    };
    let bad = "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nhealthz check failed\n";
    assert_eq!(told("/healthz").await, (500, bad.to_owned()));
    assert_eq!(told("/healthz?exclude=etcd").await, (200, "ok".to_owned()));
    let (code, text) = told("/readyz/etcd").await;
    assert!(code == 500 && text.contains("writer has ended"), "{text}");
}
