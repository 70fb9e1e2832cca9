//! ReplicaSets and ReplicationControllers: as many pods of a template as are asked for. Pure.
//!
//! ```text
//!   adopt what is free and selected, let go what is not selected any more
//!     └▶ too few: create      too many: delete, the least useful first (`rank`)
//!          └▶ as many as asked for, or a pause after a failure: tell the status
//! ```
//!
//! One step is taken at a time, and the next is decided by the world that it leaves. **Invariant:** never more pods are created
//! than are missing, nor more deleted than are too many, of the pods that are seen.

use super::action::{Actions, Attempt, Write};
use super::claim::Claim;
use super::condition;
use super::meta::{Labels, written};
use super::pods::Member;
use super::rank;
use super::status;
use super::workload::{self, Workload};
use crate::api::object;
use crate::limits;
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

/// What there is.
pub struct Observed<'a> {
    /// The pods that it controls.
    pub controlled: Vec<&'a Arc<Member>>,
    /// Pods that it selects and nobody controls.
    pub free: Vec<&'a Arc<Member>>,
    /// How many related pods the node of a pod has.
    pub doubles: &'a dyn Fn(&Member) -> usize,
}

/// What is to be done so that there is what is desired.
pub fn reconcile(
    desired: &Workload,
    observed: &Observed<'_>,
    attempt: Attempt<'_>,
    now: Timestamp,
) -> Actions {
    desired.about(step(desired, observed, attempt, now))
}

fn step(desired: &Workload, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    let (kept, claims) = claims(desired, observed);
    if !claims.is_empty() {
        return Actions::of(claims);
    }
    let active: Vec<&Member> = kept.iter().copied().filter(|pod| pod.is_active()).collect();
    let wanted = usize::try_from(desired.replicas()).unwrap_or(0);
    let settled = desired.claimant.deleting || active.len() == wanted;
    // What failed waits for the end of its pause, and nothing else does: what a quota refuses can be taken away all the same.
    let creates = active.len() < wanted;
    let held = attempt.pausing && attempt.failure.is_none_or(|failure| failure.creating == creates);
    if !settled && !held {
        return match creates {
            true => create(desired, wanted - active.len()),
            false => delete(&active, active.len() - wanted, observed.doubles, now),
        };
    }
    let terminating = kept.iter().filter(|pod| pod.is_terminating()).count();
    let failure = attempt.failure.filter(|_| !settled).map(|failure| failure.message.as_str());
    let told = told(desired, &active, terminating, (failure, wanted), now);
    let mut actions = Actions::of(told);
    actions.wake_at = next_available(desired, &active, now);
    actions.paused = !settled;
    actions
}

/// The pods that it controls and selects, and what is to be written so that these are all that it should.
fn claims<'a>(desired: &Workload, observed: &Observed<'a>) -> (Vec<&'a Member>, Vec<Write>) {
    let (mut kept, mut writes) = (Vec::new(), Vec::new());
    for pod in observed.controlled.iter().chain(&observed.free) {
        let claim = desired.claimant.claim(pod.controller.as_deref(), &pod.labels, pod.deleting);
        match claim {
            Claim::Kept => kept.push(&***pod),
            // What has ended is nobody's replica.
            _ if !pod.is_active() => {}
            claim => writes.extend(desired.claimant.write(claim, pod.target(), &pod.uid)),
        }
    }
    (kept, writes)
}

fn create(desired: &Workload, missing: usize) -> Actions {
    let mut pod = desired.pod();
    pod["metadata"]["generateName"] = format!("{}-", desired.at.name).into();
    Actions::of((0..missing.min(limits::REPLICAS_AT_ONCE)).map(|_| workload::create(pod.clone())))
}

fn delete(active: &[&Member], surplus: usize, doubles: &dyn Fn(&Member) -> usize, now: Timestamp) -> Actions {
    let count = surplus.min(limits::REPLICAS_AT_ONCE);
    Actions::of(rank::first(active, count, doubles, now).into_iter().map(workload::delete))
}

/// The status, if it is not what it should be.
fn told(
    desired: &Workload,
    active: &[&Member],
    terminating: usize,
    (failure, wanted): (Option<&str>, usize),
    now: Timestamp,
) -> Option<Write> {
    let object = &desired.object;
    let template = Labels::from_iter(
        object["spec"]["template"]["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())),
    );
    let labelled = |pod: &&&Member| template.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let available =
        |pod: &&&Member| pod.available_from(desired.min_ready_seconds()).is_some_and(|from| from <= now);
    let mut conditions = condition::of(object);
    match failure {
        None => condition::remove(&mut conditions, "ReplicaFailure"),
        // The first one is told, as upstream has it.
        Some(_) if condition::get(&conditions, "ReplicaFailure").is_some() => {}
        Some(why) => conditions.push(json!({
            "type": "ReplicaFailure",
            "status": "True",
            "reason": if active.len() < wanted { "FailedCreate" } else { "FailedDelete" },
            "message": why,
            "lastTransitionTime": written(now),
        })),
    }
    let mut fields = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": status::count(active.iter().filter(labelled).count()),
        "readyReplicas": status::count(active.iter().filter(|pod| pod.ready.is_some()).count()),
        "availableReplicas": status::count(active.iter().filter(available).count()),
        "observedGeneration": object::generation(object),
        "conditions": condition::written(conditions),
    });
    if desired.at.kind == "ReplicaSet" {
        fields["terminatingReplicas"] = terminating.into();
    }
    status::write(&desired.at, object, desired.revision, json!({"status": fields}))
}

/// When the next pod becomes available by being ready for longer.
fn next_available(desired: &Workload, active: &[&Member], now: Timestamp) -> Option<Timestamp> {
    let times = active.iter().filter_map(|pod| pod.available_from(desired.min_ready_seconds()));
    times.filter(|from| *from > now).min()
}

#[cfg(test)]
mod tests;
