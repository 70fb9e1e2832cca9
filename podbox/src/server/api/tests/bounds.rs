//! What one client can do, over a connection, and what it leaves to others: places, and what a selector, a limit or a
//! budget does not mean.

use super::access::named;
use super::*;

const SPACE: &str = "/api/v1/namespaces/kube-public";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_collection_is_deleted_page_by_page_of_what_is_selected() {
    let mut client = Client::new().await;
    let maps = format!("{SPACE}/configmaps");
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "y"), ("d", "x"), ("e", "y")] {
        let map = json!({"metadata": {"name": name, "labels": {"app": app}}});
        assert_eq!(client.ask("POST", &maps, map).await.0, 201);
    }
    let selected = format!("{maps}?labelSelector=app%3Dy&limit=2");
    let (code, first) = client.ask("DELETE", &selected, Value::Null).await;
    assert_eq!((code, names(&first)), (200, vec!["b", "c"]), "the limit is of what is selected");
    let token = first["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let (_, second) = client.ask("DELETE", &format!("{selected}&continue={token}"), Value::Null).await;
    assert_eq!((names(&second), &second["metadata"]["continue"]), (vec!["e"], &Value::Null));
    let (_, left) = client.ask("GET", &maps, Value::Null).await;
    assert_eq!(names(&left), ["a", "d"]);
}

#[tokio::test]
async fn a_pod_that_becomes_ready_while_it_is_evicted_is_judged_again() {
    let mut client = Client::new().await;
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(client.ask("POST", &format!("{SPACE}/serviceaccounts"), account).await.0, 201);
    let budgets = "/apis/policy/v1/namespaces/kube-public/poddisruptionbudgets";
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}});
    client.ask("POST", budgets, json!({"metadata": {"name": "b"}, "spec": spec})).await;
    // Who serves nobody may go; of the others none.
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
        "desiredHealthy": 1, "expectedPods": 2}});
    assert_eq!(client.ask("PATCH", &format!("{budgets}/b/status"), status).await.0, 200);
    let root = Arc::new(User::authenticated("admin", [MASTERS.to_owned()]));
    let mut other = connect(&client.api, Peer::of(root, None)).await;
    for round in 0..30 {
        let name = format!("p{round}");
        let pod = json!({"metadata": {"name": &name, "labels": {"app": "a"}},
                         "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert_eq!(client.ask("POST", &format!("{SPACE}/pods"), pod).await.0, 201);
        let path = format!("{SPACE}/pods/{name}");
        let running = |ready: &str| json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        assert_eq!(client.ask("PATCH", &format!("{path}/status"), running("False")).await.0, 200);
        let patch = json!({"Content-Type": "application/merge-patch+json"});
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": &name}});
        let (to_status, to_evict) = (format!("{path}/status"), format!("{path}/eviction"));
        let becoming = begin(&mut other, "PATCH", &to_status, &patch, running("True").to_string().into());
        let (becoming, (code, answer)) = tokio::join!(becoming, client.ask("POST", &to_evict, eviction));
        let became = becoming.status() == 200;
        let object = becoming.into_body().collect().await.unwrap().to_bytes();
        let object: Value = serde_json::from_slice(&object).unwrap();
        // One that was on its way already when it became ready was judged before.
        let was_going = object["metadata"]["deletionTimestamp"].is_string();
        assert!(
            !became || was_going || code == 429,
            "round {round}: a ready pod went without cost: {answer}"
        );
        assert!(became || code == 201, "round {round}: {code} {answer}");
    }
}

#[tokio::test]
async fn a_certificate_that_ends_lets_nobody_in_on_an_open_connection() {
    let mut client = Client::new().await;
    let root = Arc::new(User::authenticated("admin", [MASTERS.to_owned()]));
    let hour = std::time::Duration::from_secs(3600);
    for (until, expected) in [(clock::wall() + hour, 200), (clock::wall() - hour, 401)] {
        client.sender = connect(&client.api, Peer::of(Arc::clone(&root), Some(until))).await;
        let (code, _) = client.root("GET", "/api/v1/namespaces", json!({}), Value::Null).await;
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn one_user_cannot_take_all_places_with_what_it_does_not_read() {
    let mut client = Client::new().await;
    client.role("reader", json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}])).await;
    let app = client.app().await;
    client.bind("reads", "reader").await;
    client.made("/api/v1/namespaces/default/serviceaccounts", named("other")).await;
    let other = format!("Bearer {}", client.token_of("default", "other").await);
    let mut unread = Vec::new();
    for _ in 0..limits::READS_IN_FLIGHT / 2 {
        let mut sender = connect_by(&client.api, Peer::default(), 4096).await;
        let answer =
            begin(&mut sender, "GET", "/openapi/v2", &json!({"Authorization": app}), Bytes::new()).await;
        assert_eq!(answer.status(), 200);
        unread.push((sender, answer));
    }
    let (code, answer) = client.with(&app, "GET", "/api/v1/namespaces/default", Value::Null).await;
    assert_eq!(code, 429, "{answer}");
    assert_eq!(client.with(&other, "GET", "/apis", Value::Null).await.0, 200);
    assert_eq!(client.with("", "GET", "/readyz", Value::Null).await.0, 200);
    drop(unread);
    // A place is given back when the server notices.
    let soon = clock::instant() + std::time::Duration::from_secs(120);
    while client.with(&app, "GET", "/api/v1/namespaces/default", Value::Null).await.0 == 429 {
        assert!(clock::instant() < soon, "places are never given back");
    }
}
