//! The kinds that the API serves: one row per kind drives routes, discovery, OpenAPI, printing, defaulting,
//! validation and storage. Pure.
//!
//! The rows of podbox's own are in [`table`]; more can be put in at run time. What a kind's fields are is
//! `api::schema`'s to say, by the name in [`Kind::schema`].
//!
//! **Invariant:** no two kinds share a group, version and plural, nor a group, version and kind.

mod table;

#[cfg(test)]
mod tests;

use super::rules::Erased;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use table::{builtin, scale};

/// A name that is the program's own, or came at run time.
pub type Name = Cow<'static, str>;

/// Whether objects of a kind lie in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// What can be done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the API's own words")]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// As discovery and RBAC write it.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// Every verb of a stored kind, in discovery's order.
pub const ALL: &[Verb] = &[
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

/// A part of a resource with a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// The last part of its path.
    pub name: Name,
    /// The kind that it takes and gives.
    pub kind: Name,
    /// That kind's group and version, if they are not the resource's.
    pub of: Option<(Name, Name)>,
    /// What can be done to it.
    pub verbs: &'static [Verb],
}

/// Two kinds that are two spellings of the same objects: this one's side.
#[derive(Clone)]
pub struct Twin {
    /// The group and plural under which the objects are stored.
    pub of: (Name, Name),
    /// An object of this kind in the words in which it is stored.
    pub to_stored: fn(Value) -> Value,
    /// A stored object in this kind's words.
    pub from_stored: fn(Value) -> Value,
}

/// A kind.
#[derive(Clone)]
pub struct Kind {
    /// The API group; empty for the core.
    pub group: Name,
    /// The version, `v1`.
    pub version: Name,
    /// What `kind` says.
    pub kind: Name,
    /// The resource, as in paths.
    pub plural: Name,
    /// The resource, for people; kubectl takes it too.
    pub singular: Name,
    /// What else kubectl takes.
    pub short_names: Vec<Name>,
    /// Groups of kinds, `all`.
    pub categories: Vec<Name>,
    /// Whether its objects lie in namespaces.
    pub scope: Scope,
    /// What can be done to it.
    pub verbs: &'static [Verb],
    /// Its parts, by name.
    pub subresources: Vec<Subresource>,
    /// The name of its definition in the schema, `io.k8s.api.core.v1.Pod`.
    pub schema: Name,
    /// Defaults and validation.
    pub rules: Arc<dyn Erased>,
    /// Fields beside `metadata.name` and `metadata.namespace` that can be selected by.
    pub fields: &'static [&'static str],
    /// Told to whoever writes such an object, while nothing acts on it yet.
    pub inert: Option<Name>,
    /// Whether an update may create what is not there.
    pub create_on_update: bool,
    /// Whether updates need a resourceVersion.
    pub needs_version: bool,
    /// Whether a deletion shows the object that is gone, rather than only that it succeeded.
    pub shows_deleted: bool,
    /// Told to whoever asks anything about such objects, since the kind itself is on its way out.
    pub deprecated: Option<Name>,
    /// Whether `metadata.generation` counts changes of what is not metadata or status.
    pub generation: bool,
    /// Set where nothing is stored: objects are made of what the node measures, when they are asked for.
    pub measured: bool,
    /// Set where another kind's row has the same objects, which are stored in that kind's words.
    pub twin: Option<Twin>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

impl Kind {
    /// What `apiVersion` says.
    pub fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.to_string(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether its objects lie in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether it has objects in the store, rather than only answers.
    pub fn stored(&self) -> bool {
        self.verbs.contains(&Verb::Get) && !self.measured
    }

    /// Whether creating one asks about rights or identities.
    pub fn is_review(&self) -> bool {
        !self.stored() && ["authentication.k8s.io", "authorization.k8s.io"].contains(&&*self.group)
    }

    /// Whether its status is a subresource.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// One of its parts.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// The name of its collection in the store: group and plural, `apps/deployments`.
    pub fn collection(&self) -> String {
        match &self.twin {
            Some(Twin { of: (group, plural), .. }) => format!("{group}/{plural}"),
            None => format!("{}/{}", self.group, self.plural),
        }
    }

    /// A stored object in this kind's words.
    pub fn from_stored(&self, object: Value) -> Value {
        match &self.twin {
            Some(twin) => (twin.from_stored)(object),
            None => object,
        }
    }

    /// An object of this kind in the words in which it is stored.
    pub fn to_stored(&self, object: Value) -> Value {
        match &self.twin {
            Some(twin) => (twin.to_stored)(object),
            None => object,
        }
    }
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    by_resource: BTreeMap<(Name, Name, Name), Arc<Kind>>,
}

impl Kinds {
    /// podbox's own.
    pub fn new() -> Kinds {
        let mut kinds = Kinds::default();
        builtin().into_iter().for_each(|kind| kinds.insert(kind));
        kinds
    }

    /// Puts one in, or in the place of its predecessor.
    pub fn insert(&mut self, kind: Kind) {
        let key = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.by_resource.insert(key, Arc::new(kind));
    }

    /// Takes one out.
    pub fn remove(&mut self, group: &str, version: &str, plural: &str) {
        self.by_resource.retain(|key, _| (&*key.0, &*key.1, &*key.2) != (group, version, plural));
    }

    /// By the words of a path.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        // A key of borrowed words cannot be had for a tuple; the ranges are short.
        self.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// By what an object says of itself.
    pub fn kind(&self, api_version: &str, name: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.iter().find(|kind| kind.kind == name && kind.group == group && kind.version == version)
    }

    /// Whether there is such a group and version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.iter().any(|kind| kind.group == group && kind.version == version)
    }

    /// All of them, by group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_resource.values()
    }
}
