//! Create, update, patch and delete: one object from the request's words to the store's acknowledgement.
//!
//! A write is computed from the object as it is, and stored only if it still is so; else it is computed again, as
//! often as it takes, unless the client named the revision it means.
//!
//! **Invariant:** what is stored was defaulted and judged as a whole, and an answer follows the durable commit.

use super::answer::{Answer, Rendered};
use super::query::WriteOptions;
use super::{Api, Call};
use crate::api::field::Errors;
use crate::api::kinds::{Kind, Subresource};
use crate::api::lifecycle::{self, Deleted, Deletion};
use crate::api::object;
use crate::api::rules::Write;
use crate::api::status::ApiError;
use crate::clock;
use crate::store::{Entry, Expected, Key, PutError};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a write is computed again when others were faster.
const TRIES: usize = 64;

/// What an update is made of.
pub enum Change<'a> {
    /// The whole object.
    Replace(Value),
    /// What to do to the object as it is.
    Patch(&'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync)),
}

/// What came of a write.
pub struct Written {
    /// The object.
    pub object: Rendered,
    /// Whether it is new.
    pub created: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl Written {
    /// The answer to the client.
    pub fn answer(self, kind: &Arc<Kind>) -> Answer {
        let code = if self.created { 201 } else { 200 };
        Answer::object(code, kind, self.object).warned(self.warnings)
    }
}

/// The stored form: without kind and apiVersion, which its place tells, and with the revision it got.
pub fn stored(mut object: Value, revision: u64) -> Bytes {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object::set(&mut object, "resourceVersion", revision.to_string());
    serde_json::to_vec(&object).expect("a JSON value has only string keys").into()
}

/// Reads an entry back.
pub fn read(entry: &Entry) -> Result<Value, ApiError> {
    serde_json::from_slice(&entry.bytes)
        .map_err(|error| ApiError::internal(format!("{} in the store is no JSON: {error}", entry.key)))
}

impl Api {
    /// Creates an object.
    pub async fn create(
        &self,
        call: &Call,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let kind = &call.kind;
        self.place(call, &mut object)?;
        if !object::text(&object, "resourceVersion").is_empty() {
            return Err(ApiError::internal("resourceVersion should not be set on objects to be created"));
        }
        let given = !object::name(&object).is_empty();
        if !given && !object::text(&object, "generateName").is_empty() {
            let random = self.random();
            let name = lifecycle::generated(object::text(&object, "generateName"), random);
            object::set(&mut object, "name", name);
        }
        lifecycle::born(&mut object, kind, self.uid(), clock::wall());
        let mut warnings = self.admit_create(call, &mut object)?;
        let admitted = kind.rules.admit(object, Write::Create).map_err(|e| undecodable(kind, &e))?;
        let mut errors = self.metadata_errors(kind, &admitted.object, None);
        errors.0.extend(admitted.errors.0);
        refuse(kind, object::name(&admitted.object), &errors)?;
        warnings.extend(admitted.warnings);
        warnings.extend(kind.inert.as_ref().map(ToString::to_string));
        let object = self.managed(call, options, None, admitted.object)?;
        if options.dry_run {
            let key = key(kind, &object);
            self.refuse_existing(kind, &key)?;
            return Ok(Written { object: Rendered::Value(object), created: true, warnings });
        }
        let key = key(kind, &object);
        let put = self.store.put(&key, Expected::Absent, move |revision| stored(object, revision)).await;
        let entry = put.map_err(|error| self.create_error(kind, error))?;
        Ok(Written { object: Rendered::Entry(entry), created: true, warnings })
    }
}
