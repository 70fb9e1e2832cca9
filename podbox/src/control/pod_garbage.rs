//! Pods that nobody else would take away: those of a node that is gone or out of service, those that are deleted before they had a
//! node, and the oldest of very many that have ended. Pure.
//!
//! No node will ever say of such a pod that it is over: first its status does, if it has not ended, so that who waits for that (a
//! Job that holds it) goes on; then it goes without any grace. A node that is gone has a while to come back.

use super::action::{Action, Actions, Write};
use super::condition;
use super::node_lifecycle::after;
use super::pods::{Member, Phase, Pods};
use super::status;
use crate::limits;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Where a pod is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// To no node yet.
    Nowhere,
    /// To one that is there.
    There,
    /// To one on which nothing runs any more, as somebody has said of it.
    OutOfService,
    /// To one that is gone since then.
    Gone(Timestamp),
}

/// What is to be done for a pod, as it is stored.
pub fn reconcile(
    pod: &Member,
    (object, revision): (&Value, u64),
    place: Whereabouts,
    now: Timestamp,
) -> Actions {
    let why = match place {
        Whereabouts::There => return Actions::none(),
        Whereabouts::Nowhere | Whereabouts::OutOfService => match pod.deleting {
            true => None,
            false => return Actions::none(),
        },
        Whereabouts::Gone(since) => {
            let until = after(since, limits::NODE_LOST);
            if now < until {
                return Actions { wake_at: Some(until), ..Actions::none() };
            }
            Some(("DeletionByPodGC", "PodGC: node no longer exists"))
        }
    };
    Actions::of(end(pod, object, revision, why, now))
}

/// The next step of a pod's end; none once only its finalizers keep it.
fn end(
    pod: &Member,
    object: &Value,
    revision: u64,
    why: Option<(&str, &str)>,
    now: Timestamp,
) -> Option<Action> {
    if pod.phase != Phase::Ended {
        let mut fields = json!({"status": {"phase": "Failed"}});
        if let Some(why) = why {
            fields["status"]["conditions"] = condition::disrupted(object, why, now).into();
        }
        return status::write(&pod.target(), object, revision, fields).map(Action::from);
    }
    let at_once = object["metadata"]["deletionGracePeriodSeconds"] == 0;
    (!pod.deleting || !at_once).then(|| remove(pod))
}

fn remove(pod: &Member) -> Action {
    Write::Remove { at: pod.target(), seen: pod.seen() }.into()
}

/// Of pods that have ended, those that are more than `most`, and not too many of them at once.
pub fn superfluous(pods: &Pods, most: usize) -> Actions {
    let ended = pods.ended();
    let many = ended.len().saturating_sub(most).min(limits::REPLICAS_AT_ONCE);
    Actions::of(ended.take(many).filter_map(|key| pods.get(key)).map(|pod| remove(pod)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::key::Key;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str, phase: &str) -> Value {
        let metadata = json!({"name": name, "namespace": "default", "uid": name});
        json!({"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": phase}})
    }

    fn going(mut pod: Value, grace: i64) -> Value {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        pod
    }

    fn look(object: &Value, place: Whereabouts, now: i64) -> Actions {
        let (mut index, key) = (Pods::default(), Key::new("default", "a"));
        index.note(&key, &serde_json::to_vec(object).unwrap()).unwrap();
        reconcile(index.get(&key).unwrap(), (object, 7), place, at(now))
    }

    /// The status that the only step gives a pod.
    #[track_caller]
    fn told(pod: &Value, actions: &Actions) -> Value {
        let [Action { write: Write::Edit { edit, part: "status", .. }, .. }] = actions.actions.as_slice()
        else {
            panic!("{actions:#?}");
        };
        let mut pod = pod.clone();
        edit.apply(&mut pod);
        pod
    }

    #[track_caller]
    fn goes(actions: &Actions) {
        assert!(
            matches!(actions.actions.as_slice(), [Action { write: Write::Remove { .. }, .. }]),
            "{actions:#?}"
        );
    }

    #[test]
    fn pods_of_a_node_that_is_gone_fail_and_go_unless_it_comes_back() {
        let gone = Whereabouts::Gone(at(100));
        let running = pod("a", "Running");
        let waits = look(&running, gone, 139);
        assert!(waits.actions.is_empty() && waits.wake_at == Some(at(140)), "{waits:#?}");
        let failed = told(&running, &look(&running, gone, 140));
        assert_eq!(failed["status"]["phase"], "Failed");
        assert_eq!(failed["status"]["conditions"][0]["reason"], "DeletionByPodGC");
        for pod in [failed, pod("a", "Succeeded")] {
            goes(&look(&pod, gone, 140));
            goes(&look(&going(pod.clone(), 30), gone, 140));
            assert_eq!(look(&going(pod, 0), gone, 140).actions, [], "its finalizers hold it");
        }
        assert_eq!(look(&running, Whereabouts::There, 500), Actions::none());
    }

    #[test]
    fn pods_that_nobody_can_end_fail_and_go_once_they_are_deleted() {
        for place in [Whereabouts::Nowhere, Whereabouts::OutOfService] {
            let pod = pod("a", "Pending");
            assert_eq!(look(&pod, place, 100), Actions::none());
            let pod = going(pod, 30);
            let failed = told(&pod, &look(&pod, place, 100));
            assert_eq!(
                (&failed["status"]["phase"], &failed["status"]["conditions"]),
                (&json!("Failed"), &Value::Null)
            );
            goes(&look(&failed, place, 100));
        }
    }

    #[test]
    fn of_many_pods_that_have_ended_evicted_ones_go_first_and_then_the_oldest() {
        let mut pods = Pods::default();
        for (name, second, phase, reason) in [
            ("new", 9, "Succeeded", ""),
            ("old", 1, "Failed", ""),
            ("evicted", 8, "Failed", "Evicted"),
            ("runs", 0, "Running", ""),
        ] {
            let mut pod = pod(name, phase);
            pod["metadata"]["creationTimestamp"] = crate::control::meta::written(at(second)).into();
            pod["status"]["reason"] = reason.into();
            pods.note(&Key::new("default", name), &serde_json::to_vec(&pod).unwrap()).unwrap();
        }
        let names = |most| {
            let name = |action: &Action| match &action.write {
                Write::Remove { at, .. } => at.name.clone(),
                other => panic!("{other:?}"),
            };
            superfluous(&pods, most).actions.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["evicted", "old", "new"]);
        assert_eq!(names(2), ["evicted"]);
        assert_eq!(names(3), Vec::<String>::new());
    }
}
