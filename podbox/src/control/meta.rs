//! What controllers read of any object's metadata, and nothing more of it. Pure.

use crate::api::object;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The finalizer of an object that goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents are to stay.
pub const ORPHAN: &str = "orphan";

/// Labels, or annotations.
pub type Labels = BTreeMap<String, String>;

/// An object, of which only the metadata is read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Head {
    /// It.
    #[serde(default)]
    pub metadata: Meta,
}

impl Head {
    /// Reads it from an object's bytes. What cannot be read is as good as nothing, for it was not written by the API.
    pub fn read(bytes: &[u8]) -> Meta {
        serde_json::from_slice::<Head>(bytes).unwrap_or_default().metadata
    }
}

/// Metadata.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Unique over time.
    pub uid: String,
    /// How often it was asked for anew.
    pub generation: i64,
    /// When it came to be.
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// Set once it is to go.
    pub deletion_timestamp: Option<jiff::Timestamp>,
    /// How long it was given for that.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Who has to do something before it goes.
    pub finalizers: Vec<String>,
    /// What it is selected by.
    pub labels: Labels,
    /// What else is said of it.
    pub annotations: Labels,
    /// Whose dependent it is.
    pub owner_references: Vec<Owner>,
}

impl Meta {
    /// An object's, as far as it can be read.
    pub fn of(object: &serde_json::Value) -> Meta {
        Head::deserialize(object).map(|head| head.metadata).unwrap_or_default()
    }

    /// Whether it is to go.
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether it is held by a finalizer.
    pub fn held_by(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|name| name == finalizer)
    }

    /// Whether it goes once its dependents have gone.
    pub fn awaits_dependents(&self) -> bool {
        self.deleting() && self.held_by(FOREGROUND)
    }

    /// Whether it goes once its dependents are nobody's.
    pub fn leaves_orphans(&self) -> bool {
        self.deleting() && self.held_by(ORPHAN)
    }

    /// Who controls it.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

/// An owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Of what version.
    pub api_version: String,
    /// Of what kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is the one that controls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether the owner's end waits for the dependent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl Owner {
    /// The reference of an object to who controls it.
    pub fn controller(api_version: &str, kind: &str, name: &str, uid: &str) -> Owner {
        Owner {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// A time as the API writes it.
pub fn written(time: jiff::Timestamp) -> String {
    object::time(time.into())
}
