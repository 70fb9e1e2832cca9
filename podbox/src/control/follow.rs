//! Follows collections of the store for a loop that keeps an index of them: all that there is at first, then each change; all of a
//! collection again where its history went on without it.
//!
//! It decides nothing and knows no kinds. Invariant: after [`Follow::take_in`], whoever follows has seen all that the store shows.

use super::key::Key;
use crate::store::{Batch, Change, Entry, Expired, Happened, Store, Watch, Watches};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who follows.
pub trait Follower<K> {
    /// An object is like this now.
    fn look(&mut self, kind: K, entry: &Entry);

    /// An object is gone.
    fn forget(&mut self, kind: K, key: &Key);

    /// The keys of what is known of a kind.
    fn known(&self, kind: K) -> Vec<Key>;
}

/// What is followed: kinds, by whatever the follower calls them.
pub struct Follow<K> {
    store: Store,
    /// By the numbers of their watches.
    kinds: Vec<(K, &'static str)>,
    watches: Watches,
}

impl<K: Copy> Follow<K> {
    /// Shows all that there is in these collections.
    pub fn begin(store: Store, kinds: &[(K, &'static str)], follower: &mut impl Follower<K>) -> Follow<K> {
        let mut watches = Watches::default();
        for (kind, collection) in kinds {
            watches.add(all(&store, *kind, collection, follower));
        }
        Follow { store, kinds: kinds.to_vec(), watches }
    }

    /// Waits until something has changed. May be dropped and called again.
    pub async fn changed(&self) {
        self.watches.changed().await;
    }

    /// Shows all that has changed.
    pub fn take_in(&mut self, follower: &mut impl Follower<K>) {
        for number in self.watches.marked() {
            loop {
                let batch = self.watches.read(number);
                if !self.show(number, batch, follower) {
                    break;
                }
            }
        }
    }

    /// Shows changes; tells whether there were any.
    fn show(
        &mut self,
        number: usize,
        batch: Result<Batch, Expired>,
        follower: &mut impl Follower<K>,
    ) -> bool {
        let (kind, collection) = self.kinds[number];
        let Ok(batch) = batch else {
            tracing::warn!(
                "a controller fell behind the changes of {collection}, and looks at all of it again"
            );
            self.watches.replace(number, all(&self.store, kind, collection, follower));
            return true;
        };
        changes(kind, &batch.changes, follower);
        !batch.changes.is_empty()
    }
}

/// Shows these changes.
pub fn changes<K: Copy>(kind: K, changes: &[Arc<Change>], follower: &mut impl Follower<K>) {
    for change in changes {
        match change.happened {
            Happened::Added | Happened::Modified => follower.look(kind, &change.entry),
            Happened::Deleted => follower.forget(kind, &change.entry.key),
        }
    }
}

/// Shows all objects of a kind that there are; others that are known are gone.
pub fn show_all<K: Copy>(kind: K, entries: &[Arc<Entry>], follower: &mut impl Follower<K>) {
    let there: BTreeSet<&Key> = entries.iter().map(|entry| &entry.key).collect();
    let gone = follower.known(kind).into_iter().filter(|key| !there.contains(key));
    gone.for_each(|key| follower.forget(kind, &key));
    entries.iter().for_each(|entry| follower.look(kind, entry));
}

/// Shows all objects of a collection; the watch goes on from there.
fn all<K: Copy>(store: &Store, kind: K, collection: &str, follower: &mut impl Follower<K>) -> Watch {
    loop {
        // From the newest revision, history is always there.
        let Ok((page, watch)) = store.list_and_watch(collection, None) else { continue };
        show_all(kind, &page.entries, follower);
        return watch;
    }
}
