//! Which pods a Job that goes on makes and takes, and which one that has come to its end takes. Pure.

use super::look::{Indexed, Look, index};
use super::{INDEX, INDEX_FAILURES, INDEX_IGNORED, TRACKING, Verdict, is_tracked, let_go, release};
use crate::control::action::{Action, Attempt};
use crate::control::pods::Member;
use crate::control::{rank, workload};
use crate::limits;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The wait after a first failure; each further one doubles it.
const BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait.
const MOST: SignedDuration = SignedDuration::from_mins(10);
/// How long a name that is only begun may be, so that its end fits a label.
const NAME: usize = 58;

/// What is to be done, and when to look again.
pub fn steps(look: &Look<'_>, attempt: Attempt<'_>, now: Timestamp) -> (Vec<Action>, Option<Timestamp>) {
    let surplus = look.active.len().saturating_sub(wanted(look));
    if surplus > 0 || has_useless(look) {
        return (remove(look, surplus, now), None);
    }
    let missing = missing(look).min(workload::room(&look.active)).min(limits::REPLICAS_AT_ONCE);
    if missing == 0 || attempt.holds(true) || look.job.is_suspended() {
        return (Vec::new(), None);
    }
    match &look.indexes {
        None => match over(failures(look), now) {
            Some(at) => (Vec::new(), Some(at)),
            None => ((0..missing).map(|_| create(look, None)).collect(), None),
        },
        Some(indexed) => with_indexes(look, indexed, missing, now),
    }
}

/// Whether more would be made, did not so many wait for a node.
pub fn is_crowded(look: &Look<'_>) -> bool {
    missing(look) > 0 && workload::room(&look.active) == 0
}

/// How many more are to be at work.
fn missing(look: &Look<'_>) -> usize {
    // Those on their way out count only where each is to end before it is replaced.
    let leaving = if look.job.replaces_only_failed() { look.terminating } else { 0 };
    wanted(look).saturating_sub(look.active.len() + leaving)
}

/// How many are to be at work.
fn wanted(look: &Look<'_>) -> usize {
    if look.job.is_suspended() {
        return 0;
    }
    match look.job.completions() {
        // It is up to the pods: once one has succeeded, no other is begun.
        None if look.succeeded > 0 => look.active.len(),
        None => look.job.parallelism(),
        Some(completions) => {
            (completions as usize).saturating_sub(look.succeeded).min(look.job.parallelism())
        }
    }
}

fn with_indexes(
    look: &Look<'_>,
    indexed: &Indexed<'_>,
    missing: usize,
    now: Timestamp,
) -> (Vec<Action>, Option<Timestamp>) {
    let per_index = indexed.failed.is_some();
    if !per_index && let Some(at) = over(failures(look), now) {
        return (Vec::new(), Some(at));
    }
    let leaving = look.pods.iter().filter(|pod| pod.is_terminating() && look.job.replaces_only_failed());
    let taken: BTreeSet<u32> = look.active.iter().chain(leaving).filter_map(|pod| index(pod)).collect();
    let pending = (0..indexed.completions).filter(|index| {
        let failed = indexed.failed.as_ref().is_some_and(|failed| failed.has(*index));
        !failed && !taken.contains(index) && !indexed.succeeded.has(*index)
    });
    let (mut actions, mut wake_at) = (Vec::new(), None::<Timestamp>);
    for index in pending.take(missing) {
        let before = indexed.waiting.get(&index);
        match before.and_then(|pod| over(failures_of(pod), now)) {
            Some(at) => wake_at = Some(wake_at.map_or(at, |other| other.min(at))),
            None => actions.push(create(look, Some((index, before.copied())))),
        }
    }
    (actions, wake_at)
}

/// When the wait after so many failures is over, unless it is.
fn over((failures, last): (u32, Option<Timestamp>), now: Timestamp) -> Option<Timestamp> {
    let doublings = failures.checked_sub(1)?.min(16);
    let wait = BACKOFF.saturating_mul(1 << doublings).min(MOST);
    // The clock may have been set back since: that is no reason to wait for longer.
    let last = last.filter(|last| *last <= now)?;
    last.checked_add(wait).ok().filter(|at| *at > now)
}

/// How many have failed since the last one succeeded, and when the last of them did.
fn failures(look: &Look<'_>) -> (u32, Option<Timestamp>) {
    let when = |pod: &Member| pod.batch.as_ref().and_then(|batch| batch.finished);
    // Those that were told to go are known as such, whatever has become of them since, unless it is their ends that count.
    let by_end = look.job.replaces_only_failed();
    let (departed, told) = if by_end { (0, None) } else { look.departed };
    let pods = look.pods.iter().filter(|pod| departed == 0 || !pod.deleting);
    let mut ends: Vec<(Option<Timestamp>, bool)> =
        pods.filter_map(|pod| Some((when(pod), !pod.batch.as_ref()?.succeeded?))).collect();
    ends.sort_unstable();
    let failed = ends.iter().rev().take_while(|(_, failed)| *failed);
    let failed = u32::try_from(failed.count()).unwrap_or(u32::MAX);
    (failed.saturating_add(departed), ends.last().and_then(|(at, _)| *at).max(told))
}

fn failures_of(pod: &Member) -> (u32, Option<Timestamp>) {
    pod.batch.as_ref().map_or((0, None), |batch| (batch.failures.0 + batch.failures.1 + 1, batch.finished))
}

/// A new pod, of an index if it is to have one, after one of that index that failed.
fn create(look: &Look<'_>, of: Option<(u32, Option<&Member>)>) -> Action {
    let mut pod = look.job.workload.pod();
    let name = &look.job.workload.at.name;
    let metadata = &mut pod["metadata"];
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|one| one == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    metadata["finalizers"] = finalizers.into();
    let end = of.map_or_else(|| "-".to_owned(), |(index, _)| format!("-{index}-"));
    let room = NAME.saturating_sub(end.len());
    metadata["generateName"] = (name.chars().take(room).collect::<String>() + &end).into();
    if let Some((index, before)) = of {
        number(&mut pod, name, index);
        if look.job.spec.backoff_limit_per_index.is_some() {
            let (mut counted, mut ignored) =
                before.and_then(|pod| pod.batch.as_ref()).map_or((0, 0), |batch| batch.failures);
            if let Some(before) = before {
                *(if look.is_ignored(before) { &mut ignored } else { &mut counted }) += 1;
            }
            pod["metadata"]["annotations"][INDEX_FAILURES] = counted.to_string().into();
            if ignored > 0 {
                pod["metadata"]["annotations"][INDEX_IGNORED] = ignored.to_string().into();
            }
        }
    }
    workload::create(pod)
}

/// Lets a pod, and its containers, know which index it is.
fn number(pod: &mut Value, job: &str, index: u32) {
    pod["metadata"]["annotations"][INDEX] = index.to_string().into();
    pod["metadata"]["labels"][INDEX] = index.to_string().into();
    pod["spec"]["hostname"] = format!("{job}-{index}").into();
    let path = format!("metadata.labels['{INDEX}']");
    let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}});
    for field in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            if !env.iter().any(|one| one["name"] == "JOB_COMPLETION_INDEX") {
                env.push(variable.clone());
                container["env"] = env.into();
            }
        }
    }
}

/// Whether some at work have an index that another has too, or none that counts.
fn has_useless(look: &Look<'_>) -> bool {
    let Some(indexed) = &look.indexes else { return false };
    let mut seen = BTreeSet::new();
    let useful =
        |pod: &&Member| index(pod).is_some_and(|index| index < indexed.completions && seen.insert(index));
    !look.active.iter().all(useful)
}

/// So many of those at work go uncounted, unless they succeed before they do: at least those that are of no use, then as of any that are too many.
fn remove(look: &Look<'_>, surplus: usize, now: Timestamp) -> Vec<Action> {
    let mut per_node = BTreeMap::<&str, usize>::new();
    look.active
        .iter()
        .filter_map(|pod| pod.node.as_deref())
        .for_each(|node| *per_node.entry(node).or_default() += 1);
    let doubles =
        |pod: &Member| pod.node.as_deref().and_then(|node| per_node.get(node)).copied().unwrap_or(0);
    let ranked = rank::first(&look.active, look.active.len(), doubles, now);
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    if let Some(indexed) = &look.indexes {
        let mut seen = BTreeSet::new();
        // Who would stay longest keeps the index.
        for pod in ranked.into_iter().rev() {
            let keeps = index(pod).is_some_and(|index| index < indexed.completions && seen.insert(index));
            if keeps { rest.insert(0, pod) } else { first.insert(0, pod) }
        }
    } else {
        rest = ranked;
    }
    let count = surplus.max(first.len()).min(limits::REPLICAS_AT_ONCE);
    let going = first.into_iter().chain(rest).take(count);
    going
        .flat_map(|pod| [is_tracked(pod).then(|| let_go(pod)), Some(workload::delete(pod))])
        .flatten()
        .collect()
}

/// Those still at work go, since the Job has come to its end. If that is a good one, they have not failed.
pub fn end(look: &Look<'_>, verdict: &Verdict) -> Vec<Action> {
    let free = |pod: &Member| (verdict.success && is_tracked(pod)).then(|| release(pod));
    look.active.iter().flat_map(|pod| [free(pod), Some(workload::delete(pod))]).flatten().collect()
}
