//! The part of the scheduler that is told of nodes, namespaces and budgets for disruptions. Pure.

use super::verdict::Cure;
use super::{Scheduler, unread};
use crate::control::key::Key;
use crate::control::meta::Head;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

impl Scheduler {
    /// A node is like this now.
    pub fn note_node(&mut self, key: &Key, bytes: &[u8]) {
        match serde_json::from_slice::<Node>(bytes) {
            Ok(node) if self.cluster.note(key.name(), &node) => self.stirred = Cure::ANY,
            Ok(_) => {}
            Err(error) => unread("node", key, &error),
        }
    }

    /// A node is gone. Who waits for parts of the cluster to be even may be helped.
    pub fn forget_node(&mut self, key: &Key) {
        self.cluster.forget(key.name());
        self.stirred = Cure::ANY;
    }

    /// A node has these taints, though it may not say so yet. Its next look says what follows.
    pub fn taint_ahead(&mut self, node: &str, taints: Vec<Taint>) {
        self.cluster.taint_ahead(node, taints);
    }

    /// A namespace is like this now.
    pub fn note_namespace(&mut self, key: &Key, bytes: &[u8]) {
        let labels = Head::read(bytes).labels;
        if self.cluster.namespaces.get(key.name()) != Some(&labels) {
            self.cluster.namespaces.insert(key.name().into(), labels);
            self.stirred = self.stirred.and(Cure::NEIGHBOURS);
        }
    }

    /// A namespace is gone.
    pub fn forget_namespace(&mut self, key: &Key) {
        self.cluster.namespaces.remove(key.name());
    }

    /// A budget for disruptions is like this now.
    pub fn note_budget(&mut self, key: &Key, bytes: &[u8]) {
        match serde_json::from_slice::<PodDisruptionBudget>(bytes) {
            Ok(budget) => self.budgets.note(key, &budget),
            Err(error) => unread("budget", key, &error),
        }
    }

    /// A budget is gone.
    pub fn forget_budget(&mut self, key: &Key) {
        self.budgets.forget(key);
    }

    /// The keys of all nodes.
    pub fn nodes(&self) -> Vec<Key> {
        self.cluster.names().iter().map(|name| Key::new("", name)).collect()
    }

    /// The keys of all namespaces.
    pub fn namespaces(&self) -> Vec<Key> {
        self.cluster.namespaces.keys().map(|name| Key::new("", name)).collect()
    }

    /// The keys of all budgets.
    pub fn budgets(&self) -> Vec<Key> {
        self.budgets.keys()
    }
}
