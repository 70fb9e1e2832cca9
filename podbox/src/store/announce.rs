//! Wakes watchers of what was published. Bells and a few watchers are woken by the writer itself, at once; thousands take
//! milliseconds, for which no write is to wait: they are woken by a thread of their own.
//!
//! **Invariant:** what is to be woken is remembered by collection, so that it is bounded, and is never forgotten: the
//! thread wakes everybody that is left before it ends.

use super::{DiskError, Shared};
use crate::limits;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The way to the thread; it ends when this is dropped.
pub(super) struct Announcer {
    shared: Arc<Shared>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    collections: BTreeSet<Arc<str>>,
    over: bool,
}

impl Announcer {
    /// Starts the thread.
    pub(super) fn spawn(shared: Arc<Shared>) -> Result<Announcer, DiskError> {
        let waiting = Arc::new(Waiting::default());
        let (theirs, many) = (Arc::clone(&waiting), Arc::clone(&shared));
        let run = move || {
            while let Some(collections) = theirs.next() {
                many.wake_all(&collections, |_| true);
            }
        };
        std::thread::Builder::new().name("store-wakes".into()).spawn(run).map_err(DiskError::Thread)?;
        Ok(Announcer { shared, waiting })
    }

    /// Wakes the watchers of these collections, now or soon.
    pub(super) fn announce(&self, touched: &BTreeSet<Arc<str>>) {
        self.shared.bells(touched).into_iter().for_each(|(bell, _)| bell.ring());
        let left = self.shared.wake_all(touched, |watchers| watchers <= limits::WAKE_DIRECTLY);
        self.shared.measure(touched);
        if !left.is_empty() {
            self.waiting.change(|pending| pending.collections.extend(left));
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.waiting.change(|pending| pending.over = true);
    }
}

impl Waiting {
    fn change(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// What is to be woken; waits for some, and is none after the end.
    fn next(&self) -> Option<BTreeSet<Arc<str>>> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |pending: &mut Pending| pending.collections.is_empty() && !pending.over;
        let mut pending = self.changed.wait_while(pending, idle).unwrap_or_else(PoisonError::into_inner);
        let collections = std::mem::take(&mut pending.collections);
        (!collections.is_empty()).then_some(collections)
    }
}
