//! What podbox knows of a kind beyond its shape: defaults, what a write may set, validation, warnings.
//!
//! [`Rules`] is written per kind, on `k8s-openapi`'s types, in a file per subject: kinds that share most of their
//! rules share a file. [`Erased`] lets generic code call it on JSON; [`meta`] judges every kind's metadata. Pure:
//! whatever needs other objects (service accounts, priority classes, namespaces) is `api::admission`, which the
//! server calls between [`Erased::default`] and [`Erased::admit`].
//!
//! The wording is upstream's, since people search for it. A value that upstream shows by the names of Go's fields
//! is shown so; where upstream appends a diff of Go's structs, [`check::changes`] names the API's fields instead.
//!
//! **Invariant:** defaulting is idempotent, and an object that was accepted is accepted again unchanged.

pub mod addresses;
pub mod autoscale;
pub mod certificate;
pub mod check;
pub mod claim;
pub mod class;
pub mod cluster;
pub mod config;
pub mod cronjob;
pub mod csi;
pub mod daemonset;
pub mod deployment;
pub mod device;
pub mod endpoints;
pub mod event;
pub mod flow;
pub mod guard;
pub mod job;
pub mod labels;
pub mod meta;
pub mod names;
pub mod networking;
pub mod pod;
pub mod policy;
pub mod quota;
pub mod rbac;
pub mod replicas;
pub mod review;
pub mod schedule;
pub mod service;
pub mod statefulset;
pub mod storage;
pub mod template;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod recorded;

use super::field::{Errors, Path};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::marker::PhantomData;

/// What is particular to a kind. `metadata` is judged by generic code, except for what a kind's names look like.
pub trait Rules: Serialize + DeserializeOwned {
    /// Reads one. Where it matters whether a field was given at all, and the type cannot tell, this notes it.
    fn decode(object: Value) -> serde_json::Result<Self> {
        serde_json::from_value(object)
    }

    /// Fills in what is silent. Idempotent.
    fn default(&mut self) {}

    /// Takes out what a create may not set: status, mostly; sets what it starts with.
    fn prepare_create(&mut self) {}

    /// Puts back what an update of the main resource may not change: status, mostly.
    fn prepare_update(&mut self, _old: &Self) {}

    /// Puts back what an update of the status subresource may not change: spec, mostly.
    fn prepare_status(&mut self, _old: &Self) {}

    /// Puts back what an update of another subresource, `part`, may not change.
    fn prepare_part(&mut self, _part: &str, _old: &Self) {}

    /// What is wrong with it by itself.
    fn validate(&self, _errors: &mut Errors, _path: &Path) {}

    /// What is wrong with it only as a new object; [`Rules::validate`] is asked before.
    fn validate_create(&self, _errors: &mut Errors, _path: &Path) {}

    /// What is wrong with changing `old` to this; [`Rules::validate`] is asked before.
    fn validate_update(&self, _old: &Self, _errors: &mut Errors, _path: &Path) {}

    /// What is wrong with changing the status of `old` to this one's.
    fn validate_status(&self, _old: &Self, _errors: &mut Errors, _path: &Path) {}

    /// What is wrong with changing a part of `old` to this one's; [`Rules::validate`] is asked before.
    fn validate_part(&self, _part: &str, _old: &Self, _errors: &mut Errors, _path: &Path) {}

    /// What is accepted but worth a word, for `Warning` headers.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Dates the conditions in a status that have no date by the zero of Go's times, as whom they come from reads them:
/// upstream takes them, and the type here does not.
fn date_conditions(object: &mut Value) {
    date(object.pointer_mut("/status/conditions"));
}

/// The same of a list of conditions, wherever it is.
fn date(conditions: Option<&mut Value>) {
    let conditions = conditions.and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let at = condition.entry("lastTransitionTime").or_insert(Value::Null);
        if at.is_null() {
            *at = Value::from("0001-01-01T00:00:00Z");
        }
    }
}

/// What is measured is not written, and so not judged.
impl Rules for Value {}

/// Which write an object goes through.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// It is new.
    Create,
    /// It replaces this one, except for its status.
    Update(&'a Value),
    /// Its status replaces this one's.
    Status(&'a Value),
    /// A part of it, which a subresource of this name is for, replaces this one's.
    Part(&'a str, &'a Value),
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The object as it is to be stored: defaulted, and without what this write may not set.
    pub object: Value,
    /// What is wrong with it. Not to be stored unless empty.
    pub errors: Errors,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

/// [`Rules`] of some kind, on JSON.
pub trait Erased: Send + Sync {
    /// Defaults an object. An error if it is not of its type.
    fn default(&self, object: Value) -> serde_json::Result<Value>;

    /// Prepares, defaults and judges an object. An error if it is not of its type.
    fn admit(&self, object: Value, write: Write<'_>) -> serde_json::Result<Admitted>;
}

/// The rules of `T`, as a value for a table.
pub struct Of<T>(PhantomData<fn() -> T>);

impl<T> Of<T> {
    /// The rules of `T`.
    pub const fn new() -> Of<T> {
        Of(PhantomData)
    }
}

impl<T> Default for Of<T> {
    fn default() -> Of<T> {
        Of::new()
    }
}

impl<T: Rules> Erased for Of<T> {
    fn default(&self, object: Value) -> serde_json::Result<Value> {
        let mut object = T::decode(object)?;
        object.default();
        serde_json::to_value(object)
    }

    fn admit(&self, object: Value, write: Write<'_>) -> serde_json::Result<Admitted> {
        let mut object = T::decode(object)?;
        let mut errors = Errors::default();
        let root = Path::ROOT;
        object.default();
        match write {
            Write::Create => {
                object.prepare_create();
                object.validate(&mut errors, &root);
                object.validate_create(&mut errors, &root);
            }
            Write::Update(old) => {
                let mut old = T::deserialize(old)?;
                old.default();
                object.prepare_update(&old);
                object.validate(&mut errors, &root);
                object.validate_update(&old, &mut errors, &root);
            }
            Write::Status(old) => {
                let mut old = T::deserialize(old)?;
                old.default();
                object.prepare_status(&old);
                object.validate_status(&old, &mut errors, &root);
            }
            Write::Part(part, old) => {
                let mut old = T::deserialize(old)?;
                old.default();
                object.prepare_part(part, &old);
                object.validate(&mut errors, &root);
                object.validate_part(part, &old, &mut errors, &root);
            }
        }
        let warnings = object.warnings();
        Ok(Admitted { object: serde_json::to_value(object)?, errors, warnings })
    }
}
