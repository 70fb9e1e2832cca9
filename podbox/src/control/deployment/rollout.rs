//! Rolling out: pods move from the old ReplicaSets to the new one, within what the strategy allows.
//!
//! **Invariant:** of the numbers that it sees, no step asks for more pods than `replicas + maxSurge`, and none takes away a pod that
//! is available where that would leave fewer than `replicas - maxUnavailable`.

use super::super::action::Action;
use super::{Observed, Rolling, Set, share};

/// The next steps of a rolling update: the new ReplicaSet grows, or else the old ones shrink.
pub fn roll(rolling: &Rolling<'_>) -> Vec<Action> {
    let Some(new) = &rolling.new else { return Vec::new() };
    let (now, wanted) = (new.replicas(), rolling.desired.replicas());
    let size = if now >= wanted { wanted } else { rolling.new_replicas(now, share::asked(rolling.all())) };
    match rolling.resize(new, size) {
        Some(step) => vec![step],
        None => shrink(rolling, new),
    }
}

/// Old ReplicaSets shrink: first by pods that are of no use, then by as many others as may be missing.
fn shrink(rolling: &Rolling<'_>, new: &Set) -> Vec<Action> {
    let active: Vec<&Set> = rolling.old.iter().filter(|set| set.is_active()).collect();
    if active.is_empty() {
        return Vec::new();
    }
    let least = rolling.desired.replicas() - rolling.desired.slack().unavailable;
    let unavailable = new.replicas() - new.available();
    let mut room = share::asked(rolling.all()) - least - unavailable;
    if room <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = active.iter().map(|set| set.replicas()).collect();
    for (size, set) in sizes.iter_mut().zip(&active) {
        let useless = (*size - set.available()).clamp(0, room);
        *size -= useless;
        room -= useless;
    }
    // Pods that are about to go do not count, though the status that was written last may.
    let available = |set: &Set| set.available().min(set.replicas());
    let mut spare = rolling.all().map(available).sum::<i32>() - least;
    for size in sizes.iter_mut() {
        let less = (*size).min(spare.max(0));
        *size -= less;
        spare -= less;
    }
    active.iter().zip(sizes).filter_map(|(set, size)| rolling.resize(set, size)).collect()
}

/// The next steps where all pods are replaced at once: the old ones go, and once the last has gone the new ones come.
pub fn recreate(rolling: &Rolling<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let down: Vec<Action> = rolling.old.iter().filter_map(|set| rolling.resize(set, 0)).collect();
    match &rolling.new {
        Some(new) if down.is_empty() && !old_run(rolling, observed) => {
            rolling.resize(new, rolling.desired.replicas()).into_iter().collect()
        }
        _ => down,
    }
}

/// Whether a pod of an old ReplicaSet is left, or one that is on its way out.
pub fn old_run(rolling: &Rolling<'_>, observed: &Observed<'_>) -> bool {
    let new = rolling.new.as_ref().map_or("", |new| new.meta.uid.as_str());
    rolling.old.iter().any(Set::is_active)
        || share::sum(&rolling.old, "replicas") > 0
        || (observed.others_run)(new)
}
