//! DaemonSets: one pod on each node that is one of theirs. Pure.
//!
//! ```text
//!   claim pods and revisions ─▶ the newest revision is that of the template (`revision`)
//!     └▶ node by node (`manage`): a pod comes where one is to run, and goes where none is, or where it has ended
//!          └▶ all there: those of an older revision are replaced (`update`), or joined by their successors first (`surge`)
//!               └▶ revisions that are too many go ─▶ status
//! ```
//!
//! One step is taken at a time, and the next is decided by the world that it leaves. A pod is made for its node, and says so by its
//! affinity (`member`); who binds it is not known here, nor whether there is room. **Invariant:** beside pods that have ended or are to
//! go, a node has at most one pod of a set, or two while a successor is not available yet and there may be more.

mod eligible;
mod failures;
mod look;
mod manage;
mod member;
mod status;
mod surge;
mod update;

#[cfg(test)]
mod tests;

pub use failures::Failures;
pub use member::{Affinity, Daemon};

use super::action::{Actions, Attempt};
use super::nodes::Nodes;
use super::pods::Member;
use super::revision::{History, LABEL, Revision};
use super::workload::Workload;
use crate::api::objects::Target;
use eligible::Eligible;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSetSpec, RollingUpdateDaemonSet};
use look::Look;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A DaemonSet.
#[derive(Clone, Debug)]
pub struct DaemonSet {
    /// It, as any other that asks for pods.
    pub workload: Workload,
    spec: DaemonSetSpec,
}

/// What there is.
pub struct Observed<'a> {
    /// The pods that it controls, or that it selects and nobody controls.
    pub pods: Vec<&'a Arc<Member>>,
    /// Revisions of the same sort.
    pub revisions: Vec<Revision>,
    /// Whether there is a revision of this name, whosever.
    pub revision: &'a dyn Fn(&str) -> bool,
    /// All nodes.
    pub nodes: &'a Nodes,
    /// How often its pods have failed where.
    pub failures: &'a Failures,
}

impl DaemonSet {
    /// From an object as it is stored; none, if it is no DaemonSet.
    pub fn new(at: Target, object: Value, revision: u64) -> Option<DaemonSet> {
        let spec = DaemonSetSpec::deserialize(&object["spec"]).ok()?;
        Some(DaemonSet { workload: Workload::new(at, object, revision), spec })
    }

    /// How it replaces pods; not at all, if somebody else is to.
    fn rolling(&self) -> Option<&RollingUpdateDaemonSet> {
        let strategy = self.spec.update_strategy.as_ref()?;
        let rolls = strategy.type_.as_deref().is_none_or(|word| word == "RollingUpdate");
        strategy.rolling_update.as_ref().filter(|_| rolls)
    }

    /// How many of `wanted` pods there may be more, and how many available ones fewer.
    fn slack(&self, wanted: usize) -> (usize, usize) {
        let part = |value: Option<Value>| {
            let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
            value.map_or(0, |value| usize::try_from(super::part(&value, wanted, true)).unwrap_or(0))
        };
        let rolling = self.rolling();
        let more = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()).map(|value| json!(value)));
        let fewer =
            part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).map(|value| json!(value)));
        // Nothing at all would never go on.
        if more == 0 && fewer == 0 { (0, 1) } else { (more, fewer) }
    }

    /// Whether a pod's successor comes before it goes.
    fn surges(&self) -> bool {
        self.rolling().is_some() && self.slack(1).0 > 0
    }
}

/// What is to be done next.
pub fn reconcile(set: &DaemonSet, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    // What is left of its revisions says nothing any more.
    if set.workload.claimant.deleting {
        return Actions::none();
    }
    set.workload.about(step(set, observed, attempt, now))
}

fn step(set: &DaemonSet, observed: &Observed<'_>, attempt: Attempt<'_>, now: Timestamp) -> Actions {
    let (pods, mut writes) = set.workload.claimant.members(observed.pods.iter().copied(), |_| true);
    let (history, claims) = History::new(&set.workload, LABEL, observed.revisions.iter().cloned());
    writes.extend(claims);
    if !writes.is_empty() {
        return Actions::of(writes);
    }
    if let Some(actions) = history.step(observed.revision, attempt) {
        return actions;
    }
    let hashes = history.same().filter_map(|revision| revision.label(LABEL)).collect();
    let eligible = Eligible::new(set);
    let look = Look::new(set, &pods, hashes, (observed, &eligible), now);
    let mut steps = manage::steps(&look);
    if steps.actions.is_empty() && set.rolling().is_some() {
        steps.actions = if set.surges() { surge::steps(&look) } else { update::steps(&look) };
    }
    if steps.actions.is_empty() {
        let used = |revision: &Revision| {
            let hash = revision.label(LABEL);
            hash.is_some() && pods.iter().any(|pod| look::hash(pod) == hash)
        };
        steps.actions = history.superfluous(&history.old(), used);
    }
    let (permitted, paused) = attempt.permitted(steps.actions);
    let mut actions = match permitted.is_empty() {
        false => Actions { said: steps.said, ..Actions::of(permitted) },
        true => Actions::of(status::told(&look)),
    };
    actions.wake_at = steps.wake_at.into_iter().chain(look.next_available()).min();
    actions.paused = paused;
    actions
}
