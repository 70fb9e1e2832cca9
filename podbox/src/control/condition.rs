//! Conditions of a status, as JSON. Pure.

use super::meta;
use crate::api::eviction::DISRUPTED;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Those of an object.
pub fn of(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// The one of this type.
pub fn get<'a>(conditions: &'a [Value], of: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| condition["type"] == of)
}

/// Takes the one of this type out.
pub fn remove(conditions: &mut Vec<Value>, of: &str) {
    conditions.retain(|condition| condition["type"] != of);
}

/// Puts one in, unless one of its type, status and reason is there; one whose status is the same has been so since then.
pub fn set(conditions: &mut Vec<Value>, mut new: Value) {
    let kind = new["type"].as_str().unwrap_or_default().to_owned();
    if let Some(old) = get(conditions, &kind) {
        if old["status"] == new["status"] && old["reason"] == new["reason"] {
            return;
        }
        if old["status"] == new["status"] {
            new["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
    }
    remove(conditions, &kind);
    conditions.push(new);
}

/// Those of a pod that goes for a reason that is not its own, told in a word and a sentence.
pub fn disrupted(pod: &Value, (reason, message): (&str, &str), now: Timestamp) -> Vec<Value> {
    let mut all = of(pod);
    let new = json!({
        "type": DISRUPTED,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": meta::written(now),
        "observedGeneration": pod["metadata"]["generation"],
    });
    set(&mut all, new);
    all
}

/// As they are written: not at all, if there are none.
pub fn written(conditions: Vec<Value>) -> Value {
    if conditions.is_empty() { Value::Null } else { conditions.into() }
}
