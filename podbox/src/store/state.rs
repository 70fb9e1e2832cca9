//! What there is: the objects of each collection, and what lately changed in it. Pure.
//!
//! **Invariant:** what is remembered of the past is bounded, per collection and over all of them; the collection
//! that remembers most forgets first, so that a busy one never costs the quiet ones their history. What is old is forgotten
//! however little it is.

use super::history::{Change, Expired, Happened, History};
pub use crate::api::key::Key;
use crate::limits;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Counts the writes of the whole store. The first is 2, so that 0 and 1 can mean `any` and `the beginning`.
pub type Revision = u64;

/// The revision of a store that nobody wrote to.
pub const FIRST: Revision = 1;

/// An object.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub key: Key,
    /// The write that made it so.
    pub revision: Revision,
    /// What it is.
    pub bytes: Bytes,
}

impl AsRef<[u8]> for Entry {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) objects: BTreeMap<Key, Arc<Entry>>,
    /// How many of them each namespace has; none has none.
    namespaces: HashMap<Box<str>, usize>,
    pub(super) history: History,
}

impl Collection {
    fn new(start: Revision) -> Collection {
        Collection { objects: BTreeMap::new(), namespaces: HashMap::new(), history: History::new(start) }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        let key = entry.key.clone();
        if self.objects.insert(key.clone(), entry).is_some() {
            return;
        }
        match self.namespaces.get_mut(key.namespace()) {
            Some(count) => *count += 1,
            None => drop(self.namespaces.insert(key.namespace().into(), 1)),
        }
    }

    fn remove(&mut self, key: &Key) {
        if self.objects.remove(key).is_none() {
            return;
        }
        if let Some(count) = self.namespaces.get_mut(key.namespace()) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(key.namespace());
            }
        }
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    revision: Revision,
    /// The revision at which this process began to remember changes.
    start: Revision,
    /// Bytes that all histories hold.
    remembered: usize,
    /// The revision at the last look at what is old: that is what is old at the next.
    aging: Revision,
    /// Nothing is shown as it was before this revision.
    oldest: Revision,
    collections: BTreeMap<Arc<str>, Collection>,
}

impl State {
    /// What was on disk.
    pub(super) fn new(revision: Revision, objects: impl IntoIterator<Item = (Arc<str>, Entry)>) -> State {
        let mut state = State {
            revision,
            start: revision,
            remembered: 0,
            aging: revision,
            oldest: revision,
            collections: BTreeMap::new(),
        };
        for (collection, entry) in objects {
            state.collection(&collection).put(Arc::new(entry));
        }
        state
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The collections' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.collections.keys()
    }

    /// A collection, made if it is not there.
    fn collection(&mut self, name: &Arc<str>) -> &mut Collection {
        let start = self.start;
        self.collections.entry(Arc::clone(name)).or_insert_with(|| Collection::new(start))
    }

    /// A collection, if it ever had an object since the start, and remembers all after a revision.
    pub(super) fn known(&self, name: &str, after: Revision) -> Result<Option<&Collection>, Expired> {
        let found = self.collections.get(name);
        let oldest = found.map_or(self.start, |collection| collection.history.complete_after());
        if after < oldest { Err(Expired { oldest }) } else { Ok(found) }
    }

    /// The oldest changes of a collection after a revision that `wanted` takes, at most so many and so many bytes (but
    /// one in any case), and up to which revision these are all.
    pub(super) fn changes(
        &self,
        collection: &str,
        after: Revision,
        limit: (usize, usize),
        wanted: impl Fn(&Change) -> bool,
    ) -> Result<(Vec<Arc<Change>>, Revision), Expired> {
        let all = self.revision.max(after);
        let Some(collection) = self.known(collection, after)? else { return Ok((Vec::new(), all)) };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for change in collection.history.after(after).filter(|change| wanted(change)) {
            bytes += change.entry.bytes.len();
            found.push(Arc::clone(change));
            if found.len() == limit.0 || bytes >= limit.1 {
                return Ok((found, change.entry.revision));
            }
        }
        Ok((found, all))
    }

    pub(super) fn get(&self, collection: &str, key: &Key) -> Option<&Arc<Entry>> {
        self.collections.get(collection)?.objects.get(key)
    }

    pub(super) fn count(&self, collection: &str) -> usize {
        self.collections.get(collection).map_or(0, |collection| collection.objects.len())
    }

    /// How many objects of a collection a namespace has.
    pub(super) fn count_in(&self, collection: &str, namespace: &str) -> usize {
        let collection = self.collections.get(collection);
        collection.and_then(|collection| collection.namespaces.get(namespace)).copied().unwrap_or(0)
    }

    pub(super) fn counts(&self) -> Vec<(String, usize)> {
        let collections = self.collections.iter();
        collections.map(|(name, collection)| (name.to_string(), collection.objects.len())).collect()
    }

    /// Makes changes that are durable visible.
    pub(super) fn publish(&mut self, changes: Vec<(Arc<str>, Change)>) {
        for (name, change) in changes {
            self.revision = self.revision.max(change.entry.revision);
            let collection = self.collection(&name);
            match change.happened {
                Happened::Deleted => collection.remove(&change.entry.key),
                Happened::Added | Happened::Modified => collection.put(Arc::clone(&change.entry)),
            }
            let before = collection.history.bytes();
            collection.history.push(Arc::new(change));
            let after = collection.history.bytes();
            self.remembered = self.remembered - before + after;
            while self.remembered > limits::HISTORY_BYTES_ALL && self.forget() {}
        }
    }

    /// Forgets what was before the last time that this was called.
    pub(super) fn age(&mut self) {
        self.oldest = std::mem::replace(&mut self.aging, self.revision);
        for history in self.collections.values_mut().map(|collection| &mut collection.history) {
            self.remembered -= history.forget_to(self.oldest);
        }
    }

    /// Nothing is shown as it was before this revision.
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Lets the history that holds most go by one change; tells whether there was any.
    fn forget(&mut self) -> bool {
        let histories = self.collections.values_mut().map(|collection| &mut collection.history);
        let freed = histories.max_by_key(|history| history.bytes()).map_or(0, History::forget);
        self.remembered -= freed;
        freed > 0
    }
}
