//! How evenly a pod and its like are spread over the parts of the cluster: what must be so, and what is better. Pure.
//!
//! A pod that says nothing of it is spread all the same, loosely: over nodes and zones, with those that its ReplicaSet, StatefulSet or
//! ReplicationController made. (Upstream counts whom that selects, and the pod's Services, too: so a pod of a Job is spread there if a
//! Service selects it, and here it is not.)

use super::census::Counts;
use super::cluster::Cluster;
use super::demand::Demand;
use super::place::{Facts, NodeId};
use super::term::Spread;
use super::verdict::{Cure, Refusal};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const UNKNOWN: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

const HOST: &str = "kubernetes.io/hostname";
/// What is better where nothing is said: labels of nodes, and how many more there may be before it counts.
const DEFAULT: [(&str, i64); 2] = [(HOST, 3), ("topology.kubernetes.io/zone", 5)];

/// What must be so.
#[derive(Debug, Default)]
pub struct Spreading<'a>(Vec<Required<'a>>);

#[derive(Debug)]
struct Required<'a> {
    spread: &'a Spread,
    /// How many are in each part.
    parts: BTreeMap<&'a str, i64>,
    /// How many are where there are fewest.
    least: i64,
    /// Whether the pod would be one more.
    own: i64,
}

impl<'a> Spreading<'a> {
    /// Counts who is where.
    pub fn of(demand: &'a Demand, cluster: &'a Cluster) -> Spreading<'a> {
        let all: Vec<&Spread> = demand.spread.iter().filter(|spread| spread.required).collect();
        let one = |spread: &'a Spread| {
            let counts = counts(demand, cluster, spread);
            let mut parts = BTreeMap::new();
            for (id, _, facts) in cluster.nodes() {
                let complete = all.iter().all(|spread| facts.labels.contains_key(&spread.key));
                let Some(value) = facts.labels.get(&spread.key).filter(|_| complete) else { continue };
                if takes_part(demand, spread, &cluster.place(id).name, facts) {
                    *parts.entry(value.as_str()).or_default() += counts.get(&id).copied().unwrap_or(0);
                }
            }
            let few = parts.len() < spread.min_domains;
            let least = parts.values().copied().min().filter(|_| !few).unwrap_or(0);
            Required { spread, parts, least, own: i64::from(spread.counts(&demand.load.labels)) }
        };
        Spreading(all.iter().map(|spread| one(spread)).collect())
    }

    /// Whether a node may have one more.
    pub fn check(&self, node: &Facts) -> Result<(), Refusal> {
        for Required { spread, parts, least, own } in &self.0 {
            let Some(value) = node.labels.get(&spread.key) else {
                return Err(Refusal::of(UNKNOWN, Cure::NODE));
            };
            let there = parts.get(value.as_str()).copied().unwrap_or(0);
            if there + own - least > spread.max_skew {
                return Err(Refusal::crowded(UNEVEN, Cure::NODE.and(Cure::NEIGHBOURS)));
            }
        }
        Ok(())
    }
}

/// How many of its like each node has. Who is on the way out does not count.
fn counts(demand: &Demand, cluster: &Cluster, spread: &Spread) -> BTreeMap<NodeId, i64> {
    cluster.census.among(&demand.load.namespace, |group| !group.going && spread.counts(&group.labels))
}

/// Whether a node counts as one over which pods are spread.
fn takes_part(demand: &Demand, spread: &Spread, name: &str, node: &Facts) -> bool {
    (!spread.by_affinity || demand.wish.is_met(name, &node.labels))
        && (!spread.by_taints
            || demand.tolerance.unborne(&node.taints, &["NoSchedule", "NoExecute"]).is_none())
}

/// One part of what is better.
struct Better<'a> {
    key: &'a str,
    max_skew: i64,
    /// How many each node has, where the node is the part; else how many each part has.
    nodes: Cow<'a, Counts>,
    parts: BTreeMap<&'a str, i64>,
    weight: f64,
}

/// How well each of these nodes spreads a pod, from 0 to 100. None if nothing is to be spread.
pub fn scores(demand: &Demand, cluster: &Cluster, among: &[NodeId]) -> Option<Vec<i64>> {
    let wanted: Vec<&Spread> = demand.spread.iter().filter(|spread| !spread.required).collect();
    let facts = |id: &NodeId| cluster.place(*id).facts.as_ref();
    let complete = |node: &Facts| wanted.iter().all(|spread| node.labels.contains_key(&spread.key));
    let counted: BTreeSet<NodeId> =
        among.iter().copied().filter(|id| facts(id).is_some_and(complete)).collect();
    let all: Vec<Better<'_>> = match (wanted.is_empty(), &demand.load.spreader) {
        (false, _) => {
            wanted.iter().map(|spread| said(demand, cluster, spread, &counted, &complete)).collect()
        }
        (true, Some(controller)) if demand.spread.is_empty() => {
            let nodes = cluster.census.of_controller(controller);
            let better = |(key, max_skew): &(&'static str, i64)| {
                better(cluster, (key, *max_skew), Cow::Borrowed(nodes), &counted, |_, _| true)
            };
            DEFAULT.iter().map(better).collect()
        }
        _ => return None,
    };
    let raw: Vec<Option<i64>> = among
        .iter()
        .map(|id| facts(id).filter(|_| counted.contains(id)).map(|node| sum(&all, *id, node)))
        .collect();
    let known = || raw.iter().flatten().copied();
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let normal = |score: &Option<i64>| match score {
        None => 0,
        Some(_) if most == 0 => 100,
        Some(score) => 100 * (most + least - score) / most,
    };
    Some(raw.iter().map(normal).collect())
}

fn said<'a>(
    demand: &Demand,
    cluster: &'a Cluster,
    spread: &'a Spread,
    among: &BTreeSet<NodeId>,
    complete: &dyn Fn(&Facts) -> bool,
) -> Better<'a> {
    let nodes = counts(demand, cluster, spread);
    // A node that lacks a label that another constraint is about is in no part of the cluster.
    let takes_part = |name: &str, node: &Facts| complete(node) && takes_part(demand, spread, name, node);
    better(cluster, (&spread.key, spread.max_skew), Cow::Owned(nodes), among, takes_part)
}

fn better<'a>(
    cluster: &'a Cluster,
    (key, max_skew): (&'a str, i64),
    nodes: Cow<'a, Counts>,
    among: &BTreeSet<NodeId>,
    takes_part: impl Fn(&str, &Facts) -> bool,
) -> Better<'a> {
    let weight = |size: usize| ((size + 2) as f64).ln();
    if key == HOST {
        return Better { key, max_skew, nodes, parts: BTreeMap::new(), weight: weight(among.len()) };
    }
    let value = |id: &NodeId| Some(cluster.place(*id).facts.as_ref()?.labels.get(key)?.as_str());
    let mut parts: BTreeMap<&str, i64> = among.iter().filter_map(value).map(|value| (value, 0)).collect();
    for (id, count) in &*nodes {
        let place = cluster.place(*id);
        let counts = place.facts.as_ref().is_some_and(|facts| takes_part(&place.name, facts));
        if let Some(sum) = value(id).filter(|_| counts).and_then(|value| parts.get_mut(value)) {
            *sum += count;
        }
    }
    let weight = weight(parts.len());
    Better { key, max_skew, nodes, parts, weight }
}

fn sum(all: &[Better<'_>], id: NodeId, node: &Facts) -> i64 {
    let of = |better: &Better<'_>| {
        let value = node.labels.get(better.key)?;
        let count = match better.key {
            HOST => better.nodes.get(&id),
            _ => better.parts.get(value.as_str()),
        };
        Some(count.copied().unwrap_or(0) as f64 * better.weight + (better.max_skew - 1) as f64)
    };
    all.iter().filter_map(of).sum::<f64>().round() as i64
}
