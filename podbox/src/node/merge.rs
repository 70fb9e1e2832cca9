//! The node's word in a pod's status beside that of others. Pure.
//!
//! The node says what its containers are at; conditions of other types are whoever's who wrote them, and stay. Readiness
//! gates are judged here, where both are known: in the write itself, so that no word of anybody is missed. A pod that is over
//! stays so, whoever said it: its containers end then, and nobody takes it for one that runs meanwhile.

use crate::api::object;
use crate::pod::status;
use serde_json::Value;
use std::time::SystemTime;

/// Puts the node's word into a pod's status; what others said there stays.
pub fn merge_status(pod: &mut Value, status: &Value, now: SystemTime) {
    let mut merged = match pod["status"].take() {
        Value::Object(fields) => fields,
        _ => Default::default(),
    };
    // What the node said before and says no more is over.
    for field in ["reason", "message"] {
        merged.remove(field);
    }
    let over = merged.get("phase").filter(|phase| **phase == "Succeeded" || **phase == "Failed").cloned();
    for (field, value) in status.as_object().into_iter().flatten() {
        let value = match field.as_str() {
            "phase" => over.clone().unwrap_or_else(|| value.clone()),
            "conditions" => conditions(merged.get("conditions"), value, &pod["spec"]["readinessGates"], now),
            _ => value.clone(),
        };
        merged.insert(field.clone(), value);
    }
    pod["status"] = Value::Object(merged);
}

/// The node's conditions, after those of others that it knows nothing of. One that was so before has been since then.
fn conditions(before: Option<&Value>, own: &Value, gates: &Value, now: SystemTime) -> Value {
    let mut own: Vec<Value> = own.as_array().cloned().unwrap_or_default();
    let before: Vec<&Value> = before.and_then(Value::as_array).into_iter().flatten().collect();
    let passing = || status::RESIZING.into_iter().chain([status::PILED]);
    let over = |condition: &Value| passing().any(|type_| condition["type"] == type_);
    let known =
        |condition: &&&Value| over(condition) || own.iter().any(|one| one["type"] == condition["type"]);
    let others: Vec<Value> = before.iter().filter(|condition| !known(condition)).copied().cloned().collect();
    let all: Vec<Value> = others.iter().chain(&own).cloned().collect();
    for condition in &mut own {
        if condition["type"] == "Ready" {
            status::ready(condition, gates, &all);
        }
        let so = |old: &&&Value| old["type"] == condition["type"] && old["status"] == condition["status"];
        let same = before.iter().find(so).map(|old| old["lastTransitionTime"].clone());
        let since = same.filter(Value::is_string).unwrap_or_else(|| object::time(now).into());
        condition["lastTransitionTime"] = since;
    }
    others.into_iter().chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use serde_json::json;

    #[test]
    fn others_keep_their_word_and_open_gates_and_what_is_over_goes() {
        let now = clock::wall();
        let mut pod = json!({
            "spec": {"readinessGates": [{"conditionType": "theirs"}]},
            "status": {"message": "no veth", "nominatedNodeName": "n",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]},
        });
        let own = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        merge_status(&mut pod, &own, now);
        let ready = &pod["status"]["conditions"][0];
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ReadinessGatesNotReady")));
        assert_ne!(ready["lastTransitionTime"], "then");
        assert_eq!(
            (&pod["status"]["message"], &pod["status"]["nominatedNodeName"]),
            (&json!(null), &json!("n"))
        );
        let theirs = json!({"type": "theirs", "status": "True"});
        pod["status"]["conditions"].as_array_mut().unwrap().push(theirs.clone());
        merge_status(&mut pod, &own, now);
        assert_eq!(pod["status"]["conditions"][0], theirs);
        assert_eq!(pod["status"]["conditions"][1]["status"], "True");
        let once = pod.clone();
        merge_status(&mut pod, &own, now);
        assert_eq!(pod, once, "nothing new is no change");
    }

    #[test]
    fn who_is_over_does_not_run_again() {
        let now = clock::wall();
        for (before, said, after) in [
            ("Running", "Failed", "Failed"),
            ("Failed", "Running", "Failed"),
            ("Succeeded", "Failed", "Succeeded"),
        ] {
            let mut pod = json!({"status": {"phase": before}});
            merge_status(&mut pod, &json!({"phase": said}), now);
            assert_eq!(pod["status"]["phase"], after, "{before}, then {said}");
        }
    }
}
