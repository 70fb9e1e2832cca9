//! A ReplicaSet, as a Deployment sees it.

use super::super::meta::Meta;
use super::super::number;
use super::revision::{DESIRED, MAX, REVISION};
use crate::api::objects::Target;
use serde_json::Value;

/// One.
#[derive(Clone, Debug)]
pub struct Set {
    /// Where it is.
    pub at: Target,
    /// Its metadata.
    pub meta: Meta,
    /// As it is stored.
    pub object: Value,
    /// Its revision in the store.
    pub stored: u64,
}

impl Set {
    /// From an object as it is stored.
    pub fn new(at: Target, object: Value, stored: u64) -> Set {
        Set { at, meta: Meta::of(&object), object, stored }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.at.name
    }

    /// How many pods it is to have.
    pub fn replicas(&self) -> i32 {
        number(&self.object["spec"]["replicas"])
    }

    /// Whether it is to have any.
    pub fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    /// A number of its status.
    pub fn status(&self, field: &str) -> i32 {
        number(&self.object["status"][field])
    }

    /// How many of its pods are available.
    pub fn available(&self) -> i32 {
        self.status("availableReplicas")
    }

    /// Its number among the Deployment's ReplicaSets; 0 if it has none.
    pub fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How many replicas the Deployment wanted when this one was scaled last.
    pub fn wanted(&self) -> Option<i32> {
        self.annotation(DESIRED)?.parse().ok()
    }

    /// How many it allowed then.
    pub fn allowed(&self) -> Option<i32> {
        self.annotation(MAX)?.parse().ok()
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.meta.annotations.get(name).map(String::as_str)
    }

    /// Oldest first; of the same age by name.
    pub fn by_age(sets: &mut [Set]) {
        sets.sort_by(|a, b| a.age().cmp(&b.age()));
    }

    /// What it is sorted by.
    pub fn age(&self) -> (Option<jiff::Timestamp>, &str) {
        (self.meta.creation_timestamp, self.name())
    }
}
