//! A watcher: a cursor in a collection's history, woken when the store's revision grows.

use super::history::Change;
use super::state::Revision;
use super::{Expired, Shared};
use crate::limits;
use std::sync::Arc;
use tokio::sync::watch;

/// Some changes, and up to where they go.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In order; may be empty, if others' objects changed.
    pub changes: Vec<Arc<Change>>,
    /// Every change up to this revision was told.
    pub revision: Revision,
}

/// Tells changes of one collection, from some revision on, without a gap.
pub struct Watch {
    shared: Arc<Shared>,
    collection: Box<str>,
    namespace: Option<Box<str>>,
    cursor: Revision,
    wake: watch::Receiver<()>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({} after {})", self.collection, self.cursor)
    }
}

impl Watch {
    pub(super) fn new(
        shared: Arc<Shared>,
        collection: &str,
        namespace: Option<&str>,
        after: Revision,
    ) -> Result<Watch, Expired> {
        // Before looking, so that what comes meanwhile wakes.
        let wake = shared.wake(collection);
        shared.read().changes(collection, after, 0)?;
        let namespace = namespace.map(Into::into);
        Ok(Watch { shared, collection: collection.into(), namespace, cursor: after, wake })
    }

    /// The next changes; waits until there are some. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Batch, Expired> {
        loop {
            // Before looking, so that what comes meanwhile wakes.
            self.wake.borrow_and_update();
            let batch = self.read()?;
            if !batch.changes.is_empty() {
                return Ok(batch);
            }
            if self.wake.changed().await.is_err() {
                // The store is closed; nothing will ever change.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What there is to tell now, without waiting. All was told if no change comes back.
    pub fn read(&mut self) -> Result<Batch, Expired> {
        let state = self.shared.read();
        let mut changes = state.changes(&self.collection, self.cursor, limits::WATCH_BATCH)?;
        let whole = changes.len() < limits::WATCH_BATCH;
        let last = changes.last().map_or(self.cursor, |change| change.entry.revision);
        self.cursor = if whole { state.revision().max(self.cursor) } else { last };
        drop(state);
        if let Some(namespace) = &self.namespace {
            changes.retain(|change| change.entry.key.namespace() == &**namespace);
        }
        Ok(Batch { changes, revision: self.cursor })
    }
}
