//! Pods that have to leave their node for a taint `NoExecute`: at once if they do not bear it, or after as many seconds as they do.
//! Pure.
//!
//! First a pod's status says why, so that its controller knows that it is not to blame; then it is deleted. Seconds count from when
//! it was noticed that the pod has to bear a taint, for each taint by itself, by a clock that does not jump; a restart notices anew, as
//! upstream has it. A node that is not ready and one that does not answer have two taints for one trouble: who alternates between them is
//! borne no longer for that.

use super::action::{Action, Actions, Saying, Subject, Write};
use super::condition;
use super::key::Key;
use super::nodes::NO_EXECUTE;
use super::pods::{Member, Phase};
use super::status;
use crate::api::admission::{NOT_READY, UNREACHABLE};
use crate::api::eviction::DISRUPTED;
use crate::api::wish::bears;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const REASON: &str = "TaintManagerEviction";

/// The pods that have taints to bear.
#[derive(Clone, Debug, Default)]
pub struct Leaving(BTreeMap<Key, Bearing>);

/// What one of them bears.
#[derive(Clone, Debug, Default)]
struct Bearing {
    /// Its uid: another one of its name begins anew.
    uid: String,
    /// By the taint's key: when it was noticed.
    since: BTreeMap<String, Duration>,
    /// Whether it is to leave for that some time.
    leaves: bool,
}

/// The trouble that a taint stands for.
fn trouble(taint: &Taint) -> &str {
    if taint.key == UNREACHABLE { NOT_READY } else { &taint.key }
}

impl Leaving {
    /// A pod of this uid has to bear these taints.
    pub fn look(&mut self, pod: &Key, uid: Option<&str>, taints: &[Taint], now: Duration) {
        let troubles: Vec<&str> =
            taints.iter().filter(|taint| taint.effect == NO_EXECUTE).map(trouble).collect();
        if self.0.get(pod).is_some_and(|known| Some(known.uid.as_str()) != uid) {
            self.0.remove(pod);
        }
        if troubles.is_empty() && !self.0.contains_key(pod) {
            return;
        }
        let bearing = self.0.entry(pod.clone()).or_default();
        uid.unwrap_or_default().clone_into(&mut bearing.uid);
        bearing.since.retain(|known, _| troubles.contains(&known.as_str()));
        for new in troubles {
            if !bearing.since.contains_key(new) {
                bearing.since.insert(new.to_owned(), now);
            }
        }
    }

    /// This was found out of a pod.
    pub fn heed(&mut self, pod: &Key, found: &Actions) {
        let Some(bearing) = self.0.get_mut(pod) else { return };
        // Until it has gone, it is to.
        bearing.leaves = found.wake_at.is_some() || bearing.leaves && !found.actions.is_empty();
        if bearing.since.is_empty() {
            self.0.remove(pod);
        }
    }

    /// A pod is gone.
    pub fn forget(&mut self, pod: &Key) {
        self.0.remove(pod);
    }
}

/// For how long a pod has borne what.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    /// Since when each pod has.
    pub leaving: &'a Leaving,
    /// Which pod.
    pub pod: &'a Key,
    /// Now, by the same clock.
    pub now: Duration,
}

impl Patience<'_> {
    fn with(&self, taint: &Taint) -> SignedDuration {
        let since = self.leaving.0.get(self.pod).and_then(|pod| pod.since.get(trouble(taint)));
        let span = since.map_or(Duration::ZERO, |since| self.now.saturating_sub(*since));
        SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
    }

    fn leaves(&self) -> bool {
        self.leaving.0.get(self.pod).is_some_and(|pod| pod.leaves)
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

/// What is to be done for a pod on a node with these taints.
pub fn reconcile(desired: Desired<'_>, taints: &[Taint], patience: Patience<'_>, now: Timestamp) -> Actions {
    let Desired { pod, object, .. } = desired;
    let tolerations: Vec<Toleration> =
        Deserialize::deserialize(&object["spec"]["tolerations"]).unwrap_or_default();
    let about = Some(Subject { at: pod.target(), uid: pod.uid.to_string() });
    match leaves_in(taints, &tolerations, |taint| patience.with(taint)) {
        _ if pod.deleting => Actions::none(),
        None => {
            let stays = || Saying::normal(REASON, format!("Cancelling deletion of Pod {}", pod.key));
            let said = patience.leaves().then(stays);
            Actions { about, said: said.into_iter().collect(), ..Actions::none() }
        }
        Some(span) if span.is_positive() => {
            let at = now.checked_add(span).unwrap_or(Timestamp::MAX);
            Actions { about, wake_at: Some(at), ..Actions::none() }
        }
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

/// In how long a pod has to leave that has borne each taint for so long: `None` if it may stay.
fn leaves_in(
    taints: &[Taint],
    tolerations: &[Toleration],
    borne: impl Fn(&Taint) -> SignedDuration,
) -> Option<SignedDuration> {
    let left = |taint: &Taint| {
        // At once, if nothing bears it. Of several that do, the first one counts, as upstream has it.
        let seconds = match tolerations.iter().find(|one| bears(one, taint)) {
            None => Some(0),
            Some(bearing) => bearing.toleration_seconds,
        };
        let whole = SignedDuration::from_secs(seconds?);
        Some(whole.checked_sub(borne(taint)).unwrap_or(SignedDuration::MIN))
    };
    taints.iter().filter(|taint| taint.effect == NO_EXECUTE).filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::meta::written;
    use crate::control::pods::Pods;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// In how many seconds a pod leaves that has borne `a` for 20 s and others for 5 s.
    #[track_caller]
    fn check(taints: &[&str], tolerations: Value, expected: Option<i64>) {
        let taint = |key: &&str| json!({"key": key, "effect": "NoExecute", "timeAdded": written(at(0))});
        let taints: Vec<Taint> =
            serde_json::from_value(taints.iter().map(taint).collect::<Vec<_>>().into()).unwrap();
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
        let borne = |taint: &Taint| SignedDuration::from_secs(if taint.key == "a" { 20 } else { 5 });
        let leaves = leaves_in(&taints, &tolerations, borne).map(|span| span.as_secs());
        assert_eq!(leaves, expected, "{taints:?}");
    }

    #[test]
    fn a_pod_leaves_when_its_patience_with_any_taint_is_over() {
        let bears = |key: &str, seconds: Value| {
            let mut one = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            if !seconds.is_null() {
                one["tolerationSeconds"] = seconds;
            }
            one
        };
        check(&[], json!([]), None);
        check(&["a"], json!([]), Some(-20));
        check(&["b"], json!([]), Some(-5));
        check(&["a"], json!([bears("a", Value::Null)]), None);
        check(&["a"], json!([bears("a", json!(30))]), Some(10));
        check(&["a"], json!([bears("a", json!(-1))]), Some(-21));
        check(&["a"], json!([bears("a", json!(30)), bears("a", Value::Null)]), Some(10));
        check(&["a"], json!([bears("a", Value::Null), bears("a", json!(30))]), None);
        check(&["a", "b"], json!([bears("a", json!(900)), bears("b", json!(6))]), Some(1));
        check(&["a", "b"], json!([bears("a", Value::Null)]), Some(-5));
        check(&["a"], json!([{"operator": "Exists"}]), None);
        let keeps_away: Taint = serde_json::from_value(json!({"key": "a", "effect": "NoSchedule"})).unwrap();
        assert_eq!(leaves_in(&[keeps_away], &[], |_| SignedDuration::ZERO), None);
    }

    /// A pod that bears `own` for a minute, and what is to be done for it.
    struct Case {
        pod: Value,
        leaving: Leaving,
        wall: Timestamp,
    }

    impl Case {
        fn look(&mut self, taints: Value, now: u64) -> Actions {
            let (mut index, key) = (Pods::default(), Key::new("default", "a"));
            index.note(&key, &serde_json::to_vec(&self.pod).unwrap()).unwrap();
            let desired = Desired { pod: index.get(&key).unwrap(), object: &self.pod, revision: 7 };
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            // The clock on the wall is another one, and jumps.
            let (since, wall) = (Duration::from_secs(now), at(1_000_000 + now.cast_signed() * 7));
            self.leaving.look(&key, Some("u"), &taints, since);
            let patience = Patience { leaving: &self.leaving, pod: &key, now: since };
            let found = reconcile(desired, &taints, patience, wall);
            self.leaving.heed(&key, &found);
            self.wall = wall;
            found
        }
    }

    fn case() -> Case {
        let bears = json!({"key": "own", "operator": "Exists", "tolerationSeconds": 60});
        let pod = json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "generation": 3},
            "spec": {"nodeName": "n", "tolerations": [bears]}, "status": {"phase": "Running"},
        });
        Case { pod, leaving: Leaving::default(), wall: at(0) }
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

    impl Case {
        /// After how many seconds it is looked at again.
        fn waits(&mut self, taints: Value, now: u64) -> Option<i64> {
            let found = self.look(taints, now);
            assert!(found.actions.is_empty(), "{found:#?}");
            found.wake_at.map(|at| at.duration_since(self.wall).as_secs())
        }
    }

    #[test]
    fn a_pod_bears_a_taint_from_when_it_is_noticed_and_stays_if_that_goes_in_time() {
        let mut case = case();
        let own = || json!([{"key": "own", "effect": "NoExecute", "timeAdded": "2020-01-01T00:00:00Z"}]);
        assert_eq!([100, 120, 159].map(|now| case.waits(own(), now)), [60, 40, 1].map(Some));
        let stays = case.look(json!([]), 159);
        assert!(stays.actions.is_empty(), "{stays:#?}");
        assert_eq!(stays.said, [Saying::normal(REASON, "Cancelling deletion of Pod default/a")]);
        assert_eq!(case.look(json!([]), 159).said, [], "it is said once");
        assert!(case.leaving.0.is_empty());
        assert_eq!(case.waits(own(), 200), Some(60), "it begins anew");
        let told = case.look(own(), 260);
        let Write::Edit { edit, .. } = &told.actions[0].write else { panic!("{told:#?}") };
        edit.apply(&mut case.pod);
        let gone = case.look(own(), 260);
        assert!(matches!(gone.actions[0].write, Write::Delete { .. }), "{gone:#?}");
    }

    #[test]
    fn each_taint_is_borne_from_when_it_was_noticed_but_not_ready_and_unreachable_as_one() {
        let mut case = case();
        let bears =
            |key: &str, seconds: i64| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        case.pod["spec"]["tolerations"] =
            json!([bears("own", 60), bears("other", 100), bears(NOT_READY, 300), bears(UNREACHABLE, 300)]);
        let taints = |keys: &[&str]| {
            Value::from(keys.iter().map(|key| json!({"key": key, "effect": "NoExecute"})).collect::<Vec<_>>())
        };
        assert_eq!(case.waits(taints(&["other"]), 0), Some(100));
        assert_eq!(case.waits(taints(&["other", "own"]), 90), Some(10));
        assert_eq!(case.waits(taints(&["own"]), 99), Some(51));
        assert_eq!(case.waits(taints(&[NOT_READY]), 1000), Some(300));
        assert_eq!(case.waits(taints(&[UNREACHABLE]), 1200), Some(100));
        assert_eq!(case.waits(taints(&[NOT_READY]), 1299), Some(1));
    }
}
