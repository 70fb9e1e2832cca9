//! What there is: the objects of each collection, as of the newest revision or of an earlier one. Pure.

use super::Expired;
use super::history::{Change, Happened, History};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// Counts the writes of the whole store. The first is 2, so that 0 and 1 can mean `any` and `the beginning`.
pub type Revision = u64;

/// The revision of a store that nobody wrote to.
pub const FIRST: Revision = 1;

/// Where an object is in its collection: `namespace/name`, or the name alone where there are no namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// The key of an object. Neither word may have a slash; the API's names have none.
    pub fn new(namespace: &str, name: &str) -> Key {
        match namespace {
            "" => Key(name.into()),
            namespace => Key(format!("{namespace}/{name}").into()),
        }
    }

    /// A key as it was written down.
    pub fn raw(text: &str) -> Key {
        Key(text.into())
    }

    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace; empty if there is none.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
    }

    fn is_in(&self, namespace: Option<&str>) -> bool {
        namespace.is_none_or(|namespace| self.namespace() == namespace)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// Some objects of a collection, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// As of which revision.
    pub revision: Revision,
    /// In the order of their keys.
    pub entries: Vec<Arc<Entry>>,
    /// How many more there are.
    pub remaining: usize,
}

#[derive(Debug)]
struct Collection {
    objects: BTreeMap<Key, Arc<Entry>>,
    history: History,
}

impl Collection {
    fn new(start: Revision) -> Collection {
        Collection { objects: BTreeMap::new(), history: History::new(start) }
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    revision: Revision,
    /// The revision at which this process began to remember changes.
    start: Revision,
    collections: BTreeMap<Arc<str>, Collection>,
}

impl State {
    /// What was on disk.
    pub(super) fn new(revision: Revision, objects: impl IntoIterator<Item = (Arc<str>, Entry)>) -> State {
        let mut state = State { revision, start: revision, collections: BTreeMap::new() };
        for (collection, entry) in objects {
            let collection = state.collection(&collection);
            collection.objects.insert(entry.key.clone(), Arc::new(entry));
        }
        state
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// A collection, made if it is not there.
    fn collection(&mut self, name: &Arc<str>) -> &mut Collection {
        let start = self.start;
        self.collections.entry(Arc::clone(name)).or_insert_with(|| Collection::new(start))
    }

    /// At most so many changes of a collection after a revision.
    pub(super) fn changes(
        &self,
        collection: &str,
        after: Revision,
        limit: usize,
    ) -> Result<Vec<Arc<Change>>, Expired> {
        match self.collections.get(collection) {
            Some(collection) => Ok(collection.history.after(after, limit)?.cloned().collect()),
            None if after < self.start => Err(Expired { oldest: self.start }),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn get(&self, collection: &str, key: &Key) -> Option<&Arc<Entry>> {
        self.collections.get(collection)?.objects.get(key)
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
                Happened::Deleted => drop(collection.objects.remove(&change.entry.key)),
                Happened::Added | Happened::Modified => {
                    collection.objects.insert(change.entry.key.clone(), Arc::clone(&change.entry));
                }
            }
            collection.history.push(Arc::new(change));
        }
    }

    pub(super) fn list(
        &self,
        collection: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, Expired> {
        let revision = at.unwrap_or(self.revision).min(self.revision);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page = Page { revision, entries: Vec::new(), remaining: 0 };
        let Some(collection) = self.collections.get(collection) else {
            return if revision < self.start { Err(Expired { oldest: self.start }) } else { Ok(page) };
        };
        let then = collection.history.undone(revision)?;
        let from = match (after, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included(Key::raw(&format!("{namespace}/"))),
            (None, None) => Bound::Unbounded,
        };
        let now =
            collection.objects.range((from.clone(), Bound::Unbounded)).map(|(key, entry)| (key, Some(entry)));
        let then = then.range((from, Bound::Unbounded)).map(|(key, entry)| (*key, entry.as_ref()));
        let merged = Merged { now: now.peekable(), then: then.peekable() };
        for entry in merged {
            if !entry.key.is_in(namespace) {
                // Keys of a namespace are neighbours.
                break;
            }
            match page.entries.len() < limit {
                true => page.entries.push(Arc::clone(entry)),
                false => page.remaining += 1,
            }
        }
        Ok(page)
    }
}

/// What there is now, but for the keys that were different then.
struct Merged<N: Iterator, T: Iterator> {
    now: std::iter::Peekable<N>,
    then: std::iter::Peekable<T>,
}

impl<'a, N, T> Iterator for Merged<N, T>
where
    N: Iterator<Item = (&'a Key, Option<&'a Arc<Entry>>)>,
    T: Iterator<Item = (&'a Key, Option<&'a Arc<Entry>>)>,
{
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (now, then) = (self.now.peek().map(|(key, _)| *key), self.then.peek().map(|(key, _)| *key));
            let entry = match (now, then) {
                (None, None) => return None,
                (Some(now), Some(then)) if now == then => {
                    self.now.next();
                    self.then.next()
                }
                (Some(now), Some(then)) if then < now => self.then.next(),
                (None, Some(_)) => self.then.next(),
                (Some(_), _) => self.now.next(),
            };
            if let Some((_, Some(entry))) = entry {
                return Some(entry);
            }
        }
    }
}
