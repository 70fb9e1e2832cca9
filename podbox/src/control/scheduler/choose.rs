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
use super::verdict::{Cure, Refusal, Unfit};
use crate::api::hostports;
use crate::control::action::Write;
use crate::control::key::Key;
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeSet;

const CLOSED: &str = "node(s) were unschedulable";
const NOT_WISHED: &str = "node(s) didn't match Pod's node affinity/selector";
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

/// The best node for a pod, or why there is none.
pub fn choose(demand: &Demand, cluster: &Cluster) -> Result<Choice, Unfit> {
    let storage = &cluster.storage;
    let needs = match storage.needs(demand) {
        Ok(needs) => needs,
        Err(why) => return Err(Unfit::lacking(demand.preempts, cluster.nodes().count(), why)),
    };
    let (nearness, spreading) = (Nearness::of(demand, cluster), Spreading::of(demand, cluster));
    let (mut fit, mut unfit) = (Vec::new(), Unfit::new(demand.preempts));
    for (id, place, facts) in cluster.nodes() {
        let judged = alone(demand, place, facts)
            .and_then(|()| needs.check(storage, place, facts))
            .and_then(|()| spreading.check(facts))
            .and_then(|()| nearness.check(facts));
        match judged {
            Ok(()) => fit.push(id),
            Err(refusal) => unfit.add(refusal),
        }
    }
    let node = score::best(demand, cluster, &fit).ok_or(unfit)?;
    Ok(Choice { node, awaits: needs.awaits(), writes: needs.writes(storage, cluster.place(node)) })
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
    if place.pods + 1 > facts.pods {
        lacking.insert(0, (FULL.into(), facts.pods < 1));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let never = lacking.iter().any(|(_, never)| *never);
    let reasons = lacking.into_iter().map(|(reason, _)| reason).collect();
    Err(Refusal { reasons, crowded: !never, cure: Cure::NODE.and(Cure::ROOM) })
}
