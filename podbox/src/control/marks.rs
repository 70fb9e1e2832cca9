//! Objects by the one that a label of theirs names. Pure.

use super::key::Key;
use super::pods::drop_from;
use std::collections::{BTreeMap, BTreeSet};

/// The index.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    named: BTreeMap<Key, Key>,
    by_name: BTreeMap<Key, BTreeSet<Key>>,
}

impl Marks {
    /// An object names that one now, or none. Gives back which it named before.
    pub fn note(&mut self, key: &Key, names: Option<Key>) -> Option<Key> {
        let before = self.named.remove(key);
        if let Some(before) = &before {
            drop_from(&mut self.by_name, before, key);
        }
        if let Some(names) = names {
            self.by_name.entry(names.clone()).or_default().insert(key.clone());
            self.named.insert(key.clone(), names);
        }
        before
    }

    /// Those that name this one.
    pub fn of(&self, name: &Key) -> impl Iterator<Item = &Key> {
        self.by_name.get(name).into_iter().flatten()
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.named.keys()
    }
}
