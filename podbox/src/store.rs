//! The objects of the API: versioned, watched, durable.
//!
//! ```text
//!   put, delete ──▶ bounded queue ──▶ writer thread: check each against the state and the batch so far
//!                                          │
//!                                          ▼ one durable transaction for all of them
//!                                        disk ──▶ publish to readers and watchers ──▶ acknowledge
//! ```
//!
//! It knows collections, keys, revisions and bytes, and nothing of kinds. Readers never wait for the disk; watchers
//! read the shared history by their own cursors, so a slow one holds up nobody and is told when it fell behind.
//!
//! **Invariant: nobody sees what is not durable, and what was acknowledged is never lost.** A batch whose
//! transaction fails leaves no trace, on disk or in memory.

mod disk;
mod history;
mod state;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use disk::DiskError;
pub use history::{Change, Happened};
pub use state::{Entry, Key, Page, Revision};
pub use watch::{Batch, Watch};

use crate::limits;
use bytes::Bytes;
use disk::Disk;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, oneshot, watch as watch_channel};

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The object as of this revision.
    Revision(Revision),
    /// Anything.
    Any,
}

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something else is there than was expected.
    #[error("the object was changed meanwhile")]
    Conflict(Option<Arc<Entry>>),
    /// The disk.
    #[error(transparent)]
    Disk(Arc<DiskError>),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}

/// What a watcher or a reader of an old state is too late for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version; the oldest there is is {oldest}")]
pub struct Expired {
    /// The oldest revision whose changes are still known.
    pub oldest: Revision,
}

type Make = Box<dyn FnOnce(Revision) -> Bytes + Send>;

/// A write on its way to the writer.
struct Command {
    collection: Arc<str>,
    key: Key,
    expected: Expected,
    put: bool,
    make: Make,
    reply: oneshot::Sender<Result<Arc<Entry>, WriteError>>,
}

/// What readers and the writer share.
struct Shared {
    state: RwLock<State>,
    /// Wakes watchers, by collection.
    wakes: Mutex<BTreeMap<Arc<str>, watch_channel::Sender<()>>>,
}

impl Shared {
    /// A poisoned lock only says that a reader panicked; the writer changes the state whole.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at each change of a collection.
    fn wake(&self, collection: &str) -> watch_channel::Receiver<()> {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        match wakes.get(collection) {
            Some(wake) => wake.subscribe(),
            None => wakes.entry(collection.into()).or_default().subscribe(),
        }
    }

    /// Makes changes that are durable visible, and wakes who waits for them.
    fn publish(&self, changes: Vec<(Arc<str>, Change)>) {
        let touched: BTreeSet<Arc<str>> = changes.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.state.write().unwrap_or_else(PoisonError::into_inner).publish(changes);
        let wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        for wake in touched.iter().filter_map(|name| wakes.get(name)) {
            wake.send_replace(());
        }
    }
}

/// The store. Clones share one; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, and makes both if they are not there. The file is root's alone.
    pub fn open(dir: &Path) -> Result<Store, DiskError> {
        let (disk, state) = Disk::open(dir)?;
        let shared = Arc::new(Shared { state: RwLock::new(state), wakes: Mutex::default() });
        let (commands, queue) = mpsc::channel(limits::STORE_QUEUE);
        writer::spawn(Arc::clone(&shared), disk, queue)?;
        Ok(Store { shared, commands })
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.shared.read().revision()
    }

    /// An object.
    pub fn get(&self, collection: &str, key: &Key) -> Option<Arc<Entry>> {
        self.shared.read().get(collection, key).cloned()
    }

    /// Objects of a collection in the order of their keys: those of `namespace`, if given, after `after`, at most
    /// `limit` (0 for all), as of the revision `at` or the newest.
    pub fn list(
        &self,
        collection: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, Expired> {
        self.shared.read().list(collection, namespace, after, limit, at)
    }

    /// Changes of a collection after a revision.
    pub fn watch(
        &self,
        collection: &str,
        namespace: Option<&str>,
        after: Revision,
    ) -> Result<Watch, Expired> {
        Watch::new(Arc::clone(&self.shared), collection, namespace, after)
    }

    /// How many objects each collection has.
    pub fn counts(&self) -> Vec<(String, usize)> {
        self.shared.read().counts()
    }

    /// Puts an object in place of what is expected; `make` is told the revision it gets. Resolves once it is durable.
    pub async fn put(
        &self,
        collection: &str,
        key: &Key,
        expected: Expected,
        make: impl FnOnce(Revision) -> Bytes + Send + 'static,
    ) -> Result<Arc<Entry>, WriteError> {
        self.send(collection, key, expected, true, Box::new(make)).await
    }

    /// Takes an object away; `make` gives the state in which watchers see it go. Resolves once that is durable.
    pub async fn delete(
        &self,
        collection: &str,
        key: &Key,
        expected: Expected,
        make: impl FnOnce(Revision) -> Bytes + Send + 'static,
    ) -> Result<Arc<Entry>, WriteError> {
        self.send(collection, key, expected, false, Box::new(make)).await
    }

    async fn send(
        &self,
        collection: &str,
        key: &Key,
        expected: Expected,
        put: bool,
        make: Make,
    ) -> Result<Arc<Entry>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let command = Command { collection: collection.into(), key: key.clone(), expected, put, make, reply };
        self.commands.send(command).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }
}
