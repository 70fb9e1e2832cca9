//! Scaling while nothing is rolled out, or in the middle of it: each ReplicaSet gets its share.

use super::super::action::{Action, Saying};
use super::revision::edit;
use super::{Rolling, Set, share};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// Whether the Deployment wants another number of replicas than when its ReplicaSets were scaled last.
pub fn is_due(rolling: &Rolling<'_>) -> bool {
    let wanted = rolling.desired.replicas();
    let active = || rolling.all().filter(|set| set.is_active());
    // Among those that are replaced all at once nothing is shared out: the old ones go first.
    if rolling.desired.recreates() && active().count() > 1 {
        return false;
    }
    active().any(|set| set.wanted().is_some_and(|then| then != wanted))
}

/// What is to be scaled.
pub fn steps(rolling: &Rolling<'_>) -> Vec<Action> {
    let wanted = rolling.desired.replicas();
    if let Some(only) = active_or_latest(rolling) {
        // It may have the size already, and remember another one: scaling would be due for ever, and nothing rolled out.
        let step = if is_due(rolling) { rolling.rescale(only, wanted) } else { rolling.resize(only, wanted) };
        return step.into_iter().collect();
    }
    let active_old = || rolling.old.iter().filter(|set| set.is_active());
    if rolling.new.as_ref().is_some_and(|new| is_saturated(new, wanted)) {
        return active_old().filter_map(|set| rolling.resize(set, 0)).collect();
    }
    if rolling.desired.recreates() {
        return Vec::new();
    }
    let mut active: Vec<&Set> = rolling.all().filter(|set| set.is_active()).collect();
    let most = if wanted > 0 { rolling.desired.most() } else { 0 };
    let more = most - share::asked(active.iter().copied());
    // The largest gets what cannot be shared: of several, the newest gets more and the oldest gives more.
    active.sort_by_key(|set| set.age());
    match more > 0 {
        true => {
            active.reverse();
            active.sort_by_key(|set| Reverse(set.replicas()));
        }
        false => active.sort_by_key(|set| Reverse(set.replicas())),
    }
    let sizes = proportions(rolling, &active, more);
    active.iter().zip(sizes).filter_map(|(set, size)| rolling.rescale(set, size)).collect()
}

/// The only ReplicaSet with pods, or the newest one if none has any.
fn active_or_latest<'a>(rolling: &'a Rolling<'_>) -> Option<&'a Set> {
    let mut active = rolling.all().filter(|set| set.is_active());
    match (active.next(), active.next()) {
        (None, _) => rolling.new.as_ref().or(rolling.old.last()),
        (only, None) => only,
        _ => None,
    }
}

/// Whether the new ReplicaSet has all pods that there should be, so that the others need none.
fn is_saturated(new: &Set, wanted: i32) -> bool {
    new.replicas() == wanted && new.wanted() == Some(wanted) && new.available() == wanted
}

/// The sizes of ReplicaSets, largest first, that together become `more` pods larger, or smaller.
fn proportions(rolling: &Rolling<'_>, active: &[&Set], more: i32) -> Vec<i32> {
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in active {
        let allowed = more - added;
        let share = if allowed == 0 { 0 } else { share_of(rolling, set) };
        let share = if more > 0 { share.min(allowed) } else { share.max(allowed) };
        added += share;
        sizes.push(set.replicas() + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + more - added).max(0);
    }
    sizes
}

/// By how much a ReplicaSet is to grow so that it is as large a part of the Deployment as it was.
fn share_of(rolling: &Rolling<'_>, set: &Set) -> i32 {
    let now = set.replicas();
    if rolling.desired.replicas() == 0 {
        return -now;
    }
    let before = set.allowed().filter(|allowed| *allowed != 0);
    let before =
        before.unwrap_or_else(|| super::super::number(&rolling.desired.object["status"]["replicas"]));
    if before == 0 {
        // The ReplicaSet says nothing, and the Deployment had no pod.
        return 0;
    }
    let part = f64::from(now) * f64::from(rolling.desired.most()) / f64::from(before);
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and sizes are small")]
    let size = part.round() as i32;
    size - now
}

impl Rolling<'_> {
    /// A ReplicaSet gets this size, if it has another.
    pub(super) fn resize(&self, set: &Set, to: i32) -> Option<Action> {
        if set.replicas() == to { None } else { self.rescale(set, to) }
    }

    /// The same, or at least remembers the size of its Deployment.
    fn rescale(&self, set: &Set, to: i32) -> Option<Action> {
        let from = set.replicas();
        let sizes: Map<String, Value> = self.desired.sizes().into_iter().collect();
        let known = sizes.iter().all(|(name, size)| set.annotation(name) == size.as_str());
        if known && from == to {
            return None;
        }
        let way = if from < to { "up" } else { "down" };
        let said = format!("Scaled {way} replica set {} from {from} to {to}", set.name());
        Some(Action {
            write: edit(set, json!({"metadata": {"annotations": sizes}, "spec": {"replicas": to}})),
            done: (from != to).then(|| Saying::normal("ScalingReplicaSet", said)),
            failed: None,
        })
    }
}
