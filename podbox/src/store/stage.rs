//! A batch in the making: each write is checked against the state and what the batch already did. Pure.
//!
//! **Invariant:** revisions are given out without a gap, one per change; a write that changes nothing takes none.

use super::history::{Change, Happened};
use super::state::{Entry, Key, Revision, State};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// What a write wants done, now that it has seen what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// This is the object from now on.
    Put(Bytes),
    /// The object goes, in this state: what watchers are told. Where nothing is, nothing is done.
    Delete(Bytes),
    /// Nothing.
    Keep,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// This is there now.
    Put(Arc<Entry>),
    /// This went, in this state.
    Deleted(Arc<Entry>),
    /// Nothing; this is there.
    Kept(Option<Arc<Entry>>),
}

impl Written {
    /// The object, whatever was done to it.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Written::Put(entry) | Written::Deleted(entry) => Some(entry),
            Written::Kept(entry) => entry.as_ref(),
        }
    }
}

/// Where an object is: collection and key.
type Place = (Arc<str>, Key);

/// Changes that are not yet durable.
#[derive(Debug)]
pub(super) struct Staged {
    revision: Revision,
    changes: Vec<(Arc<str>, Change)>,
    /// The latest state of what the batch touched.
    latest: HashMap<Place, Option<Arc<Entry>>>,
    bytes: usize,
}

impl Staged {
    pub(super) fn new(state: &State) -> Staged {
        Staged { revision: state.revision(), changes: Vec::new(), latest: HashMap::new(), bytes: 0 }
    }

    /// The revision once it is done.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Bytes of the objects in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn changes(&self) -> &[(Arc<str>, Change)] {
        &self.changes
    }

    pub(super) fn into_changes(self) -> Vec<(Arc<str>, Change)> {
        self.changes
    }

    /// Lets `decide` see what is there and the revision that is next, and does what it says, if it says something.
    pub(super) fn add(
        &mut self,
        state: &State,
        collection: Arc<str>,
        key: Key,
        decide: impl FnOnce(Option<&Arc<Entry>>, Revision) -> Option<Op>,
    ) -> Option<Written> {
        let place = (collection, key);
        let current = match self.latest.get(&place) {
            Some(staged) => staged.clone(),
            None => state.get(&place.0, &place.1).cloned(),
        };
        let revision = self.revision + 1;
        let (bytes, put) = match decide(current.as_ref(), revision)? {
            Op::Put(bytes) => (bytes, true),
            Op::Delete(bytes) if current.is_some() => (bytes, false),
            Op::Delete(_) | Op::Keep => return Some(Written::Kept(current)),
        };
        let happened = match (put, &current) {
            (false, _) => Happened::Deleted,
            (true, None) => Happened::Added,
            (true, Some(_)) => Happened::Modified,
        };
        // A copy of exactly this length: what came may be a part of a larger buffer, which it would keep.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.bytes += bytes.len();
        self.revision = revision;
        let entry = Arc::new(Entry { key: place.1.clone(), revision, bytes });
        self.changes
            .push((Arc::clone(&place.0), Change { happened, entry: Arc::clone(&entry), previous: current }));
        self.latest.insert(place, put.then(|| Arc::clone(&entry)));
        Some(if put { Written::Put(entry) } else { Written::Deleted(entry) })
    }
}
