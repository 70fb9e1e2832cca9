//! A watcher: a cursor in a collection's history, woken when the collection changes.
//!
//! It has no queue: a slow one holds up nobody and takes no memory. When history has moved on past its cursor it is
//! told so, once and clearly, rather than left with a gap.

use super::Shared;
use super::history::{Change, Expired};
use super::state::Revision;
use super::watches::Bell;
use crate::{limits, metrics as table};
use std::sync::Arc;
use tokio::sync::watch;

/// Some changes, and up to where they go.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order.
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
        shared.read().known(collection, after)?;
        let namespace = namespace.map(Into::into);
        ::metrics::gauge!(table::STORE_WATCHERS).increment(1.0);
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
                // Never: it is the store's, which this holds. But without it nothing would ever change.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What there is to tell now, without waiting. If it has no changes, everything up to its revision was told: the
    /// moment for a bookmark.
    pub fn read(&mut self) -> Result<Batch, Expired> {
        let namespace = self.namespace.as_deref();
        let wanted = |change: &Change| change.entry.key.is_in(namespace);
        let limit = (limits::WATCH_BATCH, limits::WATCH_BATCH_BYTES);
        let found = self.shared.read().changes(&self.collection, self.cursor, limit, wanted);
        let (changes, revision) = found.inspect_err(|_| {
            ::metrics::counter!(table::STORE_WATCHES_EXPIRED).increment(1);
        })?;
        self.cursor = revision;
        Ok(Batch { changes, revision })
    }

    /// Has changes of the collection ring a bell, too; they are this number there.
    pub(super) fn rings(&self, bell: &Arc<Bell>, number: usize) {
        self.shared.rings(&self.collection, bell, number);
    }

    /// Every change up to this revision was told.
    pub fn revision(&self) -> Revision {
        self.cursor
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        ::metrics::gauge!(table::STORE_WATCHERS).decrement(1.0);
    }
}
