//! Nodes, as far as they decide what is to run on them. Pure.

use super::key::Key;
use super::meta::{Labels, Meta};
use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What of a node is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Nodes(BTreeMap<Key, Facts>);

#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    taints: Vec<Taint>,
}

impl Nodes {
    /// A node is like this now. Gives back its metadata, and whether anything is different that is known of it.
    pub fn note(&mut self, key: &Key, bytes: &[u8]) -> Option<(Meta, bool)> {
        let Raw { metadata, spec } = serde_json::from_slice(bytes).ok()?;
        let facts = Facts { labels: metadata.labels.clone(), taints: spec.taints };
        let differs = self.0.get(key) != Some(&facts);
        if differs {
            self.0.insert(key.clone(), facts);
        }
        Some((metadata, differs))
    }

    /// A node is gone.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Facts)> {
        self.0.iter().map(|(key, facts)| (key.name(), facts))
    }

    /// The same.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }
}
