//! Ownership against the recordings, and what holds for any configuration.

use super::set::Set;
use super::{Write, apply, reset, update};
use crate::api::decode::{FieldValidation, Format, Target, body};
use crate::api::kinds::{Kind, Kinds};
use crate::api::recorded;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NOW: &str = "<time>";

/// A recorded request to an object, as far as ownership is concerned.
struct Request {
    name: String,
    method: String,
    content: String,
    query: BTreeMap<String, String>,
    kind: Arc<Kind>,
    /// The object's path without its part.
    main: String,
    part: String,
    body: String,
}

fn request(line: &Value, kinds: &Kinds) -> Option<Request> {
    let request = &line["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let full = text(&request["path"]);
    let (path, query) = full.split_once('?').unwrap_or((&full, ""));
    let parts: Vec<_> = path.split('/').collect();
    let (group, mut at) = if parts.get(1) == Some(&"api") { ("", 3) } else { (*parts.get(2)?, 4) };
    if parts.get(at) == Some(&"namespaces")
        && parts.len() > at + 2
        && !["status", "finalize"].contains(&parts[at + 2])
    {
        at += 2;
    }
    let kind =
        kinds.iter().find(|kind| kind.group == group && kind.plural == *parts.get(at).unwrap_or(&""))?;
    let name = text(&line["response"]["metadata"]["name"]);
    let main = if request["method"] == "POST" {
        format!("{path}/{name}")
    } else {
        parts[..parts.len().min(at + 2)].join("/")
    };
    Some(Request {
        name: text(&line["name"]),
        method: text(&request["method"]),
        content: text(&request["headers"]["Content-Type"]),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        kind: kind.clone(),
        main,
        part: parts.get(at + 2).copied().unwrap_or_default().to_owned(),
        body: request["body"].as_str().map_or_else(|| request["body"].to_string(), str::to_owned),
    })
}

impl Request {
    fn applies(&self) -> bool {
        self.content == "application/apply-patch+yaml"
    }

    fn write<'a>(&'a self, api_version: &'a str) -> Write<'a> {
        Write {
            manager: self.query.get("fieldManager").map_or("recorder", String::as_str),
            subresource: &self.part,
            api_version,
            now: NOW,
            reset: reset(&self.kind, &self.part),
        }
    }
}

/// Entries, for comparing as a set.
fn entries(object: &Value) -> BTreeSet<String> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(Value::to_string).collect()
}

/// Recorded configurations whose answers are the server's: what is not the object itself, and what is refused later.
fn skips(request: &Request) -> bool {
    request.part == "scale" || request.name.contains("resourceVersion") || request.name.contains("with rv") || request.name.contains("with uid")
        // YAML 1.2 has no boolean `y`.
        || request.name == "apply: raw yaml"
}

#[test]
fn recorded_applies_own_what_they_owned() {
    let kinds = Kinds::new();
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let (mut compared, mut skipped) = (0, 0);
    let mut wrong = Vec::new();
    for line in recorded::lines("patches.jsonl") {
        let Some(request) = request(&line, &kinds) else {
            skipped += 1;
            continue;
        };
        let response = &line["response"];
        let api_version = request.kind.api_version();
        if request.applies() && !skips(&request) {
            let live = objects.get(&request.main).unwrap_or(&Value::Null);
            let target = Target::from(&*request.kind);
            let config =
                body(request.body.as_bytes(), Format::Yaml, &target, FieldValidation::Warn).unwrap().object;
            let force = request.query.contains_key("force");
            let applied = apply(live, &config, &target, &request.write(&api_version), force);
            compared += 1;
            match applied {
                Ok(applied) if line["status"].as_u64() < Some(300) => {
                    if entries(&applied.object) != entries(response) {
                        wrong.push(format!(
                            "{}: {} for {}",
                            request.name,
                            applied.object["metadata"]["managedFields"],
                            response["metadata"]["managedFields"]
                        ));
                    }
                    for part in ["data", "metadata", "spec"] {
                        let gone = extra(&response[part], &applied.object[part], &live[part]);
                        wrong.extend(
                            gone.into_iter().map(|path| format!("{}: {part}{path} is left", request.name)),
                        );
                    }
                }
                Ok(_) => wrong.push(format!("{}: taken", request.name)),
                Err(error) => {
                    if (&error.message, error.code)
                        != (
                            &response["message"].as_str().unwrap_or_default().to_owned(),
                            line["status"].as_u64().unwrap_or_default() as u16,
                        )
                        || (error.code == 409 && error.details != response["details"])
                    {
                        wrong.push(format!("{}: {error}", request.name));
                    }
                }
            }
        } else {
            skipped += 1;
        }
        let done = line["status"].as_u64() < Some(300) && !request.query.contains_key("dryRun");
        if done && response["kind"] == *request.kind.kind {
            objects.insert(request.main, response.clone());
        }
    }
    eprintln!(
        "apply: {compared} recorded applies compared, {skipped} lines skipped: no apply, or for the server"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What `ours` has kept of `live` that `theirs` has not.
fn extra(theirs: &Value, ours: &Value, live: &Value) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let fields = ours.iter().filter(|(key, _)| {
                !["managedFields", "resourceVersion", "generation"].contains(&key.as_str())
            });
            fields
                .flat_map(|(key, value)| {
                    let below = extra(theirs.get(key).unwrap_or(&Value::Null), value, &live[key]);
                    below.into_iter().map(move |path| format!(".{key}{path}"))
                })
                .collect()
        }
        (Value::Null, Value::Null) => Vec::new(),
        (Value::Null, Value::Object(ours)) if ours.is_empty() => Vec::new(),
        (Value::Null, Value::Array(ours)) if ours.is_empty() => Vec::new(),
        (Value::Null, _) => vec![String::new()],
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() != ours.len() => {
            vec![format!("[{}/{}]", ours.len(), theirs.len())]
        }
        _ => Vec::new(),
    }
}

/// Writes whose answer does not tell what was written: the allocator took back a field, another version's shape, and lists
/// that are written as empty where upstream's own are null.
const SERVERS: &[&str] = &[
    "smp service: back to ClusterIP",
    "create hpa",
    "create endpointslice name only port",
    "create clusterrole",
];

/// Fields that upstream sets after ownership is noted, by parts of their paths.
const AFTERWARDS: &[&str] = &[
    // Of pods: the service account's token, tolerations, priority.
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "kube-api-access",
    ".volumeMounts",
    ".spec.volumes",
    ".spec.preemptionPolicy",
    ".spec.priority",
    ".spec.serviceAccount",
    ".spec.tolerations",
    "kubernetes.io/limit-ranger",
    ".metadata.annotations",
    ".resources",
    // Of services: addresses and ports.
    ".spec.clusterIP",
    ".spec.ipFamil",
    ".nodePort",
    ".spec.healthCheckNodePort",
    // Of jobs: the selector.
    "controller-uid",
    "job-name",
    ".spec.selector",
    ".metadata.labels",
    // Of others: protection, classes, taints, finalizers; and what is written though empty.
    ".metadata.finalizers",
    ".spec.finalizers",
    ".spec.storageClassName",
    ".spec.dataSourceRef",
    ".spec.taints",
    ".eventTime",
    ".reportingComponent",
    ".reportingInstance",
    " .ports",
    "ource",
];

/// Each manager's fields.
fn owned(object: &Value) -> Vec<(String, Set)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            (
                format!("{}/{}/{}", entry["manager"], entry["operation"], entry["subresource"]),
                Set::read(&entry["fieldsV1"]),
            )
        })
        .collect()
}

/// Paths of `these` that `those` lack.
fn less(these: &[(String, Set)], those: &[(String, Set)]) -> Vec<String> {
    let mut paths = Vec::new();
    for (manager, set) in these {
        let mut set = set.clone();
        those.iter().filter(|(other, _)| other == manager).for_each(|(_, other)| set.subtract(other));
        paths.extend(set.paths().into_iter().map(|path| format!("{manager} {path}")));
    }
    paths
}

#[test]
fn recorded_writes_own_what_they_owned() {
    let kinds = Kinds::new();
    let (mut same, mut skipped) = (0, 0);
    let mut wrong = Vec::new();
    for file in ["defaulting.jsonl", "patches.jsonl", "metadata.jsonl"] {
        let mut objects: BTreeMap<String, Value> = BTreeMap::new();
        for line in recorded::lines(file) {
            let response = &line["response"];
            let request = request(&line, &kinds);
            if let Some(scale) = request.as_ref().filter(|request| request.part == "scale") {
                // It changes the object, and answers with something else.
                objects.remove(&scale.main);
            }
            let Some(request) = request.filter(|request| response["kind"] == *request.kind.kind) else {
                skipped += 1;
                continue;
            };
            let done = line["status"].as_u64() < Some(300);
            let writes = ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) && !request.applies();
            if done
                && writes
                && request.part != "scale"
                && response["metadata"]["managedFields"] != "<managedFields>"
            {
                let mut new = response.clone();
                if let Some(meta) = new["metadata"].as_object_mut() {
                    meta.remove("managedFields");
                }
                // A reset is in the request, not in the answer.
                let given: Value = serde_json::from_str(&request.body).unwrap_or(Value::Null);
                if !given["metadata"]["managedFields"].is_null() {
                    new["metadata"]["managedFields"] = given["metadata"]["managedFields"].clone();
                }
                let old = match request.method.as_str() {
                    "POST" => Some(&Value::Null),
                    _ => objects.get(&request.main),
                };
                let Some(old) = old.filter(|_| !SERVERS.contains(&request.name.as_str())) else {
                    skipped += 1;
                    continue;
                };
                let api_version = request.kind.api_version();
                update(old, &mut new, &Target::from(&*request.kind), &request.write(&api_version));
                let (ours, theirs) = (owned(&new), owned(response));
                let (missing, more) = (less(&theirs, &ours), less(&ours, &theirs));
                // What admission and allocators set afterwards nobody owns; here it is in the object already.
                let more: Vec<_> = more
                    .into_iter()
                    .filter(|path| !AFTERWARDS.iter().any(|part| path.contains(part)))
                    .collect();
                if missing.is_empty() && more.is_empty() {
                    same += 1;
                } else {
                    wrong.push(format!("{}: missing {missing:?}, more {more:?}", request.name));
                }
            } else {
                skipped += 1;
            }
            if done && !request.query.contains_key("dryRun") {
                objects.insert(request.main, response.clone());
            }
        }
    }
    eprintln!(
        "apply: {same} recorded writes the same, {} not, {skipped} lines skipped: no write, or for the server",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn pod_config() -> impl Strategy<Value = Value> {
    let containers = prop::collection::btree_map(
        "[a-c]",
        ("[xyz]", prop::collection::btree_map("[AB]", "[12]", 0..3)),
        0..4,
    );
    let labels = prop::collection::btree_map("[a-c]", "[12]", 0..3);
    (containers, labels, prop::option::of("[mn]")).prop_map(|(containers, labels, node)| {
        let containers: Vec<_> = containers
            .into_iter()
            .map(|(name, (image, env))| {
                let env: Vec<_> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": name, "image": image, "env": env})
            })
            .collect();
        let mut spec = json!({"containers": containers});
        if let Some(node) = node {
            spec["nodeName"] = node.into();
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": spec})
    })
}

fn as_manager<'a>(manager: &'a str, now: &'a str) -> Write<'a> {
    Write { manager, subresource: "", api_version: "v1", now, reset: &[] }
}

proptest! {
    #[test]
    fn to_apply_again_changes_nothing(first in pod_config(), second in pod_config(), third in pod_config()) {
        let target = Target::named("", "v1", "Pod");
        let mut live = Value::Null;
        for (manager, config) in [("one", &first), ("two", &second), ("one", &third)] {
            live = apply(&live, config, &target, &as_manager(manager, "t1"), true).unwrap().object;
            let again = apply(&live, config, &target, &as_manager(manager, "t2"), false).unwrap();
            prop_assert!(!again.changed);
            prop_assert_eq!(&again.object, &live);
        }
        // What an applier lists is there.
        prop_assert_eq!(live["spec"]["nodeName"].is_null(), third["spec"]["nodeName"].is_null() && second["spec"]["nodeName"].is_null());
    }

    #[test]
    fn no_managed_fields_make_it_panic(text in r#"\{("(f:|k:|v:|\.|i:)(spec|\{\}|"a"|)":(\{\}|1|null|\{"f:a":\{\}\}),){0,3}"f:x":\{\}\}"#, config in pod_config()) {
        let fields: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let mut live = config.clone();
        live["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}]);
        let target = Target::named("", "v1", "Pod");
        let _ = apply(&live, &config, &target, &as_manager("x", "t"), false);
        let mut new = config.clone();
        update(&live, &mut new, &target, &as_manager("x", "t"));
    }
}

#[test]
fn an_empty_list_of_managers_resets_and_a_silent_one_does_not() {
    let target = Target::named("", "v1", "ConfigMap");
    let mut made = json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    update(&Value::Null, &mut made, &target, &as_manager("m", "t"));
    let expected = json!([{"manager": "m", "operation": "Update", "apiVersion": "v1", "time": "t", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {".": {}, "f:a": {}}}}]);
    assert_eq!(made["metadata"]["managedFields"], expected);
    let mut silent = json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    update(&made, &mut silent, &target, &as_manager("n", "t2"));
    assert_eq!(silent["metadata"]["managedFields"], expected);
    let mut reset = made.clone();
    reset["metadata"]["managedFields"] = json!([]);
    update(&made, &mut reset, &target, &as_manager("n", "t2"));
    assert!(reset["metadata"]["managedFields"].is_null());
}
