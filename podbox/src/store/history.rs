//! What changed lately in a collection: for watchers, and to see it as it was. Pure, and bounded by number and
//! by bytes.

use super::Expired;
use super::state::{Entry, FIRST, Key, Revision};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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

impl Default for History {
    fn default() -> History {
        History::new(FIRST)
    }
}

fn weight(change: &Change) -> usize {
    let previous = change.previous.as_ref().map_or(0, |entry| entry.bytes.len());
    previous + if change.happened == Happened::Deleted { change.entry.bytes.len() } else { 0 }
}

impl History {
    pub(super) fn new(complete_after: Revision) -> History {
        History { changes: VecDeque::new(), bytes: 0, complete_after }
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += weight(&change);
        self.changes.push_back(change);
        while self.changes.len() > limits::HISTORY_CHANGES || self.bytes > limits::HISTORY_BYTES {
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes -= weight(&oldest);
            self.complete_after = oldest.entry.revision;
        }
    }

    fn check(&self, after: Revision) -> Result<(), Expired> {
        match after < self.complete_after {
            true => Err(Expired { oldest: self.complete_after }),
            false => Ok(()),
        }
    }

    /// At most `limit` changes after a revision, in order.
    pub(super) fn after(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<impl Iterator<Item = &Arc<Change>>, Expired> {
        self.check(after)?;
        let first = self.changes.partition_point(|change| change.entry.revision <= after);
        Ok(self.changes.range(first..).take(limit))
    }

    /// What was different at a revision: per key, the object as it was then, or that there was none.
    pub(super) fn undone(&self, at: Revision) -> Result<BTreeMap<&Key, Option<Arc<Entry>>>, Expired> {
        self.check(at)?;
        let first = self.changes.partition_point(|change| change.entry.revision <= at);
        let mut then = BTreeMap::new();
        for change in self.changes.range(first..) {
            // The first change after then tells what there was.
            then.entry(&change.entry.key).or_insert_with(|| change.previous.clone());
        }
        Ok(then)
    }
}
