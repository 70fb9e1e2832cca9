//! What a Deployment says of itself: counts, and whether it makes progress. Reasons and messages are upstream's.

use super::super::action::{Actions, Edit, Write};
use super::super::meta::written;
use super::super::{condition, number, status};
use super::{Rolling, Set, Workload, share};
use crate::api::object;
use crate::api::objects::Seen;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A condition that says how the rollout goes.
pub fn progressing(status: &str, reason: &str, message: impl Into<String>, now: Timestamp) -> Value {
    one("Progressing", status, reason, message.into(), now)
}

fn one(of: &str, status: &str, reason: &str, message: String, now: Timestamp) -> Value {
    let now = written(now);
    json!({
        "type": of, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now,
    })
}

impl Workload {
    /// A change of the Deployment's status, if it still is as it was seen.
    pub(super) fn edit_status(&self, patch: Value) -> Write {
        Write::Edit {
            at: self.at.clone(),
            part: "status",
            seen: Seen { uid: object::uid(&self.object).to_owned(), revision: Some(self.revision) },
            edit: Edit::Merge(patch),
        }
    }
}

/// The write by which a Deployment says that it is paused, or no longer: while it is, no time counts against it.
pub fn pause(desired: &Workload, now: Timestamp) -> Option<Write> {
    desired.deadline_seconds()?;
    let known = desired.condition("Progressing");
    let reason = known.as_ref().and_then(|known| known["reason"].as_str()).unwrap_or_default();
    let (reason, message) = match (desired.paused(), reason) {
        // That it failed is not to be forgotten.
        (_, TIMED_OUT) | (true, PAUSED) => return None,
        (true, _) => (PAUSED, "Deployment is paused"),
        (false, PAUSED) => ("DeploymentResumed", "Deployment is resumed"),
        (false, _) => return None,
    };
    let mut conditions = condition::of(&desired.object);
    condition::set(&mut conditions, progressing("Unknown", reason, message, now));
    Some(desired.edit_status(json!({"status": {"conditions": conditions}})))
}

/// Numbers of a status that say how far a rollout is.
struct Progress {
    replicas: i32,
    updated: i32,
    ready: i32,
    available: i32,
}

impl Progress {
    fn told(desired: &Workload) -> Progress {
        let field = |name: &str| number(&desired.object["status"][name]);
        Progress {
            replicas: field("replicas"),
            updated: field("updatedReplicas"),
            ready: field("readyReplicas"),
            available: field("availableReplicas"),
        }
    }

    fn is_complete(&self, desired: &Workload) -> bool {
        let wanted = desired.replicas();
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }

    fn is_beyond(&self, before: &Progress) -> bool {
        let old = |progress: &Progress| progress.replicas - progress.updated;
        self.updated > before.updated
            || old(self) < old(before)
            || self.ready > before.ready
            || self.available > before.available
    }
}

impl Rolling<'_> {
    fn progress(&self) -> Progress {
        Progress {
            replicas: share::sum(self.all(), "replicas"),
            updated: share::sum(&self.new, "replicas"),
            ready: share::sum(self.all(), "readyReplicas"),
            available: share::sum(self.all(), "availableReplicas"),
        }
    }

    /// Whether the Deployment has said that its rollout is done.
    pub(super) fn has_told_completion(&self) -> bool {
        let seen = self.desired.object["status"]["observedGeneration"].as_i64().unwrap_or(0);
        seen >= object::generation(&self.desired.object)
            && Progress::told(self.desired).is_complete(self.desired)
    }

    /// Its counts, and whether it is available.
    pub(super) fn tell(&self) -> Actions {
        Actions::of(self.write(self.conditions()))
    }

    fn write(&self, conditions: Vec<Value>) -> Option<Write> {
        let (desired, progress) = (self.desired, self.progress());
        let count = |number: i32| status::count(usize::try_from(number).unwrap_or(0));
        let told = |set: &Set| set.object["status"]["terminatingReplicas"].is_i64();
        let mut fields = json!({
            "observedGeneration": object::generation(&desired.object),
            "replicas": count(progress.replicas),
            "updatedReplicas": count(progress.updated),
            "readyReplicas": count(progress.ready),
            "availableReplicas": count(progress.available),
            "unavailableReplicas": count((share::asked(self.all()) - progress.available).max(0)),
            "conditions": condition::written(conditions),
        });
        if self.all().all(told) {
            fields["terminatingReplicas"] = share::sum(self.all(), "terminatingReplicas").into();
        }
        status::write(&desired.at, &desired.object, desired.revision, json!({"status": fields}))
    }

    fn conditions(&self) -> Vec<Value> {
        let desired = self.desired;
        let mut conditions = condition::of(&desired.object);
        let least = desired.replicas() - desired.slack().unavailable;
        let available = share::sum(self.all(), "availableReplicas") >= least;
        let (status, reason, message) = match available {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => {
                ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            }
        };
        condition::set(&mut conditions, one("Available", status, reason, message.to_owned(), self.now));
        conditions
    }

    /// The same, and how the rollout goes.
    pub(super) fn tell_progress(&self) -> Actions {
        let mut conditions = self.conditions();
        let known = self.desired.condition("Progressing");
        match self.desired.deadline_seconds() {
            None => condition::remove(&mut conditions, "Progressing"),
            Some(_) if self.was_complete(known.as_ref()) => {}
            Some(seconds) => self.tell_rollout(&mut conditions, known.as_ref(), seconds),
        }
        condition::remove(&mut conditions, "ReplicaFailure");
        conditions.extend(self.failure());
        let told = self.write(conditions);
        let wake_at = if told.is_none() { self.deadline() } else { None };
        Actions { wake_at, ..Actions::of(told) }
    }

    /// Whether it was done before, and nothing has been begun since.
    fn was_complete(&self, known: Option<&Value>) -> bool {
        let progress = self.progress();
        progress.replicas == progress.updated && known.is_some_and(|known| known["reason"] == AVAILABLE)
    }

    fn tell_rollout(&self, conditions: &mut Vec<Value>, known: Option<&Value>, seconds: i32) {
        let (desired, now, progress) = (self.desired, self.now, self.progress());
        let of = match &self.new {
            Some(new) => format!("ReplicaSet {:?}", new.name()),
            None => format!("Deployment {:?}", desired.name()),
        };
        if progress.is_complete(desired) {
            let message = format!("{of} has successfully progressed.");
            condition::set(conditions, progressing("True", AVAILABLE, message, now));
        } else if progress.is_beyond(&Progress::told(desired)) {
            let mut new = progressing("True", "ReplicaSetUpdated", format!("{of} is progressing."), now);
            if let Some(known) = known.filter(|known| known["status"] == "True") {
                new["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            // Whatever was there, for the time of the last progress counts.
            condition::remove(conditions, "Progressing");
            condition::set(conditions, new);
        } else if known.and_then(|known| overdue(known, seconds)).is_some_and(|at| at < now) {
            let message = format!("{of} has timed out progressing.");
            condition::set(conditions, progressing("False", TIMED_OUT, message, now));
        }
    }

    /// What keeps a ReplicaSet from having its pods: the new one, if it fails.
    fn failure(&self) -> Option<Value> {
        let of = |set: &Set| condition::get(&condition::of(&set.object), "ReplicaFailure").cloned();
        let mut failure = self.new.iter().chain(&self.old).find_map(of)?;
        failure["lastUpdateTime"] = failure["lastTransitionTime"].clone();
        Some(failure)
    }

    /// When it is too late for progress, if some is expected.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.desired.deadline_seconds()?;
        let known = self.desired.condition("Progressing")?;
        if self.progress().is_complete(self.desired) || known["reason"] == TIMED_OUT {
            return None;
        }
        overdue(&known, seconds)?.checked_add(SignedDuration::from_secs(1)).ok()
    }
}

/// Until when progress is to be made after this word of it; none if none is expected.
fn overdue(known: &Value, seconds: i32) -> Option<Timestamp> {
    if known["reason"] == AVAILABLE {
        return None;
    }
    let last: Timestamp = known["lastUpdateTime"].as_str()?.parse().ok()?;
    last.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}
