//! How often pods of DaemonSets have failed on a node, so that the next one waits before it is replaced. Pure.
//!
//! It is learnt from what becomes of pods and forgotten with their sets, with a change of these, and with podbox: as upstream has
//! it. A pod that lived for long says that what was before is over.

use crate::control::pods::Member;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first pause; it doubles.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest one.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// Those of all sets.
#[derive(Clone, Debug, Default)]
pub struct Failures(BTreeMap<Arc<str>, Of>);

/// Those of one set, by node.
#[derive(Clone, Debug, Default)]
struct Of {
    generation: i64,
    nodes: BTreeMap<Arc<str>, On>,
}

#[derive(Clone, Copy, Debug)]
struct On {
    times: u32,
    /// When the pod was made that failed last.
    last: Option<Timestamp>,
}

impl Failures {
    /// A set is of this generation now.
    pub fn begin(&mut self, set: &str, generation: i64) {
        if self.0.get(set).is_none_or(|of| of.generation != generation) {
            self.0.insert(set.into(), Of { generation, ..Of::default() });
        }
    }

    /// A set is gone.
    pub fn forget(&mut self, set: &str) {
        self.0.remove(set);
    }

    /// A pod is like this now. Only those of sets count.
    pub fn note(&mut self, before: Option<&Member>, now: &Member) {
        let has_failed = |pod: &Member| pod.daemon.as_ref().is_some_and(|daemon| daemon.failed);
        if !has_failed(now) || before.is_some_and(has_failed) {
            return;
        }
        let (Some(set), Some(node)) = (&now.controller, now.place()) else { return };
        let Some(of) = self.0.get_mut(set) else { return };
        let on = of.nodes.entry(Arc::clone(node)).or_insert(On { times: 0, last: None });
        let apart = on.last.zip(now.created).map(|(last, created)| created.duration_since(last));
        if apart.is_some_and(|apart| apart > LONGEST.saturating_mul(2)) {
            on.times = 0;
        }
        (on.times, on.last) = (on.times.saturating_add(1), now.created);
    }

    /// From when on a failed pod may be replaced: its predecessor was when it was made.
    pub fn until(&self, set: &str, pod: &Member) -> Option<Timestamp> {
        let times = self.0.get(set)?.nodes.get(pod.place()?)?.times;
        let doublings = times.checked_sub(2)?.min(20);
        pod.created?.checked_add(FIRST.saturating_mul(1 << doublings).min(LONGEST)).ok()
    }
}
