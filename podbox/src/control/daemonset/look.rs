//! A DaemonSet's pods by the nodes that they are for. Pure.

use super::eligible::{Eligible, Place};
use super::{DaemonSet, Observed};
use crate::control::pods::{Member, Phase};
use crate::control::revision::LABEL;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A set, its nodes and its pods, sorted out.
pub struct Look<'a> {
    pub set: &'a DaemonSet,
    pub observed: &'a Observed<'a>,
    /// The hashes of the template, that of the newest revision first.
    pub hashes: Vec<&'a str>,
    /// What each node is to the set.
    pub places: BTreeMap<&'a str, Place>,
    /// Pods by node, of each those that are there and the oldest first. Ended ones that are to go count for nothing.
    pub pods: BTreeMap<&'a str, Vec<&'a Member>>,
    pub now: Timestamp,
}

/// The pods of a node that stay: of the newest revision, and of an older one.
pub struct Pair<'a> {
    pub new: Option<&'a Member>,
    pub old: Option<&'a Member>,
}

/// The hash of the revision that a pod says it is of.
pub fn hash(pod: &Member) -> Option<&str> {
    pod.labels.get(LABEL).map(String::as_str)
}

impl<'a> Look<'a> {
    pub fn new(
        set: &'a DaemonSet,
        pods: &[&'a Member],
        hashes: Vec<&'a str>,
        (observed, eligible): (&'a Observed<'a>, &Eligible),
        now: Timestamp,
    ) -> Look<'a> {
        let places = observed.nodes.iter().map(|(name, facts)| (name, eligible.place(name, facts)));
        let mut by_node: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !(pod.deleting && pod.phase == Phase::Ended)) {
            if let Some(node) = pod.place() {
                by_node.entry(node).or_default().push(pod);
            }
        }
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| (pod.node.is_none(), pod.created, &pod.key));
        }
        Look { set, observed, hashes, places: places.collect(), pods: by_node, now }
    }

    /// Those for a node.
    pub fn on(&self, node: &str) -> &[&'a Member] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    /// The nodes that are to have a pod.
    pub fn wanted(&self) -> impl Iterator<Item = &'a str> {
        self.places.iter().filter(|(_, place)| **place == Place::Wanted).map(|(name, _)| *name)
    }

    /// Nodes that are to have a pod, or have one.
    pub fn concerned(&self) -> impl Iterator<Item = &'a str> {
        let others = self.pods.keys().filter(|node| self.places.get(*node) != Some(&Place::Wanted));
        self.wanted().chain(others.copied())
    }

    /// The pods of a node that are not to go; none, if there are several of a sort.
    pub fn pair(&self, node: &str) -> Option<Pair<'a>> {
        let mut pair = Pair { new: None, old: None };
        for pod in self.on(node).iter().filter(|pod| !pod.deleting) {
            let place = if self.is_new(pod) { &mut pair.new } else { &mut pair.old };
            if place.replace(*pod).is_some() {
                return None;
            }
        }
        Some(pair)
    }

    /// Whether a pod is of the template that the set has now.
    pub fn is_new(&self, pod: &Member) -> bool {
        hash(pod).is_some_and(|hash| self.hashes.contains(&hash))
    }

    /// Whether it has been ready for long enough.
    pub fn is_available(&self, pod: &Member) -> bool {
        pod.available_from(self.set.workload.min_ready_seconds()).is_some_and(|from| from <= self.now)
    }

    /// When the next pod becomes available by being ready for longer.
    pub fn next_available(&self) -> Option<Timestamp> {
        let pods = self.pods.values().flatten();
        let times = pods.filter_map(|pod| pod.available_from(self.set.workload.min_ready_seconds()));
        times.filter(|from| *from > self.now).min()
    }
}
