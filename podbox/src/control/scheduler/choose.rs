//! Looks for a node for one pod: which nodes take it, and which of them is best. Pure.
//!
//! Each node is asked in upstream's order, and the first kind of reason against it counts. All nodes are asked, however many there
//! are: upstream leaves some out where there are more than a hundred.

use super::cluster::Cluster;
use super::demand::Demand;
use super::nearness::Nearness;
use super::place::{Facts, NodeId, Place};
use super::score;
use super::spreading::Spreading;
use super::storage::{Needs, Storage};
use super::verdict::{Cure, Refusal, Unfit};
use crate::api::hostports;
use crate::control::action::Write;
use crate::control::key::Key;
use k8s_openapi::api::core::v1::Taint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CLOSED: &str = "node(s) were unschedulable";
const NOT_WISHED: &str = "node(s) didn't match Pod's node affinity/selector";
const NOT_NAMED: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
const NO_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";
const FULL: &str = "Too many pods";

/// The taint that a node closed to new pods stands for.
const CLOSED_TAINT: &str = "node.kubernetes.io/unschedulable";

/// A node for a pod.
#[derive(Debug)]
pub struct Choice {
    /// Which one.
    pub node: NodeId,
    /// The claims that it has to wait for there.
    pub awaits: BTreeSet<Key>,
    /// What is to be written so that they get volumes there.
    pub writes: Vec<Promise>,
}

/// A claim, the volume that it gets, if that is there, and how this is written.
pub type Promise = (Key, Option<String>, Write);

/// The best node for a pod, or why there is none. One that is kept for it is taken before better ones.
pub fn choose(key: &Key, demand: &Demand, cluster: &mut Cluster) -> Result<Choice, Unfit> {
    // Where room is kept for others, it counts as theirs.
    let kept: Vec<_> = cluster.nominations.nodes().filter_map(|name| cluster.find(name)).collect();
    let mut kept: BTreeMap<_, _> =
        kept.into_iter().filter_map(|node| Some((node, fits(key, demand, cluster, node)?))).collect();
    let look = match Look::of(demand, cluster) {
        Ok(look) => look,
        Err(why) => return Err(Unfit::lacking(cluster.nodes().count(), why)),
    };
    let (mut fit, mut unfit) = (Vec::new(), Unfit::default());
    for (id, place, facts) in cluster.nodes() {
        match kept.remove(&id).unwrap_or_else(|| look.judge(place, facts)) {
            Ok(()) => fit.push(id),
            Err(refusal) => unfit.add(id, refusal),
        }
    }
    let own = cluster.nominations.of(key).and_then(|name| cluster.find(name)).filter(|id| fit.contains(id));
    let node = own.or_else(|| score::best(demand, cluster, &fit)).ok_or(unfit)?;
    let Look { needs, .. } = look;
    Ok(Choice { node, awaits: needs.awaits(), writes: needs.writes(&cluster.storage, cluster.place(node)) })
}

/// Whether a node takes a pod, with those for whom it is kept and without them: near them it may be what it must not be without.
/// None of one that says nothing of itself.
pub fn fits(key: &Key, demand: &Demand, cluster: &mut Cluster, node: NodeId) -> Option<Result<(), Refusal>> {
    let name = Arc::clone(&cluster.place(node).name);
    let first = cluster.nominations.before(key, demand.load.priority, &name);
    if !first.is_empty() {
        first.iter().for_each(|(key, load)| cluster.add(key, load, node));
        let judged = judge(demand, cluster, node);
        first.iter().for_each(|(key, load)| cluster.take(key, load, node));
        if let Err(refusal) = judged? {
            return Some(Err(refusal));
        }
    }
    judge(demand, cluster, node)
}

fn judge(demand: &Demand, cluster: &Cluster, node: NodeId) -> Option<Result<(), Refusal>> {
    let place = cluster.place(node);
    let facts = place.facts.as_ref()?;
    let look = Look::of(demand, cluster).map_err(|why| Refusal::of(why, Cure::ANY));
    Some(look.and_then(|look| look.judge(place, facts)))
}

/// What of the cluster matters to one pod, found once and held against each node.
struct Look<'a> {
    demand: &'a Demand,
    storage: &'a Storage,
    needs: Needs<'a>,
    spreading: Spreading<'a>,
    nearness: Nearness<'a>,
}

impl<'a> Look<'a> {
    /// Finds it; or why the pod can be nowhere.
    fn of(demand: &'a Demand, cluster: &'a Cluster) -> Result<Look<'a>, String> {
        let storage = &cluster.storage;
        let needs = storage.needs(demand)?;
        let (spreading, nearness) = (Spreading::of(demand, cluster), Nearness::of(demand, cluster));
        Ok(Look { demand, storage, needs, spreading, nearness })
    }

    fn judge(&self, place: &Place, facts: &Facts) -> Result<(), Refusal> {
        // Nodes that are not named are not even looked at.
        if self.demand.wish.excludes(&place.name) {
            return Err(Refusal::of(NOT_NAMED, Cure::NODE));
        }
        alone(self.demand, place, facts)?;
        self.needs.check(self.storage, place, facts)?;
        self.spreading.check(facts)?;
        self.nearness.check(facts)
    }
}

/// Whether a node takes a pod, wherever others are.
fn alone(demand: &Demand, place: &Place, facts: &Facts) -> Result<(), Refusal> {
    if facts.own && !demand.unsupported.is_empty() {
        let reasons = demand.unsupported.iter().cloned().map(Into::into).collect();
        return Err(Refusal { reasons, crowded: false, cure: Cure::NODE });
    }
    if facts.closed {
        let taint =
            Taint { key: CLOSED_TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        if !demand.tolerance.bears(&taint) {
            return Err(Refusal::of(CLOSED, Cure::NODE));
        }
    }
    if let Some(taint) = demand.tolerance.unborne(&facts.taints, &["NoSchedule", "NoExecute"]) {
        let (key, value) = (&taint.key, taint.value.as_deref().unwrap_or_default());
        return Err(Refusal::of(format!("node(s) had untolerated taint {{{key}: {value}}}"), Cure::NODE));
    }
    if !demand.wish.is_met(&place.name, &facts.labels) {
        return Err(Refusal::of(NOT_WISHED, Cure::NODE));
    }
    if !hostports::are_free(&demand.load.ports, &place.ports) {
        return Err(Refusal::crowded(NO_PORTS, Cure::NODE.and(Cure::ROOM)));
    }
    room(demand, place, facts)
}

fn room(demand: &Demand, place: &Place, facts: &Facts) -> Result<(), Refusal> {
    let mut lacking = demand.load.amounts.lacking(&facts.room, &place.taken);
    if place.pods.len() >= facts.pods {
        lacking.insert(0, (FULL.into(), false));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let never = lacking.iter().any(|(_, never)| *never);
    let reasons = lacking.into_iter().map(|(reason, _)| reason).collect();
    Err(Refusal { reasons, crowded: !never, cure: Cure::NODE.and(Cure::ROOM) })
}
