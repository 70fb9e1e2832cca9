//! Where an object is in its collection, as the store and the controllers keep it: a shared text, for there are many of them.

use std::fmt;
use std::sync::Arc;

/// Where an object is in its collection: `namespace/name`, or the name alone where there are no namespaces.
///
/// The order is that of the text, as upstream's: of the namespaces `a` and `a-b` the second comes first, since `-`
/// is before `/`. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of an object. Neither word may have a slash; the API's names have none.
    pub fn new(namespace: &str, name: &str) -> Key {
        match namespace {
            "" => Key(name.into()),
            namespace => Key(format!("{namespace}/{name}").into()),
        }
    }

    /// A key as it was written down.
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

    /// Whether it is in this namespace; every key is in all of them.
    pub fn is_in(&self, namespace: Option<&str>) -> bool {
        namespace.is_none_or(|namespace| self.namespace() == namespace)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
