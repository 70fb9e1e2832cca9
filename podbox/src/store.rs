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

mod announce;
mod command;
mod disk;
mod error;
mod file;
mod history;
pub mod memory;
mod stage;
mod state;
mod view;
mod watch;
mod watches;
mod writer;

#[cfg(test)]
mod tests;

pub use error::DiskError;
pub use history::{Change, Expired, Happened};
pub use stage::{Op, Written};
pub use state::{Entry, Key, Revision};
pub use view::Page;
pub use watch::{Batch, Watch};
pub use watches::Watches;

use crate::{limits, metrics as table};
use bytes::Bytes;
use command::{Command, Message, Write};
use disk::Disk;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use tokio::sync::{mpsc, watch as watch_channel};
use watches::Bell;

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

impl Expected {
    fn is(self, current: Option<&Arc<Entry>>) -> bool {
        match self {
            Expected::Absent => current.is_none(),
            Expected::Revision(revision) => current.is_some_and(|entry| entry.revision == revision),
            Expected::Any => true,
        }
    }
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

/// What readers and the writer share.
struct Shared {
    state: RwLock<State>,
    /// Wakes watchers, by collection.
    wakes: Mutex<BTreeMap<Arc<str>, Wake>>,
    /// Why the last attempt to write failed, until one succeeds.
    trouble: Mutex<Option<String>>,
}

/// Who is woken by changes of a collection.
#[derive(Default)]
struct Wake {
    /// Watches that are waited for alone.
    each: watch_channel::Sender<()>,
    /// Bells of those that are waited for with others, and their numbers there: of the few loops in this process.
    bells: Vec<(Weak<Bell>, usize)>,
}

impl Shared {
    /// A poisoned lock only says that a reader panicked; the writer changes the state whole.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at each change of a collection.
    fn wake(&self, collection: &str) -> watch_channel::Receiver<()> {
        let mut wakes = self.wakes();
        match wakes.get(collection) {
            Some(wake) => wake.each.subscribe(),
            None => wakes.entry(collection.into()).or_default().each.subscribe(),
        }
    }

    /// Has each change of a collection mark this number and ring, as long as there is the bell.
    fn rings(&self, collection: &str, bell: &Arc<Bell>, number: usize) {
        let mut wakes = self.wakes();
        let wake = wakes.entry(collection.into()).or_default();
        wake.bells.retain(|(bell, _)| bell.strong_count() > 0);
        wake.bells.push((Arc::downgrade(bell), number));
    }

    fn wakes(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Wake>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes that are durable visible, and marks them for whoever follows them; tells which collections they are of.
    fn publish(&self, changes: Vec<(Arc<str>, Change)>) -> BTreeSet<Arc<str>> {
        let touched = changes.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.state.write().unwrap_or_else(PoisonError::into_inner).publish(changes);
        self.bells(&touched).into_iter().for_each(|(bell, number)| bell.mark(number));
        touched
    }

    /// The bells of these collections, and the numbers of their watches there.
    fn bells(&self, collections: &BTreeSet<Arc<str>>) -> Vec<(Arc<Bell>, usize)> {
        let wakes = self.wakes();
        let bells = collections.iter().filter_map(|name| wakes.get(name)).flat_map(|wake| &wake.bells);
        bells.filter_map(|(bell, number)| Some((bell.upgrade()?, *number))).collect()
    }

    /// Wakes the watchers of these collections, as far as there are so many as `now` takes; gives back the others.
    fn wake_all(&self, collections: &BTreeSet<Arc<str>>, now: impl Fn(usize) -> bool) -> BTreeSet<Arc<str>> {
        let (mut due, mut later) = (Vec::new(), BTreeSet::new());
        {
            let wakes = self.wakes();
            for (name, wake) in collections.iter().filter_map(|name| wakes.get_key_value(name)) {
                match now(wake.each.receiver_count()) {
                    true => due.push(wake.each.clone()),
                    false => drop(later.insert(Arc::clone(name))),
                }
            }
        }
        // Not under the lock: the writer and new watchers need it.
        for wake in due {
            wake.send_replace(());
        }
        later
    }
}

impl Shared {
    /// Brings the metrics of these collections up to date.
    fn measure<'a>(&self, collections: impl IntoIterator<Item = &'a Arc<str>>) {
        let state = self.read();
        ::metrics::gauge!(table::STORE_REVISION).set(state.revision() as f64);
        for name in collections {
            let objects = ::metrics::gauge!(table::STORE_OBJECTS, "collection" => Arc::clone(name));
            objects.set(state.count(name) as f64);
        }
    }
}

/// The store. Clones share one; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    /// Ends with the writer.
    alive: watch_channel::Receiver<()>,
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
        let names: Vec<Arc<str>> = state.names().cloned().collect();
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            wakes: Mutex::default(),
            trouble: Mutex::default(),
        });
        shared.measure(&names);
        let (messages, queue) = mpsc::channel(limits::STORE_QUEUE);
        let (living, alive) = watch_channel::channel(());
        writer::spawn(Arc::clone(&shared), disk, queue, living)?;
        Ok(Store { shared, messages, alive })
    }

    /// Refuses further writes, and waits until those before are done and the file is closed: the next start then
    /// needs no repair.
    pub async fn close(&self) {
        // If it cannot be told, it has ended.
        drop(self.messages.send(Message::Close).await);
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
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

    /// Objects of a collection, and a watch that tells every change after them.
    pub fn list_and_watch(
        &self,
        collection: &str,
        namespace: Option<&str>,
    ) -> Result<(Page, Watch), Expired> {
        // A change in between is told by the watch: it goes on from the page, not from its own beginning.
        let page = self.list(collection, namespace, None, 0, None)?;
        let watch = self.watch(collection, namespace, page.revision)?;
        Ok((page, watch))
    }

    /// Forgets what was before the last time that this was called: whoever calls it says how long the past is shown.
    pub fn age(&self) {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner).age();
    }

    /// Why no write can be done: the writer has ended, or its last attempt failed.
    pub fn trouble(&self) -> Option<String> {
        if self.alive.has_changed().is_err() {
            return Some("the store's writer has ended".to_owned());
        }
        self.shared.trouble().clone()
    }

    /// How many objects of a collection a namespace has.
    pub fn count_in(&self, collection: &str, namespace: &str) -> usize {
        self.shared.read().count_in(collection, namespace)
    }

    /// How many objects each collection has.
    pub fn counts(&self) -> Vec<(String, usize)> {
        self.shared.read().counts()
    }

    /// Does what `decide` says, once it has seen the object that is there and the revision that its write would get.
    /// Resolves once it is durable, to what was done, or to `decide`'s refusal.
    ///
    /// `decide` runs in the one writer, for whom all other writes wait: what takes long is done before. Who drops
    /// the future stops waiting, not the write.
    pub async fn write<E: Send + 'static>(
        &self,
        collection: &str,
        key: &Key,
        decide: impl FnOnce(Option<&Arc<Entry>>, Revision) -> Result<Op, E> + Send + 'static,
    ) -> Result<Result<Written, E>, WriteError> {
        let (write, answer) = Write::new(decide);
        let command = Command { collection: collection.into(), key: key.clone(), write: Box::new(write) };
        self.messages.send(Message::Write(command)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Puts an object in place of what is expected; `make` is told the revision it gets. Resolves once it is durable.
    pub async fn put(
        &self,
        collection: &str,
        key: &Key,
        expected: Expected,
        make: impl FnOnce(Revision) -> Bytes + Send + 'static,
    ) -> Result<Arc<Entry>, WriteError> {
        let decide = move |current: Option<&Arc<Entry>>, next| match expected.is(current) {
            true => Ok(Op::Put(make(next))),
            false => Err(current.cloned()),
        };
        done(self.write(collection, key, decide).await?)
    }

    /// Takes an object away; `make` gives the state in which watchers see it go. Resolves once that is durable. Where
    /// nothing is, that is a conflict, whatever was expected.
    pub async fn delete(
        &self,
        collection: &str,
        key: &Key,
        expected: Expected,
        make: impl FnOnce(Revision) -> Bytes + Send + 'static,
    ) -> Result<Arc<Entry>, WriteError> {
        let decide = move |current: Option<&Arc<Entry>>, next| match current.is_some() && expected.is(current)
        {
            true => Ok(Op::Delete(make(next))),
            false => Err(current.cloned()),
        };
        done(self.write(collection, key, decide).await?)
    }
}

/// The entry of a write that finds what it expects, or does nothing.
fn done(result: Result<Written, Option<Arc<Entry>>>) -> Result<Arc<Entry>, WriteError> {
    match result {
        Ok(Written::Put(entry) | Written::Deleted(entry) | Written::Kept(Some(entry))) => Ok(entry),
        Ok(Written::Kept(None)) => Err(WriteError::Conflict(None)),
        Err(current) => Err(WriteError::Conflict(current)),
    }
}
