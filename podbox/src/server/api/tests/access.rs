//! Who gets in, over a connection: tokens, roles, acting as others, reviews, accounts.

use super::*;
use crate::api::objects::{ObjectRef, Objects};
use crate::server::api::local::Local;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

impl Client {
    /// Sends JSON as root, with these headers.
    pub(super) async fn root(
        &mut self,
        method: &str,
        path: &str,
        headers: Value,
        body: Value,
    ) -> (u16, Value) {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let (code, answer) = self.send(method, path, &headers, bytes).await;
        (code, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Sends JSON with a token; with none, as nobody.
    pub(super) async fn with(&mut self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let headers = if token.is_empty() { json!({}) } else { json!({"Authorization": token}) };
        std::mem::swap(&mut self.sender, &mut self.stranger);
        let answer = self.root(method, path, headers, body).await;
        std::mem::swap(&mut self.sender, &mut self.stranger);
        answer
    }

    pub(super) async fn made(&mut self, path: &str, object: Value) -> Value {
        let (code, answer) = self.root("POST", path, json!({}), object).await;
        assert_eq!(code, 201, "{answer}");
        answer
    }

    /// An account `app` in the namespace `default`, and its `Authorization`.
    pub(super) async fn app(&mut self) -> String {
        self.made("/api/v1/namespaces/default/serviceaccounts", named("app")).await;
        format!("Bearer {}", self.token_of("default", "app").await)
    }

    /// Gives `app` what a cluster role allows, in `default`.
    pub(super) async fn bind(&mut self, name: &str, role: &str) {
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": "default"}],
        });
        self.made(&format!("{RBAC}/namespaces/default/rolebindings"), binding).await;
    }

    pub(super) async fn role(&mut self, name: &str, rules: Value) {
        self.made(&format!("{RBAC}/clusterroles"), json!({"metadata": {"name": name}, "rules": rules})).await;
    }
}

pub(super) fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn why(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn nobody_sees_more_than_health_and_version() {
    let mut client = Client::new().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(client.with("", "GET", path, Value::Null).await.0, 200, "{path}");
    }
    for path in ["/api", "/apis", "/openapi/v3", "/metrics", "/api/v1/namespaces", "/openid/v1/jwks"] {
        assert_eq!(client.with("", "GET", path, Value::Null).await.0, 403, "{path}");
    }
    for token in ["Bearer x", "bearer a.b.c", "Bearer  x "] {
        let (code, answer) = client.with(token, "GET", "/healthz", Value::Null).await;
        assert_eq!((code, why(&answer)), (401, "Unauthorized"), "{token}");
    }
    // Neither is a token: this API knows no passwords.
    for other in ["Basic eDp5", "Bearer", "x"] {
        assert_eq!(client.with(other, "GET", "/healthz", Value::Null).await.0, 200, "{other}");
    }
}

#[tokio::test]
async fn a_binding_counts_from_the_next_request_until_it_goes() {
    let mut client = Client::new().await;
    let app = client.app().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for _ in 0..3 {
        assert_eq!(client.with(&app, "GET", maps, Value::Null).await.0, 403);
        client.bind("b", "view").await;
        assert_eq!(client.with(&app, "GET", maps, Value::Null).await.0, 200);
        assert_eq!(client.with(&app, "GET", "/api/v1/configmaps", Value::Null).await.0, 403);
        assert_eq!(client.with(&app, "POST", maps, named("m")).await.0, 403);
        let binding = format!("{RBAC}/namespaces/default/rolebindings/b");
        assert_eq!(client.root("DELETE", &binding, json!({}), Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn rights_in_a_namespace_end_at_what_is_in_none() {
    let mut client = Client::new().await;
    let app = client.app().await;
    client.bind("all", "cluster-admin").await;
    let inside = "/namespaces/default";
    let binding = json!({
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": "default"}],
    });
    let path = format!("{RBAC}{inside}/clusterrolebindings");
    assert_eq!(client.with(&app, "POST", &path, binding).await.0, 404);
    for (group, plural) in [("/api/v1", "nodes"), ("/api/v1", "persistentvolumes"), (RBAC, "clusterroles")] {
        for end in ["", "/edit"] {
            let path = format!("{group}{inside}/{plural}{end}");
            assert_eq!(client.with(&app, "GET", &path, Value::Null).await.0, 404, "{path}");
        }
    }
    for path in ["/namespaces/default/namespaces", "/namespaces/default/namespaces/kube-system"] {
        assert_eq!(client.with(&app, "GET", &format!("/api/v1{path}"), Value::Null).await.0, 404, "{path}");
    }
    assert_eq!(client.with(&app, "GET", "/api/v1/namespaces/default", Value::Null).await.0, 200);
    assert_eq!(client.with(&app, "GET", "/api/v1/namespaces/kube-system", Value::Null).await.0, 403);
}

#[tokio::test]
async fn who_may_watch_one_object_by_its_path_sees_that_one() {
    let mut client = Client::new().await;
    let app = client.app().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["seen", "unseen"] {
        client.made(maps, named(name)).await;
    }
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["watch"], "resourceNames": ["seen"]},
    ]);
    client.role("one", rules).await;
    client.bind("one", "one").await;
    let path = |name: &str| format!("/api/v1/watch/namespaces/default/configmaps/{name}?timeoutSeconds=1");
    assert_eq!(client.with(&app, "GET", &path("unseen"), Value::Null).await.0, 403);
    std::mem::swap(&mut client.sender, &mut client.stranger);
    let headers = json!({"Authorization": app});
    let (code, events) = client.send("GET", &path("seen"), &headers, Bytes::new()).await;
    assert_eq!(code, 200);
    let events = String::from_utf8_lossy(&events);
    assert!(events.contains("\"seen\"") && !events.contains("unseen"), "{events}");
}

/// More is written than history remembers before anyone asks again.
#[tokio::test]
async fn roles_that_nobody_asked_about_for_long_are_read_anew() {
    let mut client = Client::new().await;
    let app = client.app().await;
    client.bind("b", "r").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(client.with(&app, "GET", maps, Value::Null).await.0, 403);
    let padding = "x".repeat(2 << 20);
    for index in 0..10 {
        let rules = json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": [padding]},
        ]);
        let role = format!("{RBAC}/clusterroles/r");
        match index {
            0 => client.role("r", rules).await,
            _ => {
                let body =
                    json!({"metadata": {"name": "r", "labels": {"x": index.to_string()}}, "rules": rules});
                assert_eq!(client.root("PUT", &role, json!({}), body).await.0, 200);
            }
        }
    }
    assert_eq!(client.with(&app, "GET", maps, Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_its_pod() {
    let mut client = Client::new().await;
    let app = client.app().await;
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, answer) = client.with(&app, "POST", whoami, json!({})).await;
    assert_eq!(
        (code, &answer["status"]["userInfo"]["username"]),
        (201, &"system:serviceaccount:default:app".into())
    );

    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"serviceAccountName": "app", "containers": [{"name": "c", "image": "i"}]});
    client.made(pods, json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let token = "/api/v1/namespaces/default/serviceaccounts/app/token";
    let asked = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}});
    let made = client.made(token, asked).await;
    let bound = format!("Bearer {}", made["status"]["token"].as_str().unwrap());
    assert_eq!(client.with(&bound, "POST", whoami, json!({})).await.0, 201);
    let at_once = format!("{pods}/p?gracePeriodSeconds=0");
    assert_eq!(client.root("DELETE", &at_once, json!({}), Value::Null).await.0, 200);
    assert_eq!(client.with(&bound, "POST", whoami, json!({})).await.0, 401);

    assert_eq!(client.with(&app, "POST", whoami, json!({})).await.0, 201);
    let account = "/api/v1/namespaces/default/serviceaccounts/app";
    assert_eq!(client.root("DELETE", account, json!({}), Value::Null).await.0, 200);
    assert_eq!(client.with(&app, "POST", whoami, json!({})).await.0, 401);
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_account_that_there_is() {
    let mut client = Client::new().await;
    let app = client.app().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/app/token";
    let made = client.made(path, json!({"spec": {"expirationSeconds": 1_u64 << 32}})).await;
    assert_eq!(made["spec"]["expirationSeconds"], crate::limits::TOKEN_LIFE.as_secs());
    for (path, body, code) in [
        (path, json!({"spec": {"expirationSeconds": 10}}), 422),
        (path, json!({"metadata": {"name": "other"}}), 400),
        (&*path.replace("app", "nobody"), json!({}), 404),
    ] {
        assert_eq!(client.root("POST", path, json!({}), body).await.0, code, "{path}");
    }
    assert_eq!(client.with(&app, "POST", path, json!({})).await.0, 403);
    // For others only: the API does not take it.
    let made = client.made(path, json!({"spec": {"audiences": ["vault"]}})).await;
    let token = made["status"]["token"].as_str().unwrap();
    assert_eq!(client.with(&format!("Bearer {token}"), "GET", "/version", Value::Null).await.0, 401);
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    for (audiences, good) in [(json!(["vault"]), true), (json!([]), false)] {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        let answer = client.made(reviews, review).await;
        assert_eq!(answer["status"]["authenticated"].as_bool().unwrap_or(false), good, "{answer}");
    }
}

#[tokio::test]
async fn who_may_acts_as_others() {
    let mut client = Client::new().await;
    let (maps, jane) = ("/api/v1/namespaces/default/configmaps", json!({"Impersonate-User": "jane"}));
    let (code, answer) = client.root("GET", maps, jane.clone(), Value::Null).await;
    assert!(code == 403 && why(&answer).contains("User \"jane\" cannot list"), "{answer}");
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers =
        json!({"Impersonate-User": "jane", "Impersonate-Group": "dev", "Impersonate-Extra-Scopes": "x"});
    let (_, answer) = client.root("POST", whoami, headers, json!({})).await;
    let user = &answer["status"]["userInfo"];
    assert_eq!(
        (&user["groups"], &user["extra"]),
        (&json!(["dev", "system:authenticated"]), &json!({"scopes": ["x"]}))
    );
    // Back to everything.
    let masters = json!({"Impersonate-User": "x", "Impersonate-Group": "system:masters"});
    assert_eq!(client.root("GET", maps, masters, Value::Null).await.0, 200);
    let app = client.app().await;
    let both = json!({"Impersonate-User": "jane", "Authorization": app});
    std::mem::swap(&mut client.sender, &mut client.stranger);
    let (code, answer) = client.root("GET", maps, both, Value::Null).await;
    assert!(code == 403 && why(&answer).contains("cannot impersonate resource \"users\""), "{answer}");
}

#[tokio::test]
async fn nobody_gives_away_what_they_do_not_have() {
    let mut client = Client::new().await;
    let app = client.app().await;
    client.bind("b", "admin").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let rule = |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
    let role = |resource: &str| json!({"metadata": {"name": "r"}, "rules": rule(resource)});
    assert_eq!(client.with(&app, "POST", &roles, role("secrets")).await.0, 201);
    let one = format!("{roles}/r");
    let (code, answer) = client.with(&app, "PUT", &one, role("nodes")).await;
    assert!(
        code == 403 && why(&answer).contains("attempting to grant RBAC permissions not currently held"),
        "{answer}"
    );
    let patch = json!({"rules": rule("nodes")});
    let headers = json!({"Authorization": app, "Content-Type": "application/merge-patch+json"});
    std::mem::swap(&mut client.sender, &mut client.stranger);
    assert_eq!(client.root("PATCH", &one, headers, patch).await.0, 403);
    std::mem::swap(&mut client.sender, &mut client.stranger);
    // A label is no right.
    let mut same = role("secrets");
    same["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(client.with(&app, "PUT", &one, same).await.0, 200);
    // Whoever may `bind` a role need not hold it.
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = json!({
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"},
    });
    assert_eq!(client.with(&app, "POST", &bindings, binding.clone()).await.0, 403);
    let rules = json!([{
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"],
        "resourceNames": ["system:node"],
    }]);
    client.role("binder", rules).await;
    client.bind("b2", "binder").await;
    assert_eq!(client.with(&app, "POST", &bindings, binding).await.0, 201);
}

#[tokio::test]
async fn an_update_that_creates_and_a_command_by_get_need_the_right_to_create() {
    let mut client = Client::new().await;
    let app = client.app().await;
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]},
        {"apiGroups": [""], "resources": ["pods/exec", "pods/log"], "verbs": ["get"]},
    ]);
    client.role("r", rules).await;
    client.bind("b", "r").await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let (code, answer) = client.with(&app, "PUT", lease, named("l")).await;
    assert!(code == 403 && why(&answer).contains("cannot create resource \"leases\""), "{answer}");
    let (code, made) = client.root("PUT", lease, json!({}), named("l")).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(client.with(&app, "PUT", lease, made).await.0, 200);
    let pod = "/api/v1/namespaces/default/pods/p";
    let (code, answer) = client.with(&app, "GET", &format!("{pod}/exec"), Value::Null).await;
    assert!(code == 403 && why(&answer).contains("cannot create resource \"pods/exec\""), "{answer}");
    assert_eq!(client.with(&app, "GET", &format!("{pod}/log"), Value::Null).await.0, 404);
}

#[tokio::test]
async fn reviews_are_answered_and_kept_nowhere() {
    let mut client = Client::new().await;
    let app = client.app().await;
    client.bind("b", "view").await;
    let before = client.api.store.revision();
    let pods = |verb: &str| json!({"verb": verb, "resource": "pods", "namespace": "default"});
    let own = format!("{REVIEWS}/selfsubjectaccessreviews");
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let (code, answer) =
            client.with(&app, "POST", &own, json!({"spec": {"resourceAttributes": pods(verb)}})).await;
        assert_eq!((code, &answer["status"]["allowed"]), (201, &allowed.into()), "{answer}");
    }
    let spec = json!({"user": "system:serviceaccount:default:app", "resourceAttributes": pods("list")});
    let answer = client.made(&format!("{REVIEWS}/subjectaccessreviews"), json!({"spec": spec})).await;
    assert_eq!(
        answer["status"]["reason"],
        "RBAC: allowed by RoleBinding \"b/default\" of ClusterRole \"view\" to ServiceAccount \"app/default\""
    );
    let local = format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews");
    let answer = client.made(&local, json!({"spec": spec})).await;
    assert_eq!(answer["status"]["allowed"], true);
    let rules = format!("{REVIEWS}/selfsubjectrulesreviews");
    let (code, answer) = client.with(&app, "POST", &rules, json!({"spec": {"namespace": "default"}})).await;
    assert_eq!((code, &answer["status"]["incomplete"]), (201, &false.into()), "{answer}");
    assert!(!answer["status"]["resourceRules"].as_array().unwrap().is_empty());
    // Asking for others is a right of its own, and a question has to be one.
    let other = format!("{REVIEWS}/subjectaccessreviews");
    assert_eq!(client.with(&app, "POST", &other, json!({"spec": spec})).await.0, 403);
    assert_eq!(client.root("POST", &own, json!({}), json!({"spec": {}})).await.0, 422);
    assert_eq!(client.root("GET", &own, json!({}), Value::Null).await.0, 405);
    assert_eq!(client.api.store.revision(), before);
}

#[tokio::test]
async fn a_pod_waits_for_the_account_of_a_new_namespace_and_takes_its_pull_secrets() {
    let mut client = Client::new().await;
    client.made("/api/v1/namespaces", named("new")).await;
    let pods = "/api/v1/namespaces/new/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let local = Local::new(Arc::clone(&client.api), "test");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "new"},
        "imagePullSecrets": [{"name": "registry"}],
    });
    let (made, ensured) = tokio::join!(client.root("POST", pods, json!({}), pod), local.ensure(account));
    ensured.unwrap();
    let (code, answer) = made;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(answer["spec"]["serviceAccountName"], "default");
    assert_eq!(answer["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
}

#[tokio::test]
async fn default_roles_are_mended_at_start_and_only_then_written() {
    let client = Client::new().await;
    let before = client.api.store.revision();
    client.api.furnish().await.unwrap();
    assert_eq!(client.api.store.revision(), before);

    let local = Local::new(Arc::clone(&client.api), "test");
    let place = |name: &str| ObjectRef {
        api_version: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        namespace: String::new(),
        name: name.to_owned(),
    };
    let (emptied, kept) = (place("system:discovery"), place("system:basic-user"));
    for (role, update) in [(&emptied, "true"), (&kept, "false")] {
        let mut object = local.get(role).unwrap();
        object["rules"] = json!([]);
        object["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = update.into();
        local.replace(role, object).await.unwrap();
    }
    client.api.furnish().await.unwrap();
    assert_eq!(local.get(&emptied).unwrap()["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!(local.get(&kept).unwrap()["rules"].as_array().map_or(0, Vec::len), 0);
}

#[test]
fn a_request_does_not_show_its_token() {
    let request = Request::builder().header("Authorization", "Bearer s3cret").body(()).unwrap();
    let head = Head::of(&request.into_parts().0);
    assert_eq!(head.token(), Some("s3cret"));
    assert!(!format!("{head:?}").contains("s3cret"));
}

#[test]
fn a_browsers_websocket_shows_its_token_as_a_protocol() {
    let token = data_encoding::BASE64URL_NOPAD.encode(b"s3cret");
    let protocols = format!("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{token}");
    let request = Request::builder().header("Sec-WebSocket-Protocol", protocols).body(()).unwrap();
    assert_eq!(Head::of(&request.into_parts().0).token(), Some("s3cret"));
}
