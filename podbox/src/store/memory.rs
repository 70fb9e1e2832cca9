//! The store without a disk and without a thread: the same state, history and way to write, one write after another. For
//! simulations, which must do the same things in the same order each time.
//!
//! What it leaves out is what a disk can do to a batch; `store::tests` and the tests that kill podbox are about that.

use super::history::Expired;
use super::stage::{Op, Staged, Written};
use super::state::{Entry, FIRST, Key, Revision, State};
use super::watch::Batch;
use crate::limits;
use std::sync::Arc;

/// Such a store.
#[derive(Debug)]
pub struct Memory {
    state: State,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { state: State::new(FIRST, []) }
    }
}

impl Memory {
    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// An object.
    pub fn get(&self, collection: &str, key: &Key) -> Option<&Arc<Entry>> {
        self.state.get(collection, key)
    }

    /// All objects of a collection, in the order of their keys.
    pub fn list(&self, collection: &str) -> Vec<Arc<Entry>> {
        // Of the newest revision there is always a page.
        self.state.list(collection, None, None, 0, None).map_or_else(|_| Vec::new(), |page| page.entries)
    }

    /// Changes of a collection after a revision, as a watch reads them.
    pub fn changes(&self, collection: &str, after: Revision) -> Result<Batch, Expired> {
        let limit = (limits::WATCH_BATCH, limits::WATCH_BATCH_BYTES);
        let (changes, revision) = self.state.changes(collection, after, limit, |_| true)?;
        Ok(Batch { changes, revision })
    }

    /// Does what `decide` says, once it has seen the object that is there and the revision that its write would get.
    pub fn write(
        &mut self,
        collection: &str,
        key: &Key,
        decide: impl FnOnce(Option<&Arc<Entry>>, Revision) -> Option<Op>,
    ) -> Option<Written> {
        let mut staged = Staged::new(&self.state);
        let written = staged.add(&self.state, collection.into(), key.clone(), decide);
        self.state.publish(staged.into_changes());
        written
    }

    /// Forgets what was before the last time that this was called.
    pub fn age(&mut self) {
        self.state.age();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_watched_and_forgets_as_the_store_does() {
        let mut store = Memory::default();
        let key = Key::new("n", "a");
        let put = |bytes: &'static [u8]| move |_: Option<&Arc<Entry>>, _| Some(Op::Put(bytes.into()));
        let begin = store.revision();
        store.write("/pods", &key, put(b"1"));
        store.write("/pods", &key, put(b"2"));
        assert_eq!(store.write("/pods", &key, |_, _| None), None, "what is refused is no write");
        let batch = store.changes("/pods", begin).unwrap();
        assert_eq!((batch.changes.len(), batch.revision), (2, begin + 2));
        assert_eq!(&store.get("/pods", &key).unwrap().bytes[..], b"2");
        assert!(matches!(
            store.write("/pods", &key, |there, _| there.map(|there| Op::Delete(there.bytes.clone()))),
            Some(Written::Deleted(_))
        ));
        assert!(store.list("/pods").is_empty());
        store.age();
        store.age();
        assert!(store.changes("/pods", begin).is_err(), "who comes too late is told so");
    }
}
