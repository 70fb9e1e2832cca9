//! StatefulSets: pods that keep their names, made and ended in order. Pure.
//!
//! ```text
//!   claim pods and revisions ─▶ going: only its status
//!     └▶ the newest revision is that of the template (`revision`)
//!          └▶ replicas, lowest first: ended ones go, missing ones come, and their claims before them (`look`)
//!               └▶ those beyond, highest first, go (`look`)
//!                    └▶ those of an older revision, highest first, go (`update`); their successors are of the newest
//!                         └▶ revisions that are too many go ─▶ status
//! ```
//!
//! One step is taken at a time, and the next is decided by the world that it leaves. In order (`OrderedReady`), each pod waits until
//! all before it are available, and whatever is not so holds up all that comes after it: an update to a template that never
//! becomes ready stays where it is until somebody deletes that pod, as upstream documents it. **Invariant:** there are never two pods of one
//! ordinal, for a pod's name is its ordinal, and it is made once its predecessor is gone.

mod claims;
mod identity;
mod look;
mod status;
mod update;

#[cfg(test)]
mod tests;

pub use claims::owners as claim_owners;
pub use identity::parent;

use super::action::{Actions, Attempt};
use super::pods::Member;
use super::revision::{History, Revision};
use super::workload::{self, Workload};
use crate::api::objects::Target;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSetSpec};
use look::Look;
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;

/// The label of a revision that has its hash.
const HASH: &str = "controller.kubernetes.io/hash";

/// A StatefulSet.
#[derive(Clone, Debug)]
pub struct StatefulSet {
    /// It, as any other that asks for pods.
    pub workload: Workload,
    spec: StatefulSetSpec,
}

/// What there is.
pub struct Observed<'a> {
    /// The pods that it controls, or that it selects and nobody controls.
    pub pods: Vec<&'a Arc<Member>>,
    /// Revisions of the same sort.
    pub revisions: Vec<Revision>,
    /// Whether somebody else has a pod of this name.
    pub pod: &'a dyn Fn(&str) -> bool,
    /// Whether there is a revision of this name, whosever.
    pub revision: &'a dyn Fn(&str) -> bool,
    /// The claim of this name.
    pub claim: &'a dyn Fn(&str) -> Option<Value>,
}

impl StatefulSet {
    /// From an object as it is stored; none, if it is no StatefulSet.
    pub fn new(at: Target, object: Value, revision: u64) -> Option<StatefulSet> {
        let spec = StatefulSetSpec::deserialize(&object["spec"]).ok()?;
        Some(StatefulSet { workload: Workload::new(at, object, revision), spec })
    }

    fn name(&self) -> &str {
        &self.workload.at.name
    }

    /// The ordinals that it is to have.
    fn ordinals(&self) -> Range<i64> {
        let start = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0).into();
        start..start + i64::from(self.workload.replicas().max(0))
    }

    /// Whether its pods come and go one after the other.
    fn in_order(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// Whether it replaces pods of older revisions, rather than somebody else.
    fn updates(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy != Some("OnDelete")
    }

    fn rolling(&self) -> Option<&RollingUpdateStatefulSetStrategy> {
        self.spec.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    /// The first ordinal that is to be of the newest revision.
    fn partition(&self) -> i64 {
        let before = self.rolling().and_then(|rolling| rolling.partition).unwrap_or(0);
        self.ordinals().start + i64::from(before)
    }
}

/// What is to be done next.
pub fn reconcile(
    set: &StatefulSet,
    observed: &Observed<'_>,
    attempt: Attempt<'_>,
    now: Timestamp,
) -> Actions {
    set.workload.about(step(set, observed, attempt, now))
}

fn step(set: &StatefulSet, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    let claimant = &set.workload.claimant;
    let own = |pod: &Member| identity::ordinal(set.name(), pod.key.name()).is_some();
    let (pods, mut writes) = claimant.members(observed.pods.iter().copied(), own);
    let (history, claims) = History::new(&set.workload, HASH, observed.revisions.iter().cloned());
    writes.extend(claims);
    if !writes.is_empty() {
        return Actions::of(writes);
    }
    if claimant.deleting {
        return Actions::of(status::left(set, &pods, now));
    }
    if let Some(actions) = history.step(observed.revision, attempt) {
        return actions;
    }
    let Some(look) = Look::new(set, &pods, &history, observed, now) else { return Actions::none() };
    let mut steps = look.steps();
    if steps.actions.is_empty() {
        steps.actions = look.superfluous(&history);
    }
    let (permitted, paused) = attempt.permitted(steps.actions);
    let mut actions = match permitted.is_empty() {
        false => Actions::of(permitted),
        true => Actions::of(status::told(&look)),
    };
    actions.wake_at = steps.wake_at.into_iter().chain(look.next_available()).min();
    (actions.said, actions.paused) = (steps.said, paused);
    // With what is new only: pods that find a node one by one do not have it said again and again.
    actions.said.extend((steps.crowded && !actions.actions.is_empty()).then(workload::crowded));
    actions
}
