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
use super::pods::{Member, Phase};
use super::rank;
use super::status;
use super::workload::{self, Workload};
use crate::api::object;
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::sync::Arc;

/// How long no pod is made after one that has ended, at first and at most.
const REST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_REST: SignedDuration = SignedDuration::from_mins(5);

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
    let held = attempt.holds(creates);
    let room = workload::room(&active);
    let rests = if creates { rest(&kept, now) } else { None };
    let crowded = creates && room == 0;
    let waits = settled || held || rests.is_some() || crowded;
    if !waits && !creates {
        return delete(&active, active.len() - wanted, observed.doubles, now);
    }
    let terminating = kept.iter().filter(|pod| pod.is_terminating()).count();
    let failure = attempt.failure.filter(|_| !settled).map(|failure| failure.message.as_str());
    let failure = failure.or(crowded.then_some(workload::CROWDED));
    let told = told(desired, &active, terminating, (failure, wanted), now);
    if !waits {
        let missing = wanted - active.len();
        let mut actions = create(desired, missing.min(room));
        // It takes a while: how far it has come is told meanwhile.
        actions.actions.extend(told.filter(|_| missing > limits::REPLICAS_AT_ONCE).map(Into::into));
        return actions;
    }
    let mut actions = Actions::of(told);
    actions.wake_at = next_available(desired, &active, now).into_iter().chain(rests).min();
    actions.paused = !settled && held;
    actions
}

/// Until when no pod is made, because the newest ones all have ended: a node that takes none of them refuses each at once. It
/// grows with how often in a row that was so, and matters only where they end soon after they were made.
fn rest(pods: &[&Member], now: Timestamp) -> Option<Timestamp> {
    let mut made: Vec<(Timestamp, bool)> =
        pods.iter().filter_map(|pod| Some((pod.created?, pod.phase == Phase::Ended))).collect();
    made.sort_unstable_by(|one, other| other.cmp(one));
    // Those of one moment were made together.
    let mut times: Vec<Timestamp> = made.iter().take_while(|(_, ended)| *ended).map(|(at, _)| *at).collect();
    times.dedup();
    let doublings = u32::try_from(times.len()).unwrap_or(u32::MAX).checked_sub(1)?;
    let rest = REST.saturating_mul(1 << doublings.min(16)).min(LONGEST_REST);
    times.first()?.checked_add(rest).ok().filter(|until| *until > now)
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
