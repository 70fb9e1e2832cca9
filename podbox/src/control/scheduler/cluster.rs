//! The nodes and what each of them holds, brought up to date by what changes: deciding costs nothing for what did not. Pure.
//!
//! Invariant: a node holds exactly the loads that were added to it and not taken again, whatever it says of itself meanwhile.

use super::census::Census;
use super::demand::Load;
use super::nominations::Nominations;
use super::place::{Facts, NodeId, Place, images};
use super::storage::Storage;
use super::term::Namespaces;
use crate::control::key::Key;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The nodes, and who is on them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    ids: BTreeMap<Arc<str>, NodeId>,
    places: Vec<Place>,
    /// Numbers that nobody has.
    free: Vec<NodeId>,
    /// What is known of a node before it says so itself.
    ahead: BTreeMap<Arc<str>, Vec<Taint>>,
    /// Who is where.
    pub census: Census,
    /// The labels of namespaces.
    pub namespaces: Namespaces,
    /// Claims and volumes.
    pub storage: Storage,
    /// For whom room is kept.
    pub nominations: Nominations,
}

impl Cluster {
    /// A node is like this now; tells whether somebody may fit it who did not.
    pub fn note(&mut self, name: &str, node: &Node) -> bool {
        let mut facts = Facts::of(node);
        for taint in self.ahead.get(name).into_iter().flatten() {
            if !facts.taints.iter().any(|other| (&other.key, &other.effect) == (&taint.key, &taint.effect)) {
                facts.taints.push(taint.clone());
            }
        }
        let id = self.id(name);
        let place = &mut self.places[id.0];
        place.images = images(node);
        let changed = place.facts.as_ref() != Some(&facts);
        place.facts = Some(facts);
        changed
    }

    /// A node has these taints, whether it says so already or not. Counts from its next change on.
    pub fn taint_ahead(&mut self, name: &str, taints: Vec<Taint>) {
        self.ahead.insert(name.into(), taints);
    }

    /// A node is gone; pods may still be on it.
    pub fn forget(&mut self, name: &str) {
        if let Some(id) = self.find(name) {
            self.places[id.0].facts = None;
            self.release(id);
        }
    }

    /// A pod is on a node.
    pub fn add(&mut self, pod: &Key, load: &Arc<Load>, node: NodeId) {
        self.places[node.0].add(pod, load);
        self.census.add(load, node);
        self.storage.add(&load.claims);
    }

    /// A pod is not any more.
    pub fn take(&mut self, pod: &Key, load: &Load, node: NodeId) {
        self.places[node.0].take(pod, load);
        self.census.take(load, node);
        self.storage.take(&load.claims);
        self.release(node);
    }

    /// The number that a node has, if it has one.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied()
    }

    /// The number of a node, of which nothing more need be known.
    pub fn id(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let place = Place::new(name.into());
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.places.push(place.clone());
                NodeId(self.places.len() - 1)
            }
        };
        self.ids.insert(Arc::clone(&place.name), id);
        self.places[id.0] = place;
        id
    }

    fn release(&mut self, id: NodeId) {
        let place = &self.places[id.0];
        if place.is_idle() && self.ids.remove(&place.name).is_some() {
            self.free.push(id);
        }
    }

    /// A node. Numbers come from here, so there is one.
    pub fn place(&self, id: NodeId) -> &Place {
        &self.places[id.0]
    }

    /// The nodes that say of themselves what they have, by their names.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Place, &Facts)> {
        self.ids.values().filter_map(|id| {
            let place = &self.places[id.0];
            Some((*id, place, place.facts.as_ref()?))
        })
    }

    /// The names of all of them.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.nodes().map(|(_, place, _)| Arc::clone(&place.name)).collect()
    }

    /// Whether there is nothing at all.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.census.is_empty()
            && self.storage.is_empty()
            && self.nominations.is_empty()
            && self.free.len() == self.places.len()
    }
}
