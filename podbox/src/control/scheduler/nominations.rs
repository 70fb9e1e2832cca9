//! Nodes that are kept for pods for which others are made to go: until it has its node, nobody of lower priority takes the room. Pure.

use super::demand::Load;
use crate::control::key::Key;
use crate::control::pods::drop_from;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who is to be where.
#[derive(Clone, Debug, Default)]
pub struct Nominations {
    all: BTreeMap<Key, (Arc<str>, Arc<Load>)>,
    on: BTreeMap<Arc<str>, BTreeSet<Key>>,
}

impl Nominations {
    /// A pod is to be on this node, or on none in particular.
    pub fn set(&mut self, pod: &Key, node: Option<&Arc<str>>, load: &Arc<Load>) {
        self.remove(pod);
        if let Some(node) = node {
            self.all.insert(pod.clone(), (Arc::clone(node), Arc::clone(load)));
            self.on.entry(Arc::clone(node)).or_default().insert(pod.clone());
        }
    }

    /// A pod has a node, or wants none any more; tells whether one was kept for it.
    pub fn remove(&mut self, pod: &Key) -> bool {
        let Some((node, _)) = self.all.remove(pod) else { return false };
        drop_from(&mut self.on, &node, pod);
        true
    }

    /// The node that is kept for a pod.
    pub fn of(&self, pod: &Key) -> Option<&Arc<str>> {
        self.all.get(pod).map(|(node, _)| node)
    }

    /// The nodes that are kept for somebody.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.on.keys()
    }

    /// Who is to be on a node.
    pub fn on(&self, node: &str) -> impl Iterator<Item = (&Key, &Arc<Load>)> {
        let pods = self.on.get(node).into_iter().flatten();
        pods.filter_map(|pod| Some((pod, &self.all.get(pod)?.1)))
    }

    /// Those for whom a node is kept in view of another pod: at least as important, and not itself.
    pub fn before(&self, pod: &Key, priority: i32, node: &str) -> Vec<(Key, Arc<Load>)> {
        let others = self.on(node).filter(|(key, load)| *key != pod && load.priority >= priority);
        others.map(|(key, load)| (key.clone(), Arc::clone(load))).collect()
    }

    /// Whether none is kept for anybody.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.on.is_empty()
    }
}
