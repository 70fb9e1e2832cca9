//! Deployments: one ReplicaSet for each template that there was, and pods moved from the old ones to the new one. Pure.
//!
//! ```text
//!   claim ReplicaSets ─▶ going: only its status          paused ─▶ scale, status
//!                     ─▶ scaled: all of them in proportion
//!                     ─▶ else: the new ReplicaSet is there (`revision`) ─▶ roll out (`rollout`) ─▶ clean up ─▶ status
//! ```
//!
//! One step is taken at a time, and the next is decided by the world that it leaves: upstream's order of steps, with a look at
//! the world between any two. It knows ReplicaSets by their specs and statuses, and of pods only whether old ones are left.

mod revision;
mod rollout;
mod scale;
mod set;
mod share;
mod status;

#[cfg(test)]
mod tests;

pub use set::Set;

use super::action::{Action, Actions, Attempt, Write};
use super::claim::Claim;
use super::condition;
use super::meta::Labels;
use super::workload::Workload;
use jiff::Timestamp;
use serde_json::Value;

/// What there is.
pub struct Observed<'a> {
    /// ReplicaSets that it controls, or that it selects and nobody controls.
    pub sets: Vec<Set>,
    /// Whether a pod is left of any of its ReplicaSets but the one of this uid.
    pub others_run: &'a dyn Fn(&str) -> bool,
    /// Whether there is a ReplicaSet of this name, whosever.
    pub taken: &'a dyn Fn(&str) -> bool,
}

impl Workload {
    fn paused(&self) -> bool {
        self.spec()["paused"] == true
    }

    fn recreates(&self) -> bool {
        self.spec()["strategy"]["type"] == "Recreate"
    }

    /// How long it may take to make progress; none where that does not matter.
    fn deadline_seconds(&self) -> Option<i32> {
        let seconds = self.spec()["progressDeadlineSeconds"].as_i64()?;
        i32::try_from(seconds).ok().filter(|seconds| *seconds != i32::MAX)
    }

    fn condition(&self, of: &str) -> Option<Value> {
        condition::get(&condition::of(&self.object), of).cloned()
    }

    fn name(&self) -> &str {
        &self.at.name
    }
}

/// What is to be done next.
pub fn reconcile(
    desired: &Workload,
    observed: &Observed<'_>,
    attempt: Attempt<'_>,
    now: Timestamp,
) -> Actions {
    desired.about(step(desired, observed, attempt, now))
}

fn step(desired: &Workload, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    let (mut sets, claims) = claims(desired, observed);
    if !claims.is_empty() {
        return Actions::of(claims);
    }
    Set::by_age(&mut sets);
    let (new, old) = revision::split(desired, sets);
    let rolling = Rolling { desired, new, old, now };
    if desired.claimant.deleting {
        return rolling.tell();
    }
    if let Some(told) = status::pause(desired, now) {
        return Actions::of([told]);
    }
    if let Some(done) = rolling.mark() {
        return Actions::of([done]);
    }
    if desired.paused() || scale::is_due(&rolling) {
        let superfluous = if desired.paused() { rolling.superfluous() } else { Vec::new() };
        return rolling.or(scale::steps(&rolling), |rolling| rolling.or(superfluous, Rolling::tell));
    }
    if rolling.new.is_none() && (!desired.recreates() || !rollout::old_run(&rolling, observed)) {
        return rolling.begin(observed, attempt);
    }
    let steps =
        if desired.recreates() { rollout::recreate(&rolling, observed) } else { rollout::roll(&rolling) };
    let superfluous = if rolling.has_told_completion() { rolling.superfluous() } else { Vec::new() };
    rolling.or(steps, |rolling| rolling.or(superfluous, Rolling::tell_progress))
}

/// A Deployment and its ReplicaSets, sorted out.
struct Rolling<'a> {
    desired: &'a Workload,
    /// The one with the Deployment's template.
    new: Option<Set>,
    /// The others, oldest first.
    old: Vec<Set>,
    now: Timestamp,
}

impl Rolling<'_> {
    /// All of them.
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// These steps, or what is next if there are none.
    fn or(&self, steps: Vec<Action>, next: impl FnOnce(&Self) -> Actions) -> Actions {
        if steps.is_empty() { next(self) } else { Actions::of(steps) }
    }
}

/// The ReplicaSets that it controls, and what is to be written so that these are all that it should.
fn claims(desired: &Workload, observed: &Observed<'_>) -> (Vec<Set>, Vec<Write>) {
    let (mut kept, mut writes) = (Vec::new(), Vec::new());
    for set in &observed.sets {
        let labels: &Labels = &set.meta.labels;
        let controller = set.meta.controller().map(|owner| owner.uid.as_str());
        match desired.claimant.claim(controller, labels, set.meta.deleting()) {
            Claim::Kept => kept.push(set.clone()),
            claim => writes.extend(desired.claimant.write(claim, set.at.clone(), &set.meta.uid)),
        }
    }
    (kept, writes)
}
