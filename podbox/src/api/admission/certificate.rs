//! What a request for a certificate says of who asked, and when what is said of it came to be so: nobody who writes one can say that
//! themselves. Pure; who asks and the time are parameters.

use crate::api::user::User;
use serde_json::{Value, json};

/// Notes who asks, in the place of whatever the request says.
pub fn asked_by(request: &mut Value, user: &User) {
    let Some(spec) = request.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for (field, value) in [
        ("username", json!(user.name)),
        ("uid", json!(user.uid)),
        ("groups", json!(user.groups)),
        ("extra", json!(user.extra)),
    ] {
        let says_nothing = value == json!("") || value == json!([]) || value == json!({});
        spec.remove(field);
        if !says_nothing {
            spec.insert(field.to_owned(), value);
        }
    }
}

/// Dates the conditions that have no date; one that was as it is has been so since then.
pub fn date(new: &mut Value, old: &Value, now: &str) {
    let before = old["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let conditions = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter(|condition| condition.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
        if condition["lastTransitionTime"].is_null() {
            let same = |one: &&Value| ["type", "status"].iter().all(|field| one[field] == condition[field]);
            let since = before.iter().find(same).map(|one| one["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.filter(Value::is_string).unwrap_or(now.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_not_theirs_to_say() {
        let mut request = json!({"spec": {"username": "system:admin", "groups": ["system:masters"], "uid": "1", "usages": ["any"]}});
        asked_by(&mut request, &User::authenticated("jane", []));
        let spec = json!({"username": "jane", "groups": ["system:authenticated"], "usages": ["any"]});
        assert_eq!(request["spec"], spec);
    }

    #[test]
    fn conditions_are_as_old_as_their_status() {
        let (before, now) = ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z");
        let old = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "lastTransitionTime": before}]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "Approved", "status": "True"},
            {"type": "Other", "status": "True", "lastTransitionTime": before, "lastUpdateTime": before},
        ]}});
        date(&mut new, &old, now);
        let first = json!({"type": "Approved", "status": "True", "lastTransitionTime": before, "lastUpdateTime": now});
        assert_eq!(new["status"]["conditions"][0], first);
        assert_eq!(new["status"]["conditions"][1]["lastUpdateTime"], before);
    }
}
