//! Patches against the recordings, the RFCs' examples, and whatever patches there are.

use super::{Patch, json, merge, object, strategic};
use crate::api::decode::Target;
use crate::api::kinds::Kinds;
use crate::api::recorded;
use crate::api::status::ApiError;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Patches of which more comes than they say: the allocator's doing, and unknown fields, which the decoder drops.
const SERVERS: &[&str] = &["smp service: back to ClusterIP", "smp unknown field Warn"];

/// Applies a patch as a request would.
fn apply(target: &mut Value, content: &str, bytes: &[u8], kind: &Target<'_>) -> Result<(), ApiError> {
    if content.starts_with("application/") {
        *target = Patch::read(content, bytes)?.apply(target.take())?;
        return Ok(());
    }
    strategic::apply(target, object(bytes)?, kind.schema, &kind.root)
}

fn operations(target: &mut Value, list: Vec<Value>) -> Result<(), ApiError> {
    json::Operations::read(Value::from(list).to_string().as_bytes())?.apply(target)
}

/// Where `part` is not contained in `whole`: defaults may have come, nothing may have gone or moved.
fn missing(part: &Value, whole: &Value, path: &str) -> Vec<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .flat_map(|(key, value)| {
                missing(value, whole.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"))
            })
            .collect(),
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => part
            .iter()
            .zip(whole)
            .flat_map(|(part, whole)| missing(part, whole, &format!("{path}[]")))
            .collect(),
        // Empty lists and maps are not written.
        (Value::Array(part), Value::Null) if part.is_empty() => Vec::new(),
        (Value::Object(part), Value::Null) if part.is_empty() => Vec::new(),
        (part, whole) if part == whole => Vec::new(),
        (part, whole) => vec![format!("{path}: {part} for {whole}")],
    }
}

/// What a request to a part of a resource can change.
fn relevant(mut object: Value, part: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| match part {
            "status" => key == "status",
            "" => key != "status",
            _ => key == "spec",
        });
        if let Some(meta) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.retain(|key, _| ["labels", "annotations", "finalizers"].contains(&key.as_str()));
        }
    }
    object
}

#[test]
fn recorded_patches_do_what_they_did() {
    let kinds = Kinds::new();
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let (mut compared, mut skipped) = (0, 0);
    let mut wrong = Vec::new();
    for file in ["patches.jsonl", "validation.jsonl"] {
        for line in recorded::lines(file) {
            let request = &line["request"];
            let name = line["name"].as_str().unwrap_or_default();
            let path = request["path"].as_str().unwrap_or_default().split('?').next().unwrap_or_default();
            let parts: Vec<_> = path.split('/').collect();
            // /api/v1/namespaces/N/pods/NAME/status and /api/v1/nodes/NAME/status
            let from = if path.starts_with("/api/") { 3 } else { 4 };
            let from = if parts.get(from) == Some(&"namespaces") && parts.len() > from + 2 {
                from + 2
            } else {
                from
            };
            let part = parts.get(from + 2).copied().unwrap_or_default();
            let main = parts[..parts.len().min(from + 2)].join("/");
            let response = &line["response"];
            let content = request["headers"]["Content-Type"].as_str().unwrap_or_default();
            let patch =
                request["method"] == "PATCH" && content != "application/apply-patch+yaml" && part != "scale";
            let kind = parts.get(from).and_then(|plural| {
                let group = if from == 3 || (from == 5 && path.starts_with("/api/")) { "" } else { parts[2] };
                kinds.iter().find(|kind| kind.plural == *plural && kind.group == group).cloned()
            });
            match (patch, kind, objects.get(&main)) {
                (true, Some(kind), Some(before)) => {
                    let mut after = before.clone();
                    let body =
                        request["body"].as_str().map_or_else(|| request["body"].to_string(), str::to_owned);
                    let done = apply(&mut after, content, body.as_bytes(), &Target::from(&*kind));
                    let status = line["status"].as_u64();
                    match (status, done) {
                        (Some(200), Ok(())) if SERVERS.contains(&name) => skipped += 1,
                        (Some(200), Ok(())) => {
                            compared += 1;
                            let after = relevant(after, part);
                            // What is deleted comes back as a default, or not at all.
                            let missing = missing(&after, &relevant(response.clone(), part), "");
                            wrong.extend(missing.into_iter().map(|what| format!("{name}: {what}")));
                        }
                        (Some(200), Err(error)) => wrong.push(format!("{name}: {error}")),
                        (_, Err(error)) => {
                            compared += 1;
                            if error.message != response["message"] {
                                wrong.push(format!("{name}: {error}"));
                            }
                        }
                        // The object that it makes is refused.
                        (_, Ok(())) => skipped += 1,
                    }
                }
                _ => skipped += 1,
            }
            let done = line["status"].as_u64().is_some_and(|status| status < 300);
            if done && response["metadata"]["name"].is_string() && part != "scale" {
                let main = match request["method"] == "POST" {
                    true => format!("{path}/{}", response["metadata"]["name"].as_str().unwrap_or_default()),
                    false => main,
                };
                objects.insert(main, response.clone());
            }
        }
    }
    eprintln!(
        "patch: {compared} recorded patches compared, {skipped} lines skipped: no patch, or for the server"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn merge_patches_do_as_the_rfc_shows() {
    for (target, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut merged = target.clone();
        merge::apply(&mut merged, patch.clone());
        assert_eq!(merged, expected, "{target} patched with {patch}");
    }
}

#[test]
fn copies_that_grow_are_refused() {
    let mut bomb = vec![json!({"op": "add", "path": "/a", "value": "x".repeat(1000)})];
    bomb.extend((0..60).map(|index| json!({"op": "copy", "from": "", "path": format!("/b{index}")})));
    let error = operations(&mut json!({}), bomb).unwrap_err();
    assert_eq!(error.code, 413);
    let many = vec![json!({"op": "test", "path": "", "value": {}}); json::OPERATIONS + 1];
    let error = operations(&mut json!({}), many).unwrap_err();
    assert_eq!(error.message, "The allowed maximum operations in a JSON patch is 10000, got 10001");
}

#[test]
fn pieces_put_into_each_other_are_refused() {
    let deep = |count: usize| (0..count).fold(json!({}), |inner, _| json!({"a": inner}));
    let path = |count: usize| "/a".repeat(count);
    let add = |at: usize| json!({"op": "add", "path": path(at + 1), "value": deep(100)});
    // Each in the innermost of the one before: without a bound, some fifteen thousand deep.
    let bomb: Vec<_> = (0..150).map(|index| add(index * 101)).collect();
    let mut target = json!({});
    assert_eq!(operations(&mut target, bomb).unwrap_err().code, 422);
    let copies = (0..400).map(|_| json!({"op": "copy", "from": "", "path": "/a"})).collect();
    assert_eq!(operations(&mut json!({}), copies).unwrap_err().code, 422);
    assert!(operations(&mut json!({}), vec![add(0)]).is_ok());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop::sample::select(vec!["delete", "replace", "merge", "a", "name"]).prop_map(Value::from),
    ];
    const KEYS: &[&str] = &[
        "spec",
        "containers",
        "name",
        "env",
        "metadata",
        "finalizers",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let key = prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn no_patch_makes_it_panic(target in values(), patch in values()) {
        let pod = Target::named("", "v1", "Pod");
        let text = patch.to_string();
        for content in ["application/json-patch+json", "application/merge-patch+json", "strategic"] {
            let _ = apply(&mut target.clone(), content, text.as_bytes(), &pod);
        }
    }

    #[test]
    fn no_operations_make_it_panic(
        target in values(),
        list in prop::collection::vec(
            ("(add|remove|replace|move|copy|test)", "(/(spec|name|0|-|-1|9|))*", "(/(spec|0|name))*"), 0..6),
    ) {
        let patch = list.iter().map(|(op, path, from)| json!({"op": op, "path": path, "from": from, "value": 1}));
        let patch: Vec<_> = patch.collect();
        let _ = operations(&mut target.clone(), patch);
    }
}
