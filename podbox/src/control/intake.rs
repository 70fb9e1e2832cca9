//! How what a store shows comes to the controllers: its changes, or all of a collection where those were missed. The manager
//! and the simulation take it in by this; where it comes from, and when, is theirs.

use super::controllers::Controllers;
use super::key::{Key, KindId};
use super::source::{Found, Source};
use crate::store::memory::Memory;
use crate::store::{Change, Entry, Happened, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Source for Store {
    fn get(&self, collection: &str, key: &Key) -> Option<Found> {
        Store::get(self, collection, key).map(|entry| found(&entry))
    }

    fn named(&self, collection: &str, name: &str) -> Vec<Found> {
        let Ok(page) = self.list(collection, None, None, 0, None) else { return Vec::new() };
        namesakes(&page.entries, name)
    }
}

impl Source for Memory {
    fn get(&self, collection: &str, key: &Key) -> Option<Found> {
        Memory::get(self, collection, key).map(|entry| found(entry))
    }

    fn named(&self, collection: &str, name: &str) -> Vec<Found> {
        namesakes(&self.list(collection), name)
    }
}

fn found(entry: &Entry) -> Found {
    Found { bytes: entry.bytes.clone(), revision: entry.revision }
}

fn namesakes(entries: &[Arc<Entry>], name: &str) -> Vec<Found> {
    entries.iter().filter(|entry| entry.key.name() == name).map(|entry| found(entry)).collect()
}

/// Shows controllers these changes of a kind's objects.
pub fn changes(controllers: &mut Controllers, kind: KindId, changes: &[Arc<Change>]) {
    for change in changes {
        let Entry { key, bytes, .. } = &*change.entry;
        match change.happened {
            Happened::Added | Happened::Modified => controllers.note(kind, key, bytes),
            Happened::Deleted => controllers.forget(kind, key, bytes),
        }
    }
}

/// Shows controllers all objects of a kind that there are; others that they know are gone.
pub fn all(controllers: &mut Controllers, kind: KindId, entries: &[Arc<Entry>]) {
    entries.iter().for_each(|entry| controllers.note(kind, &entry.key, &entry.bytes));
    let there: BTreeSet<Key> = entries.iter().map(|entry| entry.key.clone()).collect();
    controllers.resume(kind, &there);
}
