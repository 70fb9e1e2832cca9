//! Node by node: a pod comes where one is to run and none is, and goes where none is to run, where there are several, or where it has
//! ended. Pure.

use super::eligible::Place;
use super::look::Look;
use super::member;
use crate::control::action::{Action, Saying};
use crate::control::pods::{Member, Phase};
use crate::control::workload;
use crate::limits;
use jiff::Timestamp;

/// What is to be done, what is said of it, and when to look again.
#[derive(Debug, Default)]
pub struct Steps {
    pub actions: Vec<Action>,
    pub said: Vec<Saying>,
    pub wake_at: Option<Timestamp>,
}

/// Pods that go, and nodes that need one.
#[derive(Default)]
struct Change<'a> {
    going: Vec<&'a Member>,
    needing: Vec<&'a str>,
}

/// What is to be done on all nodes.
pub fn steps(look: &Look<'_>) -> Steps {
    let (mut steps, mut change) = (Steps::default(), Change::default());
    for (node, place) in &look.places {
        match place {
            Place::Unwanted => change.going.extend(look.on(node).iter().filter(|pod| !pod.deleting)),
            Place::Wanted if look.on(node).is_empty() => change.needing.push(node),
            _ => tend(look, node, &mut change, &mut steps),
        }
    }
    // Nobody else ends those that were never there.
    let gone = look.pods.iter().filter(|(node, _)| !look.places.contains_key(*node));
    let lost = gone.flat_map(|(_, pods)| pods).filter(|pod| pod.node.is_none() && !pod.deleting);
    change.going.extend(lost);
    steps.actions = actions(look, &change.going, &change.needing);
    steps
}

/// What is to be done to these pods and nodes, as many at once as may be.
pub fn actions(look: &Look<'_>, going: &[&Member], needing: &[&str]) -> Vec<Action> {
    let hash = look.hashes.first().copied().unwrap_or_default();
    let create = |node: &&str| member::create(look.set, node, hash);
    let creations = needing.iter().take(limits::REPLICAS_AT_ONCE).map(create);
    let deletions = going.iter().take(limits::REPLICAS_AT_ONCE).map(|pod| workload::delete(pod));
    deletions.chain(creations).collect()
}

/// A node with pods that may stay.
fn tend<'a>(look: &Look<'a>, node: &str, change: &mut Change<'a>, steps: &mut Steps) {
    let mut running = Vec::new();
    for pod in look.on(node).iter().filter(|pod| !pod.deleting) {
        if pod.phase != Phase::Ended {
            running.push(*pod);
        } else if let Some(until) = look.paused_until(pod) {
            steps.wake_at = Some(steps.wake_at.map_or(until, |before| before.min(until)));
        } else {
            steps.said.push(said(pod, node));
            change.going.push(pod);
        }
    }
    match (running.as_slice(), look.set.surges()) {
        // One that has ended, or goes, keeps its place until it is gone: else failures would follow each other without a rest.
        ([] | [_], _) => {}
        (several, false) => change.going.extend(&several[1..]),
        (several, true) => change.going.extend(excess(look, several)),
    }
}

impl Look<'_> {
    /// Until when a pod that has failed stays, for others before it have failed too.
    fn paused_until(&self, pod: &Member) -> Option<Timestamp> {
        let failed = pod.daemon.as_ref().is_some_and(|daemon| daemon.failed);
        let until = self.observed.failures.until(self.set.workload.uid(), pod);
        // The clock may have been set back since the pod was made: that is no reason to wait.
        let set_back = pod.created.is_some_and(|created| created > self.now);
        until.filter(|until| failed && !set_back && *until > self.now)
    }
}

fn said(pod: &Member, node: &str) -> Saying {
    let pod_name = format!("{}/{}", pod.key.namespace(), pod.key.name());
    match pod.daemon.as_ref().is_some_and(|daemon| daemon.failed) {
        true => Saying::warning(
            "FailedDaemonPod",
            format!("Found failed daemon pod {pod_name} on node {node}, will try to kill it"),
        ),
        false => Saying::normal(
            "SucceededDaemonPod",
            format!("Found succeeded daemon pod {pod_name} on node {node}, will try to delete it"),
        ),
    }
}

/// Of several where there may be more: the oldest of the newest revision stays, and beside it the oldest of older ones that is ready,
/// as long as the other is not available yet. Upstream goes by age alone: if an update follows another before that has a ready
/// pod, and both pods are equally old, the node may lose the one that serves.
fn excess<'a>(look: &Look<'_>, pods: &[&'a Member]) -> Vec<&'a Member> {
    let (new, mut old): (Vec<&Member>, Vec<&Member>) = pods.iter().partition(|pod| look.is_new(pod));
    old.sort_by_key(|pod| pod.ready.is_none());
    let replaced = match (new.first(), old.first()) {
        (Some(new), Some(old)) => old.ready.is_none() || look.is_available(new),
        _ => false,
    };
    new.into_iter().skip(1).chain(old.into_iter().skip(usize::from(!replaced))).collect()
}
