//! Which pods are on which nodes, counted by what other pods may ask of them: labels, and who controls them. Pure.
//!
//! Pods with the same labels are one group, so that a selector is held against as many groups as there are templates, not
//! against pods. What pods that are there ask of those that come (their bonds) is counted in the same way.

use super::demand::{Bond, Load};
use super::place::NodeId;
use super::term::Namespaces;
use crate::control::meta::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the pods of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Their labels.
    pub labels: Arc<Labels>,
    /// Whether they are on their way out.
    pub going: bool,
}

/// How many on each node; nodes without any are not in it.
pub type Counts = BTreeMap<NodeId, i64>;

/// The census.
#[derive(Clone, Debug, Default)]
pub struct Census {
    groups: BTreeMap<Arc<str>, BTreeMap<Group, Counts>>,
    bonds: BTreeMap<Bond, Counts>,
    /// Those that stay, by who controls them: labels may tell each of its pods from the others.
    controlled: BTreeMap<Arc<str>, Counts>,
}

impl Census {
    /// A pod is on a node.
    pub fn add(&mut self, load: &Load, node: NodeId) {
        let groups = self.groups.entry(Arc::clone(&load.namespace)).or_default();
        *groups.entry(group(load)).or_default().entry(node).or_default() += 1;
        for bond in &load.bonds {
            *self.bonds.entry(bond.clone()).or_default().entry(node).or_default() += 1;
        }
        if let Some(controller) = staying(load) {
            *self.controlled.entry(Arc::clone(controller)).or_default().entry(node).or_default() += 1;
        }
    }

    /// It is not any more.
    pub fn take(&mut self, load: &Load, node: NodeId) {
        if let Some(groups) = self.groups.get_mut(&load.namespace) {
            one_less(groups, &group(load), node);
            if groups.is_empty() {
                self.groups.remove(&load.namespace);
            }
        }
        load.bonds.iter().for_each(|bond| one_less(&mut self.bonds, bond, node));
        if let Some(controller) = staying(load) {
            one_less(&mut self.controlled, controller, node);
        }
    }

    /// How many pods that stay one controller has on each node.
    pub fn of_controller(&self, controller: &str) -> &Counts {
        static NONE: Counts = Counts::new();
        self.controlled.get(controller).unwrap_or(&NONE)
    }

    /// How many pods of a namespace, in such groups, each node has.
    pub fn among(&self, namespace: &str, such: impl Fn(&Group) -> bool) -> Counts {
        let groups = self.groups.get(namespace).into_iter().flatten();
        total(groups.filter(|(group, _)| such(group)).map(|(_, counts)| counts))
    }

    /// The same of all namespaces.
    pub fn anywhere(&self, such: impl Fn(&str, &Group) -> bool) -> Counts {
        let groups =
            self.groups.iter().flat_map(|(namespace, groups)| groups.iter().map(move |of| (namespace, of)));
        total(groups.filter(|(namespace, (group, _))| such(namespace, group)).map(|(_, (_, counts))| counts))
    }

    /// The bonds that are about a pod, with how many pods of each node have them.
    pub fn bonds<'a>(
        &'a self,
        load: &'a Load,
        namespaces: &'a Namespaces,
    ) -> impl Iterator<Item = (&'a Bond, &'a Counts)> {
        self.bonds.iter().filter(move |(bond, _)| {
            let (Bond::Apart(term) | Bond::Together(term) | Bond::Likes(_, term)) = bond;
            term.selects(&load.namespace, &load.labels, namespaces)
        })
    }

    /// Whether nobody is anywhere.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.bonds.is_empty() && self.controlled.is_empty()
    }
}

fn group(load: &Load) -> Group {
    Group { labels: Arc::clone(&load.labels), going: load.going }
}

/// Who controls a pod that is not on its way out.
fn staying(load: &Load) -> Option<&Arc<str>> {
    load.spreader.as_ref().filter(|_| !load.going)
}

fn total<'a>(all: impl Iterator<Item = &'a Counts>) -> Counts {
    let mut sum = Counts::new();
    for (node, count) in all.flatten() {
        *sum.entry(*node).or_default() += count;
    }
    sum
}

fn one_less<K: Ord>(all: &mut BTreeMap<K, Counts>, key: &K, node: NodeId) {
    let Some(counts) = all.get_mut(key) else { return };
    if let Some(count) = counts.get_mut(&node) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&node);
        }
    }
    if counts.is_empty() {
        all.remove(key);
    }
}
