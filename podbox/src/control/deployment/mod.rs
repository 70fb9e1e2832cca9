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
mod template;

#[cfg(test)]
mod tests;

pub use set::Set;

use super::action::{Action, Actions, Attempt, Subject, Write};
use super::claim::{Claim, Claimant};
use super::meta::{Labels, Owner};
use super::{condition, sets};
use crate::api::object;
use crate::api::objects::Target;
use jiff::Timestamp;
use serde_json::Value;

/// A Deployment.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: Value,
    /// Its revision in the store.
    pub revision: u64,
    /// Whom it claims.
    pub claimant: Claimant,
}

/// What there is.
pub struct Observed<'a> {
    /// ReplicaSets that it controls, or that it selects and nobody controls.
    pub sets: Vec<Set>,
    /// Whether a pod is left of any of its ReplicaSets but the one of this uid.
    pub others_run: &'a dyn Fn(&str) -> bool,
    /// Whether there is a ReplicaSet of this name, whosever.
    pub taken: &'a dyn Fn(&str) -> bool,
}

impl Desired {
    /// From an object as it is stored.
    pub fn new(at: Target, object: Value, revision: u64) -> Desired {
        let reference = Owner::controller(&at.api_version, &at.kind, &at.name, object::uid(&object));
        let selector = sets::selector(&object["spec"]["selector"]);
        let claimant = Claimant { reference, selector, deleting: object::deleting(&object) };
        Desired { at, object, revision, claimant }
    }

    fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    fn replicas(&self) -> i32 {
        self.spec()["replicas"].as_i64().map_or(1, |_| super::number(&self.spec()["replicas"]))
    }

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
    desired: &Desired,
    observed: &Observed<'_>,
    attempt: Attempt<'_>,
    now: Timestamp,
) -> Actions {
    let actions = step(desired, observed, attempt, now);
    let about = Subject { at: desired.at.clone(), uid: object::uid(&desired.object).to_owned() };
    Actions { about: Some(about), ..actions }
}

fn step(desired: &Desired, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
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
    let steps = if desired.recreates() { rollout::recreate(&rolling) } else { rollout::roll(&rolling) };
    let superfluous = if rolling.has_told_completion() { rolling.superfluous() } else { Vec::new() };
    rolling.or(steps, |rolling| rolling.or(superfluous, Rolling::tell_progress))
}

/// A Deployment and its ReplicaSets, sorted out.
struct Rolling<'a> {
    desired: &'a Desired,
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
fn claims(desired: &Desired, observed: &Observed<'_>) -> (Vec<Set>, Vec<Write>) {
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
