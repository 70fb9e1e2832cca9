//! What controllers read of objects that they do not keep: bytes, as they are in the store. Pure.

use super::key::Key;
use bytes::Bytes;

/// An object as it is stored.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its JSON.
    pub bytes: Bytes,
    /// Its revision.
    pub revision: u64,
}

/// The objects there are.
pub trait Source {
    /// An object of a collection.
    fn get(&self, collection: &str, key: &Key) -> Option<Found>;

    /// Those of this name in whichever namespaces.
    fn named(&self, collection: &str, name: &str) -> Vec<Found>;
}
