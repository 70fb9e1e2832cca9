//! Pods that say that they go for others' sake (`DisruptionTarget`) and do not go: whoever meant them to did not delete them, so after two
//! minutes they do not say so any more. Pure.
//!
//! What a pod's node says of it stands, for that may take any time; so does what a pod said that has ended.

use super::action::Actions;
use super::condition;
use super::meta::written;
use super::node_lifecycle::after;
use super::pods::{Member, Phase};
use super::status;
use crate::api::eviction::DISRUPTED;
use crate::limits;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The reason of those whose node makes them go.
const BY_NODE: &str = "TerminationByKubelet";

/// Whether a condition of this type, status and reason may have to be taken back.
pub fn may_be_stale(of: &str, status: &str, reason: &str) -> bool {
    (of, status) == (DISRUPTED, "True") && reason != BY_NODE
}

/// What is to be done for a pod, as it is stored.
pub fn reconcile(pod: &Member, (object, revision): (&Value, u64), now: Timestamp) -> Actions {
    let word = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let mut all = condition::of(object);
    let stale = all
        .iter_mut()
        .find(|one| may_be_stale(&word(one, "type"), &word(one, "status"), &word(one, "reason")));
    let Some(stale) = stale.filter(|_| !pod.deleting && pod.phase != Phase::Ended) else {
        return Actions::none();
    };
    let since = stale["lastTransitionTime"].as_str().and_then(|time| time.parse().ok());
    let until = after(since.unwrap_or(Timestamp::UNIX_EPOCH), limits::DISRUPTED);
    if now < until {
        return Actions { wake_at: Some(until), ..Actions::none() };
    }
    stale["status"] = "False".into();
    stale["lastTransitionTime"] = written(now).into();
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        stale["observedGeneration"] = generation.into();
    }
    Actions::of(status::write(&pod.target(), object, revision, json!({"status": {"conditions": all}})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::action::{Action, Write};
    use crate::control::key::Key;
    use crate::control::pods::Pods;

    fn look(pod: &Value, now: i64) -> (bool, Actions) {
        let (mut index, key) = (Pods::default(), Key::new("default", "a"));
        index.note(&key, &serde_json::to_vec(pod).unwrap()).unwrap();
        let member = index.get(&key).unwrap();
        (member.disrupted, reconcile(member, (pod, 7), Timestamp::from_second(now).unwrap()))
    }

    #[test]
    fn what_does_not_go_in_two_minutes_says_no_more_that_it_will() {
        let pod = |reason: &str, phase: &str| {
            let condition = json!({
                "type": DISRUPTED, "status": "True", "reason": reason, "message": "m",
                "lastTransitionTime": "1970-01-01T00:00:10Z",
            });
            json!({
                "metadata": {"name": "a", "namespace": "default", "uid": "u"},
                "status": {"phase": phase, "conditions": [condition]},
            })
        };
        let evicted = pod("EvictionByEvictionAPI", "Running");
        let (looked_at, waits) = look(&evicted, 129);
        assert!(looked_at && waits.actions.is_empty() && waits.wake_at.is_some(), "{waits:#?}");
        let (_, taken_back) = look(&evicted, 130);
        let [Action { write: Write::Edit { edit, part: "status", .. }, .. }] = taken_back.actions.as_slice()
        else {
            panic!("{taken_back:#?}");
        };
        let mut after = evicted.clone();
        edit.apply(&mut after);
        let condition = &after["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"], &condition["lastTransitionTime"]),
            (&json!("False"), &json!("EvictionByEvictionAPI"), &json!("1970-01-01T00:02:10Z"))
        );
        assert_eq!(look(&after, 500), (false, Actions::none()));
        let mut going = evicted;
        going["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:11Z".into();
        for stays in [going, pod("EvictionByEvictionAPI", "Failed"), pod("TerminationByKubelet", "Running")] {
            assert_eq!(look(&stays, 500).1, Actions::none());
        }
    }
}
