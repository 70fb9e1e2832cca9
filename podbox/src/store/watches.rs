//! Watches of several collections, waited for as one. A loop that follows thirty of them is woken often, and by one or two of
//! them: it neither arms thirty wakers each time nor asks those that have nothing to tell.
//!
//! **Invariant:** a watch that has something to tell is marked from before the write is answered until it is read: whoever knows
//! of a write finds it by the marks.

use super::history::Expired;
use super::watch::{Batch, Watch};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Watches, by the order in which they were added.
#[derive(Default)]
pub struct Watches {
    watches: Vec<Watch>,
    bell: Arc<Bell>,
}

/// What changes of collections mark and ring.
#[derive(Default)]
pub(super) struct Bell {
    /// The watches that may have something to tell.
    marked: Mutex<BTreeSet<usize>>,
    wake: Notify,
}

impl Bell {
    fn marked(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collection that this watch is of has changed.
    pub(super) fn mark(&self, watch: usize) {
        self.marked().insert(watch);
    }

    /// Wakes whoever waits for what is marked.
    pub(super) fn ring(&self) {
        self.wake.notify_one();
    }
}

impl Watches {
    /// Adds a watch, and tells its number. It may have something to tell already.
    pub fn add(&mut self, watch: Watch) -> usize {
        let number = self.watches.len();
        watch.rings(&self.bell, number);
        self.watches.push(watch);
        self.bell.mark(number);
        number
    }

    /// Puts another watch of the same collection in a watch's place.
    pub fn replace(&mut self, number: usize, watch: Watch) {
        if let Some(place) = self.watches.get_mut(number) {
            *place = watch;
            self.bell.mark(number);
        }
    }

    /// Waits until a watch may have something to tell. May be dropped and called again.
    pub async fn changed(&self) {
        // What rings in between leaves a permit.
        while self.bell.marked().is_empty() {
            self.bell.wake.notified().await;
        }
    }

    /// The watches that may have something to tell; each is to be read until it tells nothing.
    pub fn marked(&self) -> BTreeSet<usize> {
        std::mem::take(&mut *self.bell.marked())
    }

    /// What a watch has to tell now, as [`Watch::read`].
    pub fn read(&mut self, number: usize) -> Result<Batch, Expired> {
        match self.watches.get_mut(number) {
            Some(watch) => watch.read(),
            None => Ok(Batch::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Expected, Key, Store};
    use std::time::Duration;
    use tokio::time::timeout;

    async fn put(store: &Store, collection: &str, name: &str) {
        let made = store.put(collection, &Key::new("", name), Expected::Any, |_| "{}".into()).await;
        made.expect("it is written");
    }

    #[tokio::test]
    async fn what_was_answered_is_marked_and_wakes_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let mut watches = Watches::default();
        for collection in ["a", "b", "c"] {
            watches.add(store.watch(collection, None, store.revision()).expect("the newest is known"));
        }
        // They may have had something to tell when they were added.
        assert_eq!(watches.marked(), BTreeSet::from([0, 1, 2]));
        put(&store, "b", "x").await;
        put(&store, "b", "y").await;
        put(&store, "other", "x").await;
        timeout(Duration::from_secs(120), watches.changed()).await.expect("it wakes");
        assert_eq!(watches.marked(), BTreeSet::from([1]));
        let told = watches.read(1).expect("history is there").changes;
        let names: Vec<&str> = told.iter().map(|change| change.entry.key.name()).collect();
        assert_eq!(names, ["x", "y"]);
        assert!(watches.read(1).expect("history is there").changes.is_empty());
        // Who waits already is woken; a watch that took another's place tells for it.
        watches.replace(2, store.watch("c", None, store.revision()).expect("the newest is known"));
        assert_eq!(watches.marked(), BTreeSet::from([2]));
        let ((), woken) =
            tokio::join!(put(&store, "c", "z"), timeout(Duration::from_secs(120), watches.changed()));
        woken.expect("it wakes");
        assert_eq!(watches.marked(), BTreeSet::from([2]));
        assert_eq!(watches.read(2).expect("history is there").changes.len(), 1);
    }
}
