//! Every kind through its whole life, and lists in pages: what clients of any kind rely on.

use super::writes::{accounts, named};
use super::*;
use crate::api::kinds::{Kind, Verb};
use crate::api::object;
use std::collections::BTreeSet;
use std::time::Duration;

const SPACE: &str = "kube-public";

/// The least that each kind takes, but for its name.
fn least(kind: &Kind) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let selected = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    let about = json!({"kind": "Pod", "name": "p", "namespace": SPACE});
    let scaled = json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 1});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let constraints = json!({"resourceRules": [{
        "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"],
    }]});
    let (amount, modes) = (json!({"storage": "1Gi"}), json!(["ReadWriteOnce"]));
    match (&*kind.group, &*kind.kind) {
        ("events.k8s.io", "Event") => json!({
            "regarding": about, "reason": "r", "type": "Normal", "action": "a", "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "e.io/c", "reportingInstance": "c-1",
        }),
        (_, "Event") => json!({"involvedObject": about}),
        (_, "LimitRange") => json!({"spec": {"limits": []}}),
        (_, "PersistentVolume") => {
            json!({"spec": {"capacity": amount, "accessModes": modes, "hostPath": {"path": "/x"}}})
        }
        (_, "PersistentVolumeClaim") => {
            json!({"spec": {"accessModes": modes, "resources": {"requests": amount}}})
        }
        (_, "Pod") => json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
        (_, "PodTemplate") => json!({"template": template}),
        (_, "ReplicationController") => json!({"spec": {"selector": {"app": "a"}, "template": template}}),
        (_, "Service") => json!({"spec": {"ports": [{"port": 1}]}}),
        (_, "ControllerRevision") => json!({"revision": 1, "data": {}}),
        ("apps", _) => json!({"spec": selected}),
        (_, "CronJob") => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
        (_, "Job") => json!({"spec": job}),
        (_, "HorizontalPodAutoscaler") => json!({"spec": scaled}),
        (_, "RoleBinding" | "ClusterRoleBinding") => json!({"roleRef": role}),
        (_, "EndpointSlice") => json!({"addressType": "IPv4", "endpoints": []}),
        (_, "Ingress") => {
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}}})
        }
        (_, "IngressClass") => json!({"spec": {"controller": "e.io/c"}}),
        (_, "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        (_, "IPAddress") => json!({"spec": {"parentRef": {"resource": "services", "name": "s"}}}),
        (_, "ServiceCIDR") => json!({"spec": {"cidrs": ["203.0.113.0/24"]}}),
        (_, "CertificateSigningRequest") => json!({"spec": {
            "request": signing_request(), "signerName": "e.io/s", "usages": ["client auth"],
        }}),
        (_, "FlowSchema") => json!({"spec": {"priorityLevelConfiguration": {"name": "l"}}}),
        (_, "PriorityLevelConfiguration") => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
        }
        (_, "ResourceClaimTemplate") => json!({"spec": {"spec": {}}}),
        ("resource.k8s.io", "ResourceSlice") => json!({"spec": {
            "driver": "d.io", "nodeName": "n", "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
        }}),
        ("resource.k8s.io", _) => json!({"spec": {}}),
        (_, "ValidatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": constraints, "validations": [{"expression": "true"}],
        }}),
        (_, "MutatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": constraints, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
        }}),
        (_, "ValidatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        (_, "MutatingAdmissionPolicyBinding") => json!({"spec": {"policyName": "p"}}),
        (_, "RuntimeClass") => json!({"handler": "h"}),
        (_, "PriorityClass") => json!({"value": 1}),
        (_, "CSIDriver") => json!({"spec": {}}),
        (_, "CSINode") => json!({"spec": {"drivers": []}}),
        (_, "CSIStorageCapacity") => json!({"storageClassName": "fast"}),
        (_, "StorageClass") => json!({"provisioner": "a.b/c"}),
        (_, "VolumeAttachment") => {
            json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
        }
        (_, "VolumeAttributesClass") => json!({"driverName": "a.b", "parameters": {"a": "b"}}),
        _ => json!({}),
    }
}

/// A request for a certificate, as it is sent.
pub(super) fn signing_request() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let asked = rcgen::CertificateParams::new(vec!["e.io".to_owned()]).unwrap();
    data_encoding::BASE64.encode(asked.serialize_request(&key).unwrap().pem().unwrap().as_bytes())
}

/// What an object of a kind is called: some are called by what they are about.
fn called(kind: &Kind, name: &'static str) -> &'static str {
    match (&*kind.kind, name) {
        ("IPAddress", "a-life") => "192.0.2.1",
        ("IPAddress", "row-1") => "192.0.2.2",
        ("IPAddress", _) => "2001:db8::1",
        _ => name,
    }
}

/// The collection of a kind, in a namespace or in all of them.
fn collection(kind: &Kind, namespace: Option<&str>) -> String {
    let base = match &*kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    match namespace.filter(|_| kind.namespaced()) {
        Some(namespace) => format!("{base}/namespaces/{namespace}/{}", kind.plural),
        None => format!("{base}/{}", kind.plural),
    }
}

/// The first so many events of one object that a watch from a revision tells.
async fn told(api: &Arc<Api>, collection: &str, name: &str, from: &str, wanted: usize) -> Vec<String> {
    let root = Arc::new(User::authenticated("watcher", [MASTERS.to_owned()]));
    let mut watcher = connect(api, Peer::of(root, None)).await;
    let path = format!("{collection}?watch=1&resourceVersion={from}");
    let mut body = begin(&mut watcher, "GET", &path, &json!({}), Bytes::new()).await.into_body();
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(120), body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&bytes)));
        bytes.extend(frame.expect("it goes on").unwrap().into_data().unwrap_or_default());
        let events = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().map_while(Result::ok);
        let about = events.filter(|event| event["object"]["metadata"]["name"] == name);
        let told: Vec<_> = about.map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        if told.len() >= wanted {
            return told;
        }
    }
}

impl Client {
    /// Asks of a kind what must succeed.
    async fn live(&mut self, kind: &Kind, method: &str, path: &str, body: Value) -> Value {
        let (code, answer) = self.ask(method, path, body).await;
        assert!(code < 300, "{kind:?}: {method} {path}: {code} {answer}");
        answer
    }

    async fn whole_life(&mut self, kind: &Kind) {
        let (all, own) = (collection(kind, None), collection(kind, Some(SPACE)));
        let name = called(kind, "a-life");
        let at = format!("{own}/{name}");
        let from = self.live(kind, "GET", &all, Value::Null).await["metadata"]["resourceVersion"].clone();
        let mut new = least(kind);
        new["metadata"] = json!({"name": name, "labels": {"life": "1"}});
        let made = self.live(kind, "POST", &own, new).await;
        assert_eq!((&made["kind"], &made["apiVersion"]), (&json!(kind.kind), &json!(kind.api_version())));
        let shown = self.live(kind, "GET", &at, Value::Null).await;
        assert_eq!(shown, made, "{kind:?}: what is read is what was made");
        let list = self.live(kind, "GET", &format!("{all}?labelSelector=life"), Value::Null).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{kind:?}: {list}");
        let patched = self.live(kind, "PATCH", &at, json!({"metadata": {"labels": {"life": "2"}}})).await;
        assert_eq!(patched["metadata"]["labels"]["life"], "2", "{kind:?}");
        let mut update = patched.clone();
        update["metadata"]["labels"]["life"] = "3".into();
        let updated = self.live(kind, "PUT", &at, update.clone()).await;
        let (code, stale) = self.ask("PUT", &at, update).await;
        assert_eq!((code, &stale["reason"]), (409, &json!("Conflict")), "{kind:?}");
        let mut changes = 3;
        if kind.has_status() {
            // What is no status stays, whatever a change of the status says of it.
            let patch = json!({"metadata": {"annotations": {"status": "told"}}, "spec": {"x-nothing": 1}});
            let shown = self.live(kind, "PATCH", &format!("{at}/status"), patch).await;
            assert_eq!(shown["spec"], updated["spec"], "{kind:?}: a status's change keeps the rest");
            let read = self.live(kind, "GET", &format!("{at}/status"), Value::Null).await;
            assert_eq!(read, shown, "{kind:?}");
            changes +=
                usize::from(shown["metadata"]["resourceVersion"] != updated["metadata"]["resourceVersion"]);
        }
        let gone = self.live(kind, "DELETE", &at, Value::Null).await;
        let held = gone["metadata"]["deletionTimestamp"].is_string();
        changes += usize::from(held);
        if held && self.ask("GET", &at, Value::Null).await.0 == 200 {
            let free = json!({"metadata": {"finalizers": null}});
            self.live(kind, "PATCH", &at, free).await;
        }
        match kind.shows_deleted || held {
            true => assert_eq!(gone["kind"], json!(kind.kind), "{kind:?}: {gone}"),
            false => assert_eq!((&gone["kind"], &gone["details"]["name"]), (&json!("Status"), &json!(name))),
        }
        if kind.kind != "Namespace" {
            assert_eq!(self.ask("GET", &at, Value::Null).await.0, 404, "{kind:?}");
        }
        // What is in a namespace has to go before it, which is nobody's here.
        let (last, went) =
            if kind.kind == "Namespace" { (changes - 1, "MODIFIED") } else { (changes, "DELETED") };
        let told = told(&self.api, &own, name, from.as_str().unwrap(), last + 1).await;
        assert_eq!((told[0].as_str(), told[last].as_str()), ("ADDED", went), "{kind:?}: {told:?}");
        self.in_a_row(kind, &own).await;
    }

    /// Several go at once.
    async fn in_a_row(&mut self, kind: &Kind, own: &str) {
        for name in ["row-1", "row-2"] {
            let mut new = least(kind);
            new["metadata"] = json!({"name": called(kind, name), "labels": {"row": "1"}});
            self.live(kind, "POST", own, new).await;
        }
        let these = format!("{own}?labelSelector=row");
        if kind.verbs.contains(&Verb::DeleteCollection) {
            self.live(kind, "DELETE", &these, Value::Null).await;
            let left = self.live(kind, "GET", &these, Value::Null).await;
            let held = |item: &Value| item["metadata"]["deletionTimestamp"].is_string();
            assert!(left["items"].as_array().unwrap().iter().all(held), "{kind:?}: {left}");
        } else {
            assert_eq!(self.ask("DELETE", &these, Value::Null).await.0, 405, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn every_kind_lives_as_every_other() {
    let mut client = Client::new().await;
    accounts(&mut client).await;
    let mut seen = BTreeSet::new();
    for kind in Kinds::new().iter().filter(|kind| kind.stored()) {
        client.whole_life(kind).await;
        seen.insert(kind.kind.clone());
    }
    assert!(seen.len() > 50, "{seen:?}");
}

/// All pages of a list, so many at once, while another object comes; the names in it, and the versions that it was of.
async fn paged(
    client: &mut Client,
    collection: &str,
    headers: &Value,
    limit: usize,
) -> (Vec<String>, BTreeSet<String>) {
    let (mut names, mut versions, mut next) = (Vec::new(), BTreeSet::new(), String::new());
    loop {
        let path = format!("{collection}?limit={limit}&continue={next}");
        let (code, page) = client.root("GET", &path, headers.clone(), Value::Null).await;
        assert_eq!(code, 200, "{page}");
        let items = page["items"].as_array().into_iter().flatten().map(|item| object::name(item).to_owned());
        let rows = page["rows"].as_array().into_iter().flatten();
        let rows = rows.map(|row| row["cells"][0].as_str().unwrap().to_owned());
        names.extend(items.chain(rows));
        versions.insert(page["metadata"]["resourceVersion"].to_string());
        let left = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
        assert_eq!(usize::try_from(left).unwrap(), 400 - names.len(), "{limit} at once");
        match page["metadata"]["continue"].as_str().filter(|next| !next.is_empty()) {
            Some(more) => more.clone_into(&mut next),
            None => return (names, versions),
        }
        // What comes meanwhile is of another moment.
        client.ask("POST", collection, named("template-0399-later", template())).await;
    }
}

fn template() -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}})
}

#[tokio::test]
async fn pages_add_up_to_the_list_of_one_moment() {
    let mut client = Client::new().await;
    let templates = format!("/api/v1/namespaces/{SPACE}/podtemplates");
    let expected: Vec<_> = (0..400).map(|number| format!("template-{number:04}")).collect();
    for name in &expected {
        client.done("POST", &templates, named(name, template())).await;
    }
    let table = json!({"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"});
    for headers in [json!({}), table] {
        for limit in [17, 40, 400, 1000] {
            let (names, versions) = paged(&mut client, &templates, &headers, limit).await;
            assert!(names == expected && versions.len() == 1, "{limit} at once: {names:?} of {versions:?}");
            client.ask("DELETE", &format!("{templates}/template-0399-later"), Value::Null).await;
        }
    }
}
