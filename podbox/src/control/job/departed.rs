//! Pods of Jobs that were told to go by others than their Jobs: each is a failure, and is soon gone, so that how long to wait before the
//! next one is made would be forgotten. Pure.
//!
//! It is learnt from what becomes of pods and forgotten with their Jobs, with a success, and with podbox: as upstream has it.

use super::super::action::{Action, Actions, Write};
use super::super::pods::Member;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Those of all Jobs.
#[derive(Clone, Debug, Default)]
pub struct Departed {
    /// By the Job's uid: how many in a row, and when the last of them was told to go.
    jobs: BTreeMap<Arc<str>, (u32, Option<Timestamp>)>,
    /// Pods, by their uids, that their Jobs let go themselves and that are not gone yet.
    own: BTreeSet<String>,
}

impl Departed {
    /// This is what a Job wants done.
    pub fn heed(&mut self, found: &Actions) {
        let deleted = |action: &Action| match &action.write {
            Write::Delete { at, seen, .. } if &*at.kind == "Pod" => Some(seen.uid.clone()),
            _ => None,
        };
        self.own.extend(found.actions.iter().filter_map(deleted));
    }

    /// A pod is like this now.
    pub fn note(&mut self, before: Option<&Member>, now: &Member) {
        let (Some(job), Some(batch)) = (&now.controller, &now.batch) else { return };
        let Some(before) = before.filter(|before| before.uid == now.uid) else { return };
        let had_succeeded = before.batch.as_ref().is_some_and(|batch| batch.succeeded == Some(true));
        if batch.succeeded == Some(true) && !had_succeeded {
            self.jobs.remove(job);
        }
        let goes = now.deleting && !before.deleting && batch.tracked && batch.succeeded.is_none();
        if goes && !self.own.contains(&*now.uid) {
            let (times, last) = self.jobs.entry(Arc::clone(job)).or_default();
            (*times, *last) = (times.saturating_add(1), batch.finished.max(*last));
        }
    }

    /// A pod is gone.
    pub fn gone(&mut self, pod: &Member) {
        self.own.remove(&*pod.uid);
    }

    /// A Job is gone.
    pub fn forget(&mut self, job: &str) {
        self.jobs.remove(job);
    }

    /// How many pods of a Job went so, since one succeeded, and when the last one did.
    pub fn of(&self, job: &str) -> (u32, Option<Timestamp>) {
        self.jobs.get(job).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::objects::{Seen, Target};
    use crate::control::job::TRACKING;
    use crate::control::key::Key;
    use crate::control::pods::Pods;
    use serde_json::{Value, json};

    /// A pod of the Job `j`, at this phase, told to go then if at all.
    fn pod(phase: &str, told: Option<&str>) -> Value {
        let owner =
            json!({"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true});
        json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "p", "finalizers": [TRACKING], "ownerReferences": [owner],
                "deletionTimestamp": told, "deletionGracePeriodSeconds": told.map(|_| 30),
            },
            "status": {"phase": phase},
        })
    }

    fn play(departed: &mut Departed, states: &[Value]) -> (u32, Option<Timestamp>) {
        let (mut pods, key) = (Pods::default(), Key::new("n", "p"));
        for state in states {
            let (_, before) = pods.note(&key, &serde_json::to_vec(state).unwrap()).unwrap();
            departed.note(before.as_deref(), pods.get(&key).unwrap());
        }
        departed.gone(&pods.forget(&key).unwrap());
        departed.of("j")
    }

    #[test]
    fn who_is_told_to_go_by_others_is_a_failure_until_one_succeeds() {
        let mut departed = Departed::default();
        let told = |second: u32| pod("Running", Some(&format!("1970-01-01T00:01:{second}Z")));
        let at = |second: i64| Timestamp::from_second(second).ok();
        assert_eq!(play(&mut departed, &[pod("Running", None), told(10), told(10)]), (1, at(40)));
        assert_eq!(play(&mut departed, &[pod("Running", None), told(20)]), (2, at(50)));
        assert_eq!(play(&mut departed, &[told(30)]), (2, at(50)), "who told it is not known");
        assert_eq!(play(&mut departed, &[pod("Failed", None)]), (2, at(50)), "that is seen of itself");
        let end = Write::Delete {
            at: Target {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: "n".into(),
                name: "p".into(),
            },
            seen: Seen { uid: "p".to_owned(), revision: None },
            propagation: None,
        };
        departed.heed(&Actions::of([end]));
        assert_eq!(play(&mut departed, &[pod("Running", None), told(40)]), (2, at(50)), "its Job did");
        assert!(departed.own.is_empty());
        assert_eq!(play(&mut departed, &[pod("Running", None), pod("Succeeded", None)]), (0, None));
        play(&mut departed, &[pod("Running", None), told(50)]);
        departed.forget("j");
        assert!(departed.jobs.is_empty());
    }
}
