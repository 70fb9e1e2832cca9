//! What changed lately in a collection: for watchers, and to see it as it was. Pure, and bounded by number and
//! by bytes.

use super::state::{Entry, Key, Revision};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a watcher or a reader of an old state is too late for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version; the oldest there is is {oldest}")]
pub struct Expired {
    /// The oldest revision whose changes are still known.
    pub oldest: Revision,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It is new.
    Added,
    /// It is different.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub happened: Happened,
    /// The object after it; a deleted one in the state in which it went.
    pub entry: Arc<Entry>,
    /// The object before it.
    pub previous: Option<Arc<Entry>>,
}

#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Arc<Change>>,
    /// Bytes of the entries that only changes hold.
    bytes: usize,
    /// All changes after this revision are here.
    complete_after: Revision,
}

/// What a change takes beside the objects' bytes, about: itself, and an entry with its key.
const OVERHEAD: usize = 256;

/// What would be free without it: an object that was put is there until it is replaced, and then it is the previous
/// one of another change.
fn weight(change: &Change) -> usize {
    let previous = change.previous.as_ref().map_or(0, |entry| entry.bytes.len());
    let gone = if change.happened == Happened::Deleted { change.entry.bytes.len() } else { 0 };
    OVERHEAD + previous + gone
}

impl History {
    pub(super) fn new(complete_after: Revision) -> History {
        History { changes: VecDeque::new(), bytes: 0, complete_after }
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += weight(&change);
        self.changes.push_back(change);
        while self.changes.len() > limits::HISTORY_CHANGES || self.bytes > limits::HISTORY_BYTES {
            self.forget();
        }
    }

    /// Lets the oldest change go; tells how many bytes it held.
    pub(super) fn forget(&mut self) -> usize {
        let Some(oldest) = self.changes.pop_front() else { return 0 };
        self.complete_after = oldest.entry.revision;
        let freed = weight(&oldest);
        self.bytes -= freed;
        freed
    }

    /// Lets all changes up to a revision go; tells how many bytes they held.
    pub(super) fn forget_to(&mut self, revision: Revision) -> usize {
        let mut freed = 0;
        while self.changes.front().is_some_and(|change| change.entry.revision <= revision) {
            freed += self.forget();
        }
        freed
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All changes after this revision are here.
    pub(super) fn complete_after(&self) -> Revision {
        self.complete_after
    }

    /// The changes after a revision, in order. It must not be before [`complete_after`](Self::complete_after).
    pub(super) fn after(&self, after: Revision) -> impl Iterator<Item = &Arc<Change>> {
        let first = self.changes.partition_point(|change| change.entry.revision <= after);
        self.changes.range(first..)
    }

    /// What was different at a revision: per key, the object as it was then, or that there was none. It must not be
    /// before [`complete_after`](Self::complete_after).
    pub(super) fn undone(&self, at: Revision) -> BTreeMap<&Key, Option<Arc<Entry>>> {
        let mut then = BTreeMap::new();
        for change in self.after(at) {
            // The first change after then tells what there was.
            then.entry(&change.entry.key).or_insert_with(|| change.previous.clone());
        }
        then
    }
}
