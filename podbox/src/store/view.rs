//! Pages of a collection, as of the newest revision or of an earlier one. Pure.
//!
//! An earlier state is what there is now with the changes since undone: it costs as much as there are changes, which
//! history bounds, and nothing is kept for readers that may never come back for their next page.

use super::history::Expired;
use super::state::{Entry, Key, Revision, State};
use std::ops::Bound;
use std::sync::Arc;

/// Some objects of a collection, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// As of which revision.
    pub revision: Revision,
    /// In the order of their keys.
    pub entries: Vec<Arc<Entry>>,
    /// How many more there are.
    pub remaining: usize,
}

impl State {
    pub(super) fn list(
        &self,
        collection: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, Expired> {
        let revision = at.unwrap_or(self.revision()).min(self.revision());
        if revision < self.oldest() {
            return Err(Expired { oldest: self.oldest() });
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page = Page { revision, entries: Vec::new(), remaining: 0 };
        let Some(collection) = self.known(collection, revision)? else { return Ok(page) };
        let from = beginning(namespace, after);
        let now = collection.objects.range((from.clone(), Bound::Unbounded));
        let then = collection.history.undone(revision);
        let then = then.range((from, Bound::Unbounded)).map(|(key, entry)| (*key, entry.as_ref()));
        let merged =
            Merged { now: now.map(|(key, entry)| (key, Some(entry))).peekable(), then: then.peekable() };
        // Keys of a namespace are neighbours.
        for entry in merged.take_while(|entry| entry.key.is_in(namespace)) {
            match page.entries.len() < limit {
                true => page.entries.push(Arc::clone(entry)),
                false => page.remaining += 1,
            }
        }
        Ok(page)
    }
}

/// Where a page begins: after a key, but not before its namespace.
fn beginning(namespace: Option<&str>, after: Option<&Key>) -> Bound<Key> {
    let first = namespace.map(|namespace| Key::raw(&format!("{namespace}/")));
    match (after, first) {
        (Some(after), Some(first)) if *after < first => Bound::Included(first),
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(first)) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    }
}

/// What there is now, but for the keys that were different then.
struct Merged<N: Iterator, T: Iterator> {
    now: std::iter::Peekable<N>,
    then: std::iter::Peekable<T>,
}

impl<'a, N, T> Iterator for Merged<N, T>
where
    N: Iterator<Item = (&'a Key, Option<&'a Arc<Entry>>)>,
    T: Iterator<Item = (&'a Key, Option<&'a Arc<Entry>>)>,
{
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (now, then) = (self.now.peek().map(|(key, _)| *key), self.then.peek().map(|(key, _)| *key));
            let entry = match (now, then) {
                (None, None) => return None,
                (Some(now), Some(then)) if now == then => {
                    self.now.next();
                    self.then.next()
                }
                (Some(now), Some(then)) if then < now => self.then.next(),
                (None, Some(_)) => self.then.next(),
                (Some(_), _) => self.now.next(),
            };
            if let Some((_, Some(entry))) = entry {
                return Some(entry);
            }
        }
    }
}
