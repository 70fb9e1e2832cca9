//! Pods that have to leave their node for a taint `NoExecute`: at once if they do not bear it, or after as many seconds as they do.
//! Pure.
//!
//! First a pod's status says why, so that its controller knows that it is not to blame; then it is deleted. Seconds count from when
//! the taint was set, if it says so, else from when it was noticed; a restart notices anew.

use super::action::{Action, Actions, Saying, Subject, Write};
use super::condition::{self, DISRUPTED};
use super::key::Key;
use super::nodes::NO_EXECUTE;
use super::pods::{Member, Phase};
use super::status;
use crate::api::wish::bears;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REASON: &str = "TaintManagerEviction";

/// The pods that are to leave at some time, since it was noticed that they are.
#[derive(Clone, Debug, Default)]
pub struct Leaving(BTreeMap<Key, Timestamp>);

impl Leaving {
    /// Since when a pod is to leave.
    pub fn since(&self, pod: &Key) -> Option<Timestamp> {
        self.0.get(pod).copied()
    }

    /// This was found out of a pod.
    pub fn heed(&mut self, pod: &Key, found: &Actions, now: Timestamp) {
        match found.wake_at {
            Some(_) => drop(self.0.entry(pod.clone()).or_insert(now)),
            // Until it has gone, what was noticed counts.
            None if !found.actions.is_empty() => {}
            None => drop(self.0.remove(pod)),
        }
    }

    /// A pod is gone.
    pub fn forget(&mut self, pod: &Key) {
        self.0.remove(pod);
    }
}

/// A pod, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// What is known of it.
    pub pod: &'a Member,
    /// All of it.
    pub object: &'a Value,
    /// Its revision.
    pub revision: u64,
}

/// What is to be done for a pod on a node with these taints, that is to leave `since` then if at all.
pub fn reconcile(
    desired: Desired<'_>,
    taints: &[Taint],
    since: Option<Timestamp>,
    now: Timestamp,
) -> Actions {
    let Desired { pod, object, .. } = desired;
    let tolerations: Vec<Toleration> =
        Deserialize::deserialize(&object["spec"]["tolerations"]).unwrap_or_default();
    let about = Some(Subject { at: pod.target(), uid: pod.uid.to_string() });
    let on_node_since = bound(object).or(pod.created).unwrap_or(Timestamp::UNIX_EPOCH);
    match leaves_at(taints, &tolerations, on_node_since, since.unwrap_or(now)) {
        _ if pod.deleting => Actions::none(),
        None => {
            let said =
                since.map(|_| Saying::normal(REASON, format!("Cancelling deletion of Pod {}", pod.key)));
            Actions { about, said: said.into_iter().collect(), ..Actions::none() }
        }
        Some(at) if now < at => Actions { about, wake_at: Some(at), ..Actions::none() },
        Some(_) => Actions { about, ..Actions::of([leave(desired, now)]) },
    }
}

/// The next step of a pod's leaving.
fn leave(Desired { pod, object, revision }: Desired<'_>, now: Timestamp) -> Action {
    let conditions = condition::of(object);
    let told = condition::get(&conditions, DISRUPTED).is_some_and(|known| known["status"] == "True");
    if !told && pod.phase != Phase::Ended {
        let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        let fields = json!({"status": {"conditions": condition::disrupted(object, why, now)}});
        if let Some(write) = status::write(&pod.target(), object, revision, fields) {
            return write.into();
        }
    }
    let done = Saying::normal(REASON, format!("Marking for deletion Pod {}", pod.key));
    let write = Write::Delete { at: pod.target(), seen: pod.seen(), propagation: None };
    Action { write, done: Some(done), failed: None }
}

/// Since when a pod is on its node.
fn bound(pod: &Value) -> Option<Timestamp> {
    let conditions = condition::of(pod);
    condition::get(&conditions, "PodScheduled")?["lastTransitionTime"].as_str()?.parse().ok()
}

/// When a pod has to leave that is on its node `since` then: `None` if it may stay. Taints that do not say when they were set were
/// when they were `noticed`.
fn leaves_at(
    taints: &[Taint],
    tolerations: &[Toleration],
    since: Timestamp,
    noticed: Timestamp,
) -> Option<Timestamp> {
    let mut first: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        // At once, if nothing bears it. Of several that do, the first one counts, as upstream has it.
        let seconds = match tolerations.iter().find(|one| bears(one, taint)) {
            None => Some(0),
            Some(bearing) => bearing.toleration_seconds,
        };
        let Some(seconds) = seconds else { continue };
        let added = taint.time_added.as_ref().map_or(noticed, |time| time.0);
        let at = added.max(since).saturating_add(SignedDuration::from_secs(seconds.max(0)));
        let at = at.unwrap_or(Timestamp::MAX);
        first = Some(first.map_or(at, |first| first.min(at)));
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::meta::written;
    use crate::control::pods::Pods;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[track_caller]
    fn check(taints: Value, tolerations: Value, expected: Option<i64>) {
        let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
        assert_eq!(leaves_at(&taints, &tolerations, at(50), at(500)), expected.map(at));
    }

    #[test]
    fn a_pod_leaves_when_its_patience_with_any_taint_is_over() {
        let taint = |key: &str, second: i64| json!({"key": key, "effect": "NoExecute", "timeAdded": written(at(second))});
        let bears = |key: &str, seconds: Value| {
            let mut one = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            if !seconds.is_null() {
                one["tolerationSeconds"] = seconds;
            }
            one
        };
        let a = || taint("a", 100);
        check(json!([{"key": "a", "effect": "NoSchedule"}]), json!([]), None);
        check(json!([a()]), json!([]), Some(100));
        check(json!([taint("a", 10)]), json!([]), Some(50));
        check(json!([{"key": "a", "effect": "NoExecute"}]), json!([]), Some(500));
        check(json!([a()]), json!([bears("a", Value::Null)]), None);
        check(json!([a()]), json!([bears("a", json!(30))]), Some(130));
        check(json!([a()]), json!([bears("a", json!(-1))]), Some(100));
        check(json!([a()]), json!([bears("a", json!(30)), bears("a", Value::Null)]), Some(130));
        check(json!([a()]), json!([bears("a", Value::Null), bears("a", json!(30))]), None);
        check(
            json!([a(), taint("b", 200)]),
            json!([bears("a", json!(900)), bears("b", json!(1))]),
            Some(201),
        );
        check(json!([a(), taint("b", 200)]), json!([bears("a", Value::Null)]), Some(200));
        check(json!([a()]), json!([{"operator": "Exists"}]), None);
    }

    /// A pod that bears `own` for a minute, and what is to be done for it.
    struct Case {
        pod: Value,
        leaving: Leaving,
    }

    impl Case {
        fn look(&mut self, taints: Value, now: i64) -> Actions {
            let (mut index, key) = (Pods::default(), Key::new("default", "a"));
            index.note(&key, &serde_json::to_vec(&self.pod).unwrap()).unwrap();
            let desired = Desired { pod: index.get(&key).unwrap(), object: &self.pod, revision: 7 };
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            let found = reconcile(desired, &taints, self.leaving.since(&key), at(now));
            self.leaving.heed(&key, &found, at(now));
            found
        }
    }

    fn case() -> Case {
        let bears = json!({"key": "own", "operator": "Exists", "tolerationSeconds": 60});
        let pod = json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "generation": 3},
            "spec": {"nodeName": "n", "tolerations": [bears]}, "status": {"phase": "Running"},
        });
        Case { pod, leaving: Leaving::default() }
    }

    #[test]
    fn a_pod_that_leaves_is_told_why_before_it_goes() {
        let mut case = case();
        let other = || json!([{"key": "other", "effect": "NoExecute"}]);
        let told = case.look(other(), 101);
        let Write::Edit { edit, part: "status", .. } = &told.actions[0].write else { panic!("{told:#?}") };
        edit.apply(&mut case.pod);
        let condition = &case.pod["status"]["conditions"][0];
        assert_eq!(
            (&condition["reason"], &condition["observedGeneration"]),
            (&json!("DeletionByTaintManager"), &json!(3))
        );
        let gone = case.look(other(), 102);
        assert!(matches!(gone.actions[0].write, Write::Delete { .. }), "{gone:#?}");
        assert_eq!(gone.actions[0].done.as_ref().unwrap().message, "Marking for deletion Pod default/a");
        case.pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(case.look(other(), 103), Actions::none());
    }

    #[test]
    fn a_pod_bears_a_taint_from_when_it_is_noticed_and_stays_if_that_goes_in_time() {
        let mut case = case();
        let own = || json!([{"key": "own", "effect": "NoExecute"}]);
        for now in [100, 120, 159] {
            let waits = case.look(own(), now);
            assert!(waits.actions.is_empty() && waits.wake_at == Some(at(160)), "{waits:#?}");
        }
        let stays = case.look(json!([]), 159);
        assert!(stays.actions.is_empty(), "{stays:#?}");
        assert_eq!(stays.said, [Saying::normal(REASON, "Cancelling deletion of Pod default/a")]);
        assert_eq!(case.look(json!([]), 159).said, [], "it is said once");
        assert_eq!(case.look(own(), 200).wake_at, Some(at(260)), "it begins anew");
        let told = case.look(own(), 260);
        let Write::Edit { edit, .. } = &told.actions[0].write else { panic!("{told:#?}") };
        edit.apply(&mut case.pod);
        let gone = case.look(own(), 260);
        assert!(matches!(gone.actions[0].write, Write::Delete { .. }), "{gone:#?}");
    }
}
