//! Whom a pod must or would be near to or far from, and who is there already and has a say in it. Pure.
//!
//! What is near is said by a label of nodes: all nodes with the same value of it are one part of the cluster. All of it is found
//! once for a pod, and then held against nodes.

use super::cluster::Cluster;
use super::demand::{Bond, Demand};
use super::place::{Facts, NodeId};
use super::term::Term;
use super::verdict::{Cure, Refusal};
use std::collections::{BTreeMap, BTreeSet};

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const NOT_FAR: &str = "node(s) didn't match pod anti-affinity rules";
const UNWANTED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// Parts of the cluster: a label of nodes, and values of it.
type Parts<'a> = (&'a str, BTreeSet<&'a str>);

/// What is near and far of one pod.
#[derive(Debug, Default)]
pub struct Nearness<'a> {
    /// Where somebody is whom it must be near to.
    near: Vec<Parts<'a>>,
    /// It is the first of its kind: it need only be where others can be near to it.
    first: bool,
    /// Where somebody is whom it must be far from.
    far: Vec<Parts<'a>>,
    /// Where somebody is who must be far from it.
    unwanted: Vec<Parts<'a>>,
}

impl<'a> Nearness<'a> {
    /// Looks for all who matter.
    pub fn of(demand: &'a Demand, cluster: &'a Cluster) -> Nearness<'a> {
        let (load, namespaces) = (&demand.load, &cluster.namespaces);
        let there = |counts: &BTreeMap<NodeId, i64>, key: &'a str| -> Parts<'a> {
            (key, counts.keys().filter_map(|node| value(cluster, *node, key)).collect())
        };
        let mut found = Nearness::default();
        if !demand.near.is_empty() {
            let all = |namespace: &str, labels: &_| {
                demand.near.iter().all(|term| term.selects(namespace, labels, namespaces))
            };
            let counts = cluster.census.anywhere(|namespace, group| all(namespace, &group.labels));
            found.near = demand.near.iter().map(|term| there(&counts, &term.key)).collect();
            let nobody = found.near.iter().all(|(_, values)| values.is_empty());
            found.first = nobody && all(&load.namespace, &load.labels);
        }
        found.far = demand.far.iter().map(|term| there(&anywhere(cluster, term), &term.key)).collect();
        found.unwanted = cluster
            .census
            .bonds(load, namespaces)
            .filter_map(|(bond, counts)| match bond {
                Bond::Apart(term) => Some(there(counts, &term.key)),
                _ => None,
            })
            .collect();
        found
    }

    /// Whether a node is near and far enough.
    pub fn check(&self, node: &Facts) -> Result<(), Refusal> {
        let value = |key: &str| node.labels.get(key).map(String::as_str);
        let is_there = |(key, values): &Parts<'_>| value(key).is_some_and(|value| values.contains(value));
        let known = self.near.iter().all(|(key, _)| value(key).is_some());
        if !(known && (self.first || self.near.iter().all(is_there))) {
            return Err(Refusal::of(NOT_NEAR, Cure::NODE.and(Cure::NEIGHBOURS)));
        }
        if self.far.iter().any(is_there) {
            return Err(Refusal::crowded(NOT_FAR, Cure::NODE.and(Cure::NEIGHBOURS)));
        }
        if self.unwanted.iter().any(is_there) {
            return Err(Refusal::crowded(UNWANTED, Cure::NODE.and(Cure::NEIGHBOURS)));
        }
        Ok(())
    }
}

fn value<'a>(cluster: &'a Cluster, node: NodeId, key: &str) -> Option<&'a str> {
    cluster.place(node).facts.as_ref()?.labels.get(key).map(String::as_str)
}

/// How many pods that a term selects each node has.
fn anywhere(cluster: &Cluster, term: &Term) -> BTreeMap<NodeId, i64> {
    cluster.census.anywhere(|namespace, group| term.selects(namespace, &group.labels, &cluster.namespaces))
}

/// How much a pod and those that are there like each other, by label of nodes and its value. None where nobody has a say.
pub fn likings<'a>(demand: &'a Demand, cluster: &'a Cluster) -> Option<Likings<'a>> {
    let mut found = Likings::default();
    for (weight, term) in &demand.liked {
        found.add(cluster, &term.key, *weight, &anywhere(cluster, term));
    }
    for (bond, counts) in cluster.census.bonds(&demand.load, &cluster.namespaces) {
        match bond {
            Bond::Apart(_) => {}
            // Whoever had to be near somebody would have more of them: upstream's weight.
            Bond::Together(term) => found.add(cluster, &term.key, 1, counts),
            Bond::Likes(weight, term) => found.add(cluster, &term.key, *weight, counts),
        }
    }
    (!found.0.is_empty()).then_some(found)
}

/// Sums of weights.
#[derive(Debug, Default)]
pub struct Likings<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i64>>);

impl<'a> Likings<'a> {
    fn add(&mut self, cluster: &'a Cluster, key: &'a str, weight: i32, counts: &BTreeMap<NodeId, i64>) {
        for (node, count) in counts {
            if let Some(value) = value(cluster, *node, key) {
                let sum = self.0.entry(key).or_default().entry(value).or_default();
                *sum = sum.saturating_add(i64::from(weight).saturating_mul(*count));
            }
        }
    }

    /// What a node has of it.
    pub fn sum(&self, node: &Facts) -> i64 {
        let of = |(key, values): (&&str, &BTreeMap<&str, i64>)| {
            values.get(node.labels.get(*key)?.as_str()).copied()
        };
        self.0.iter().filter_map(of).fold(0, i64::saturating_add)
    }
}
