//! Writes that are judged by what else there is, as clients see them.

use super::*;
use std::net::Ipv4Addr;

impl Client {
    /// Sends an object, or nothing; the answer's code and object.
    pub(super) async fn ask(&mut self, method: &str, path: &str, object: Value) -> (u16, Value) {
        let headers = match method {
            "PATCH" => json!({"Content-Type": "application/merge-patch+json"}),
            _ => json!({"Content-Type": "application/json"}),
        };
        let body = if object.is_null() { Bytes::new() } else { Bytes::from(object.to_string()) };
        let (code, answer) = self.send(method, path, &headers, body).await;
        (code, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// The same, of what must succeed.
    pub(super) async fn done(&mut self, method: &str, path: &str, object: Value) -> Value {
        let (code, answer) = self.ask(method, path, object).await;
        assert!(code < 300, "{method} {path}: {code} {answer}");
        answer
    }
}

const SPACE: &str = "/api/v1/namespaces/kube-public";

pub(super) fn named(name: &str, rest: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

/// A pod that needs no account, which nothing gives it here.
pub(super) fn pod(name: &str, labels: Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

pub(super) async fn accounts(client: &mut Client) {
    client.done("POST", &format!("{SPACE}/serviceaccounts"), named("default", json!({}))).await;
}

#[tokio::test]
async fn an_address_is_one_services_until_it_goes() {
    let mut client = Client::new().await;
    let services = format!("{SPACE}/services");
    let asks = |name: &str| named(name, json!({"spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 1}]}}));
    client.done("POST", &services, asks("a")).await;
    let (code, refused) = client.ask("POST", &services, asks("b")).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("spec.clusterIPs")));
    client.done("DELETE", &format!("{services}/a"), Value::Null).await;
    client.done("POST", &services, asks("b")).await;
    let given = client.done("POST", &services, named("c", json!({"spec": {"ports": [{"port": 1}]}}))).await;
    let address: Ipv4Addr = given["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    assert_eq!(address.octets()[0], 10);
    // What it was given stays when an update is silent about it.
    let silent = named("c", json!({"spec": {"type": "NodePort", "ports": [{"port": 1}]}}));
    let changed = client.done("PUT", &format!("{services}/c"), silent).await;
    assert_eq!(changed["spec"]["clusterIP"], given["spec"]["clusterIP"]);
    assert!(changed["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| port >= 30_000));
}

#[tokio::test]
async fn two_at_once_cannot_exceed_a_quota_together() {
    let mut client = Client::new().await;
    let quota = named("q", json!({"spec": {"hard": {"configmaps": "5"}}}));
    client.done("POST", &format!("{SPACE}/resourcequotas"), quota).await;
    let maps = format!("{SPACE}/configmaps");
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let root = Arc::new(User::authenticated("admin", [MASTERS.to_owned()]));
        let mut sender = connect(&client.api, Peer::of(root, None)).await;
        let request = Request::builder().method("POST").uri(&maps).header("Host", "podbox");
        let body = named(&format!("m{number}"), json!({})).to_string();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        asking.spawn(async move { sender.send_request(request).await.unwrap().status().as_u16() });
    }
    let codes = asking.join_all().await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 5, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 201 | 403)), "{codes:?}");
}

#[tokio::test]
async fn an_eviction_takes_what_a_budget_allows_and_no_more() {
    let mut client = Client::new().await;
    accounts(&mut client).await;
    let budgets = "/apis/policy/v1/namespaces/kube-public/poddisruptionbudgets";
    let spec = json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    client.done("POST", budgets, named("b", spec)).await;
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    client.done("PATCH", &format!("{budgets}/b/status"), status).await;
    for name in ["p", "q"] {
        client.done("POST", &format!("{SPACE}/pods"), pod(name, json!({"app": "a"}))).await;
        let running =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        client.done("PATCH", &format!("{SPACE}/pods/{name}/status"), running).await;
    }
    let evict = |name: &str| named(name, json!({"apiVersion": "policy/v1", "kind": "Eviction"}));
    let dry = format!("{SPACE}/pods/p/eviction?dryRun=All");
    assert_eq!(client.ask("POST", &dry, evict("p")).await.0, 201);
    assert_eq!(client.ask("POST", &format!("{SPACE}/pods/p/eviction"), evict("p")).await.0, 201);
    assert_eq!(client.ask("GET", &format!("{SPACE}/pods/p"), Value::Null).await.0, 404);
    let (code, refused) = client.ask("POST", &format!("{SPACE}/pods/q/eviction"), evict("q")).await;
    assert_eq!((code, &refused["details"]["causes"][0]["reason"]), (429, &json!("DisruptionBudget")));
    assert_eq!(client.ask("GET", &format!("{SPACE}/pods/q"), Value::Null).await.0, 200);
}

#[tokio::test]
async fn what_has_no_effect_is_told_when_it_is_written() {
    let mut client = Client::new().await;
    let deployments = "/apis/apps/v1/namespaces/kube-public/deployments";
    let template = json!({
        "metadata": {"labels": {"app": "a"}, "annotations": {"podbox.io/init": "wbe"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "hostUsers": false},
    });
    let spec = json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let request = Request::builder().method("POST").uri(deployments).header("Host", "podbox");
    let request = request.body(Full::new(Bytes::from(named("d", spec).to_string()))).unwrap();
    client.sender.ready().await.unwrap();
    let response = client.sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 201);
    let warnings: Vec<_> =
        response.headers().get_all("Warning").iter().map(|told| told.to_str().unwrap()).collect();
    let told = |words: &str| warnings.iter().any(|warning| warning.contains(words));
    assert!(told("spec.template.spec.hostUsers: not supported yet"), "{warnings:?}");
    assert!(
        told("spec.template.metadata.annotations[podbox.io/init]: invalid: it is no list"),
        "{warnings:?}"
    );
    assert!(told("it is no list of containers of the pod"), "{warnings:?}");
}

#[tokio::test]
async fn an_event_is_one_whichever_way_it_is_written_and_read() {
    let mut client = Client::new().await;
    let about = json!({"kind": "Pod", "name": "p", "namespace": "kube-public"});
    let event = json!({"involvedObject": &about, "reason": "Because", "message": "text", "type": "Normal"});
    client.done("POST", &format!("{SPACE}/events"), named("e", event)).await;
    let events = "/apis/events.k8s.io/v1/namespaces/kube-public/events";
    let list = client.done("GET", &format!("{events}?fieldSelector=regarding.name=p"), Value::Null).await;
    let read = &list["items"][0];
    assert_eq!((&read["note"], &read["regarding"]["name"]), (&json!("text"), &json!("p")));
    assert!(read.get("message").is_none() && read.get("involvedObject").is_none());
    let new = json!({
        "regarding": &about, "reason": "Because", "note": "other", "type": "Normal", "action": "Do",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "e.io/c", "reportingInstance": "c-1",
    });
    client.done("POST", events, named("f", new)).await;
    let core = client.done("GET", &format!("{SPACE}/events/f"), Value::Null).await;
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("other"), &json!("p")));
    assert!(core.get("note").is_none() && core["reportingComponent"] == "e.io/c");
}

#[tokio::test]
async fn a_condition_without_a_date_is_taken() {
    let mut client = Client::new().await;
    let services = format!("{SPACE}/services");
    let mut web =
        client.done("POST", &services, named("web", json!({"spec": {"ports": [{"port": 1}]}}))).await;
    web["status"]["conditions"] = json!([{"type": "Seen", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": null}]);
    let told = client.done("PUT", &format!("{services}/web/status"), web).await;
    assert_eq!(told["status"]["conditions"][0]["type"], "Seen");
}

#[tokio::test]
async fn a_pods_tolerations_can_be_replaced_but_for_those_that_it_was_given() {
    let mut client = Client::new().await;
    accounts(&mut client).await;
    let pods = format!("{SPACE}/pods");
    let mut web = client.done("POST", &pods, pod("web", json!({}))).await;
    let given = web["spec"]["tolerations"].as_array().unwrap().clone();
    let own = json!({"key": "own", "operator": "Exists"});
    web["spec"]["tolerations"] = json!([own]);
    let replaced = client.done("PUT", &format!("{pods}/web"), web).await;
    assert_eq!(replaced["spec"]["tolerations"], json!([own, given[0], given[1]]));
    assert_eq!(replaced["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_request_for_a_certificate_says_who_asks_and_since_when_it_is_approved() {
    let mut client = Client::new().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let spec = json!({
        "request": super::lives::signing_request(), "signerName": "e.io/s", "usages": ["client auth"],
        "username": "system:admin", "groups": ["system:masters", "more"],
    });
    let made =
        client.done("POST", requests, json!({"metadata": {"generateName": "csr-"}, "spec": spec})).await;
    assert_eq!(made["spec"]["username"], "admin");
    assert_eq!(made["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert!(client.warnings().iter().any(|told| told.contains("nobody signs it")), "{:?}", client.warnings());
    let at = format!("{requests}/{}", made["metadata"]["name"].as_str().unwrap());
    let approve = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
    let shown = client.done("PATCH", &at, approve.clone()).await;
    assert!(shown["status"]["conditions"].is_null(), "only its part approves: {shown}");
    let shown = client.done("PATCH", &format!("{at}/approval"), approve).await;
    let approved = &shown["status"]["conditions"][0];
    assert!(approved["lastTransitionTime"].is_string() && approved["lastUpdateTime"].is_string(), "{shown}");
    let issue = json!({"metadata": {"annotations": {"a": "b"}}, "status": {"certificate": "YQ=="}});
    let issued = client.done("PATCH", &format!("{at}/status"), issue).await;
    assert_eq!(
        (&issued["status"]["certificate"], &issued["metadata"]["annotations"]["a"]),
        (&json!("YQ=="), &json!("b"))
    );
    assert_eq!(&issued["status"]["conditions"][0], approved);
    assert_eq!(client.done("GET", &format!("{at}/approval"), Value::Null).await, issued);
    for (signer, found) in [("e.io/s", 1), ("e.io/t", 0)] {
        let list = client
            .done("GET", &format!("{requests}?fieldSelector=spec.signerName={signer}"), Value::Null)
            .await;
        assert_eq!(list["items"].as_array().unwrap().len(), found, "{signer}");
    }
}

#[tokio::test]
async fn the_range_of_services_is_told_and_a_policy_that_does_nothing_says_so() {
    let mut client = Client::new().await;
    let at = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let range = client.done("GET", at, Value::Null).await;
    assert_eq!(range["spec"]["cidrs"], json!([crate::server::api::allocate::RANGE]));
    let ready = &range["status"]["conditions"][0];
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(client.ask("DELETE", at, Value::Null).await.0, 403);
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let binding = named("b", json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}));
    client.done("POST", bindings, binding).await;
    assert!(
        client.warnings().iter().any(|told| told.contains("NOTHING ENFORCES IT")),
        "{:?}",
        client.warnings()
    );
}
