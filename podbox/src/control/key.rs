//! Where objects are, as controllers keep it: shared texts and small numbers, for there are many of them.

use std::fmt;
use std::sync::Arc;

/// An object of a kind: `namespace/name`, or the name alone where there are no namespaces. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Of these words.
    pub fn new(namespace: &str, name: &str) -> Key {
        match namespace {
            "" => Key(name.into()),
            namespace => Key(format!("{namespace}/{name}").into()),
        }
    }

    /// As it was written down.
    pub fn raw(text: &str) -> Key {
        Key(text.into())
    }

    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace; empty if there is none.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kind, by its place in the [catalogue](super::catalog::Catalog).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u16);

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its kind.
    pub kind: KindId,
    /// Which one.
    pub key: Key,
}

/// What is to be reconciled: a key of the work queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// A Deployment.
    Deployment(Key),
    /// A ReplicaSet.
    ReplicaSet(Key),
    /// A ReplicationController.
    ReplicationController(Key),
    /// The endpoints of a Service.
    Endpoints(Key),
    /// Any object, as the dependent of its owners and as the owner of its dependents.
    Garbage(Place),
}
