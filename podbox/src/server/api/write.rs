//! Create, update, patch and delete: one object from the request's words to the store's acknowledgement.
//!
//! A write is computed from the object as it is, and stored only if it still is so; else it is computed again, as
//! often as it takes, unless the client named the revision it means.
//!
//! **Invariant:** what is stored was defaulted and judged as a whole, and an answer follows the durable commit.

use super::answer::Rendered;
use super::query::WriteOptions;
use super::{Api, Call};
use crate::api::apply;
use crate::api::decode::Target;
use crate::api::field::Errors;
use crate::api::kinds::Kind;
use crate::api::lifecycle;
use crate::api::object;
use crate::api::rules::Write;
use crate::api::status::ApiError;
use crate::clock;
use crate::store::{Entry, Expected, Key, WriteError};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a write is computed again when others were faster.
const TRIES: usize = 64;
const CHANGED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// What came of a write.
pub struct Written {
    /// The object.
    pub object: Rendered,
    /// Whether it is new.
    pub created: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

/// Computes an object from the one there is.
pub type Change<'a> = &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync);

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

/// Where an object is.
pub fn key(kind: &Kind, object: &Value) -> Key {
    Key::new(if kind.namespaced() { object::namespace(object) } else { "" }, object::name(object))
}

/// A failure of the store, in the API's words.
pub fn store_error(error: &WriteError) -> ApiError {
    match error {
        WriteError::Conflict(_) => ApiError::new(409, "Conflict", CHANGED),
        error => ApiError::new(
            500,
            "InternalError",
            format!("{}; nothing was changed", crate::api::error::chain(error)),
        ),
    }
}

pub(super) fn undecodable(kind: &Kind, error: &serde_json::Error) -> ApiError {
    let (name, version) = (&kind.kind, &kind.version);
    ApiError::bad_request(format!(
        "{name} in version {version:?} cannot be handled as a {name}: json: {error}"
    ))
}

pub(super) fn refuse(kind: &Kind, name: &str, errors: &Errors) -> Result<(), ApiError> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid(&kind.group, &kind.kind, name, errors)),
    }
}

/// Notes who owns the fields that a write sets.
fn owned(kind: &Kind, old: &Value, new: &mut Value, subresource: &str, manager: &str) {
    let (now, version) = (object::time(clock::wall()), kind.api_version());
    let reset = apply::reset(kind, subresource);
    let write = apply::Write { manager, subresource, api_version: &version, now: &now, reset };
    apply::update(old, new, &Target::from(kind), &write);
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
        call.place(&mut object)?;
        if !object::text(&object, "resourceVersion").is_empty() {
            return Err(ApiError::internal("resourceVersion should not be set on objects to be created"));
        }
        if object::name(&object).is_empty() && !object::text(&object, "generateName").is_empty() {
            let name = lifecycle::generated(object::text(&object, "generateName"), crate::chance::bytes());
            object::set(&mut object, "name", name);
        }
        lifecycle::born(&mut object, kind, crate::chance::uid(), clock::wall());
        let mut object = kind.rules.default(object).map_err(|error| undecodable(kind, &error))?;
        if !options.apply {
            owned(kind, &Value::Null, &mut object, "", &options.manager);
        }
        self.account(call, &mut object).await?;
        let mut warnings = self.admit_create(call, &mut object)?;
        let admitted = kind.rules.admit(object, Write::Create).map_err(|error| undecodable(kind, &error))?;
        let mut errors = self.metadata_errors(kind, &admitted.object, None);
        errors.0.extend(admitted.errors.0);
        refuse(kind, object::name(&admitted.object), &errors)?;
        self.guard(call, &admitted.object, None)?;
        warnings.extend(admitted.warnings);
        warnings.extend(kind.inert.as_ref().map(ToString::to_string));
        let object = admitted.object;
        let key = key(kind, &object);
        let existing = |there: Option<Arc<Entry>>| {
            let mut error = ApiError::already_exists(&kind.group, &kind.plural, key.name());
            if there.is_some_and(|there| read(&there).is_ok_and(|there| object::deleting(&there))) {
                error.message = format!("object is being deleted: {}", error.message);
            }
            error
        };
        if options.dry_run {
            return match self.store.get(&kind.collection(), &key) {
                Some(there) => Err(existing(Some(there))),
                None => Ok(Written { object: Rendered::Value(object), created: true, warnings }),
            };
        }
        let make = move |revision| stored(object, revision);
        match self.store.put(&kind.collection(), &key, Expected::Absent, make).await {
            Ok(entry) => Ok(Written { object: Rendered::Entry(entry), created: true, warnings }),
            Err(WriteError::Conflict(there)) => Err(existing(there)),
            Err(error) => Err(store_error(&error)),
        }
    }

    /// Changes an object, or its status alone.
    pub async fn update(
        &self,
        call: &Call,
        status: bool,
        options: &WriteOptions,
        change: Change<'_>,
    ) -> Result<Written, ApiError> {
        let kind = &call.kind;
        let place = call.key();
        for _ in 0..TRIES {
            let Some(entry) = self.store.get(&kind.collection(), &place) else {
                return Err(ApiError::not_found(&kind.group, &kind.plural, place.name()));
            };
            let old = read(&entry)?;
            let new = change(&old)?;
            let named = object::text(&new, "resourceVersion");
            if !named.is_empty() && named != entry.revision.to_string() {
                return Err(self.conflict(call, named));
            }
            let fixed = !named.is_empty() && named != object::text(&old, "resourceVersion");
            let revised = self.revise(call, status, new, &old, options)?;
            let Some((new, warnings)) = revised else {
                return Ok(Written { object: Rendered::Entry(entry), created: false, warnings: Vec::new() });
            };
            if options.dry_run {
                return Ok(Written { object: Rendered::Value(new), created: false, warnings });
            }
            let expected = Expected::Revision(entry.revision);
            let put = match lifecycle::released(&new, &old, kind) {
                true => {
                    // Watchers see it go as it was before its last finalizer went.
                    let last = old.clone();
                    let make = move |revision| stored(last, revision);
                    let gone = self.store.delete(&kind.collection(), &place, expected, make).await;
                    gone.map(|_| Rendered::Value(new))
                }
                false => {
                    let make = move |revision| stored(new, revision);
                    self.store.put(&kind.collection(), &place, expected, make).await.map(Rendered::Entry)
                }
            };
            match put {
                Ok(object) => return Ok(Written { object, created: false, warnings }),
                Err(WriteError::Conflict(_)) if !fixed => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(ApiError::conflict(&kind.group, &kind.plural, place.name(), CHANGED))
    }

    /// The object to store, if it differs from the one there is.
    fn revise(
        &self,
        call: &Call,
        status: bool,
        mut new: Value,
        old: &Value,
        options: &WriteOptions,
    ) -> Result<Option<(Value, Vec<String>)>, ApiError> {
        let kind = &call.kind;
        call.check_name(&new)?;
        if object::namespace(&new).is_empty() {
            object::take(&mut new, old, &["namespace"]);
        }
        let uid = object::uid(&new);
        if !uid.is_empty() && uid != object::uid(old) {
            let (theirs, ours) = (uid.to_owned(), object::uid(old));
            let why =
                format!("Precondition failed: UID in precondition: {theirs}, UID in object meta: {ours}");
            return Err(ApiError::conflict(&kind.group, &kind.plural, object::name(old), &why));
        }
        lifecycle::keep(&mut new, old);
        let mut new = kind.rules.default(new).map_err(|error| undecodable(kind, &error))?;
        if !options.apply {
            owned(kind, old, &mut new, if status { "status" } else { "" }, &options.manager);
        }
        let write = if status { Write::Status(old) } else { Write::Update(old) };
        let admitted = kind.rules.admit(new, write).map_err(|error| undecodable(kind, &error))?;
        let mut new = admitted.object;
        if let Some(fields) = new.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        lifecycle::count(&mut new, old, kind);
        let mut errors = self.metadata_errors(kind, &new, Some(old));
        errors.0.extend(admitted.errors.0);
        refuse(kind, object::name(&new), &errors)?;
        self.guard(call, &new, Some(old))?;
        if new == *old {
            return Ok(None);
        }
        Ok(Some((new, admitted.warnings)))
    }

    fn conflict(&self, call: &Call, named: &str) -> ApiError {
        match named.parse::<u64>() {
            Ok(_) => ApiError::conflict(&call.kind.group, &call.kind.plural, &call.info.name, CHANGED),
            Err(_) => ApiError::internal(format!("strconv.ParseUint: parsing {named:?}: invalid syntax")),
        }
    }

    /// A success that has nothing to show but what is gone.
    pub fn success(kind: &Kind, object: &Value) -> Value {
        let mut details =
            json!({"name": object::name(object), "kind": kind.plural, "uid": object::uid(object)});
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }
}
