//! Jobs: pods that are to end well, so and so often. Pure.
//!
//! ```text
//!   a pod ends ─▶ its uid is in the status (uncounted) ─▶ its finalizer goes ─▶ it is a number in the status
//!
//!   claims ─▶ a verdict that is not told yet: tell it (SuccessCriteriaMet, FailureTarget)
//!          ─▶ let go whom the status knows; end, or make, pods
//!          ─▶ nothing of that: the status, and once nothing is left of the Job's pods, Complete or Failed
//! ```
//!
//! One step is taken at a time, and the next is decided by the world that it leaves. **Invariant: each end is counted exactly
//! once.** A pod is held by a finalizer until the stored status has its uid (or its index); a number grows only by
//! uids whose finalizer is gone, in the write that takes them out. So podbox may be killed between any two writes.

mod departed;
mod finish;
mod indexes;
mod look;
mod manage;
mod policy;
mod status;

#[cfg(test)]
mod tests;

pub use departed::Departed;

use super::action::{Action, Actions, Attempt, Edit, Write};
use super::condition;
use super::pods::Member;
use super::workload::{self, Workload};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobSpec, JobStatus};
use look::Look;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// The finalizer of a pod that its Job has not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// A pod's completion index: an annotation and a label.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often a pod's index has failed before it.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often without counting.
pub const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Who manages a Job that does not say otherwise.
const OWN: &str = "kubernetes.io/job-controller";

/// A Job.
#[derive(Clone, Debug)]
pub struct Job {
    /// It, as any other that asks for pods.
    pub workload: Workload,
    spec: JobSpec,
    status: JobStatus,
}

/// What there is.
pub struct Observed<'a> {
    /// The pods that it controls.
    pub controlled: Vec<&'a Arc<Member>>,
    /// Pods that it selects and nobody controls.
    pub free: Vec<&'a Arc<Member>>,
    /// A pod as it is stored.
    pub pod: &'a dyn Fn(&Member) -> Option<Value>,
    /// How many of its pods others told to go since one succeeded, and when the last of them was.
    pub departed: (u32, Option<Timestamp>),
}

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    success: bool,
    reason: String,
    message: String,
}

impl Verdict {
    fn new(success: bool, reason: &str, message: &str) -> Verdict {
        Verdict { success, reason: reason.to_owned(), message: message.to_owned() }
    }

    /// The condition that tells it before its pods are let go.
    fn interim(&self) -> &'static str {
        if self.success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }

    /// The condition that ends it.
    fn last(&self) -> &'static str {
        if self.success { "Complete" } else { "Failed" }
    }
}

impl Job {
    /// From an object as it is stored; none, if it is no Job.
    pub fn new(at: Target, object: Value, revision: u64) -> Option<Job> {
        let spec = JobSpec::deserialize(&object["spec"]).ok()?;
        let status = JobStatus::deserialize(&object["status"]).unwrap_or_default();
        Some(Job { workload: Workload::new(at, object, revision), spec, status })
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Replaces a pod once it has ended, and not as soon as it is to end.
    fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    fn completions(&self) -> Option<u32> {
        self.spec.completions.map(|count| u32::try_from(count).unwrap_or(0))
    }

    fn parallelism(&self) -> usize {
        usize::try_from(self.spec.parallelism.unwrap_or(1)).unwrap_or(0)
    }

    fn condition(&self, of: &str) -> Option<Value> {
        let conditions = condition::of(&self.workload.object);
        condition::get(&conditions, of).filter(|condition| condition["status"] == "True").cloned()
    }

    fn is_uncounted(&self, uid: &str, succeeded: bool) -> bool {
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        let uids =
            uncounted.and_then(|all| if succeeded { all.succeeded.as_ref() } else { all.failed.as_ref() });
        uids.is_some_and(|uids| uids.iter().any(|one| one == uid))
    }
}

/// What is to be done next.
pub fn reconcile(job: &Job, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    if job.spec.managed_by.as_deref().is_none_or(|who| who == OWN) {
        return job.workload.about(step(job, observed, attempt, now));
    }
    // Somebody else looks after its pods. When it goes is not theirs to say.
    let ended = job.condition("Complete").or_else(|| job.condition("Failed"));
    ended.map_or_else(Actions::none, |condition| finish::after(job, &condition, &[], now))
}

fn step(job: &Job, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    let all = observed.controlled.iter().chain(&observed.free).copied();
    let (pods, claims) = job.workload.claimant.members(all, |_| true);
    if !claims.is_empty() {
        return Actions::of(claims.into_iter().map(holding));
    }
    if let Some(condition) = job.condition("Complete").or_else(|| job.condition("Failed")) {
        return finish::after(job, &condition, &pods, now);
    }
    if job.workload.claimant.deleting {
        return Actions::of(pods.iter().filter(|pod| is_tracked(pod)).map(|pod| release(pod)));
    }
    let look = Look::new(job, pods, observed);
    let verdict = finish::verdict(&look, now);
    if let Some(verdict) = verdict.as_ref().filter(|verdict| job.condition(verdict.interim()).is_none()) {
        return status::told(&look, Some(verdict), now);
    }
    let mut next = look.counted(verdict.as_ref());
    let (mut wake_at, mut crowded) = (None, false);
    match &verdict {
        Some(verdict) => next.extend(manage::end(&look, verdict)),
        None => {
            let (actions, later) = manage::steps(&look, attempt, now);
            next.extend(actions);
            wake_at = later.into_iter().chain(finish::deadline(job)).min();
            crowded = manage::is_crowded(&look);
        }
    }
    let mut actions = match next.is_empty() {
        true => status::told(&look, verdict.as_ref(), now),
        false => Actions::of(next),
    };
    // With what is new only: pods that find a node one by one do not have it said again and again.
    actions.said.extend((crowded && !actions.actions.is_empty()).then(workload::crowded));
    actions.wake_at = wake_at;
    actions.paused = attempt.pausing;
    actions
}

fn is_tracked(pod: &Member) -> bool {
    pod.batch.as_ref().is_some_and(|batch| batch.tracked)
}

/// Its end has been counted, or is not to be.
fn release(pod: &Member) -> Action {
    stray(pod.target(), Seen { uid: pod.uid.to_string(), revision: None })
}

/// It is to go, and is not to be counted: unless it has succeeded by the time that this is written.
fn let_go(pod: &Member) -> Action {
    let seen = Seen { uid: pod.uid.to_string(), revision: None };
    Action::from(Write::Edit { at: pod.target(), part: "", seen, edit: Edit::LetGo(TRACKING) })
}

/// A pod whose Job is not there any more is not held.
pub fn stray(at: Target, seen: Seen) -> Action {
    Action::from(Write::Edit { at, part: "", seen, edit: Edit::Release(TRACKING) })
}

/// Whom a Job takes over it holds: it is to be counted like those that it made.
fn holding(claim: Write) -> Write {
    match claim {
        Write::Edit { at, part, seen, edit: Edit::Adopt(owner) } => {
            Write::Edit { at, part, seen, edit: Edit::AdoptHeld(owner, TRACKING) }
        }
        claim => claim,
    }
}

/// Whether an object is held by the finalizer of Jobs.
pub fn holds(pod: &Value) -> bool {
    object::finalizers(pod).contains(&TRACKING)
}
