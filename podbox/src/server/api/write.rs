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
use crate::api::field::{Errors, Path, Reason};
use crate::api::kinds::Kind;
use crate::api::lifecycle;
use crate::api::object;
use crate::api::rules::{Write, labels, meta};
use crate::api::status::ApiError;
use crate::store::{Entry, Expected, Key, WriteError};
use crate::{clock, limits};
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a write is computed again when others were faster.
const TRIES: usize = 64;
/// How often a name is generated when there are objects of those before.
const NAMES: usize = 8;
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

/// The same, written before the revision is known: the store's one writer, for whom all others wait, only puts that in.
pub fn prepared(mut object: Value) -> impl FnOnce(u64) -> Bytes + Send + 'static {
    const HEAD: &[u8] = b"{\"metadata\":{\"resourceVersion\":\"";
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    let mut tail = b"\"".to_vec();
    append(&mut tail, &metadata, &["resourceVersion"]);
    tail.push(b'}');
    append(&mut tail, &object, &["apiVersion", "kind", "metadata"]);
    tail.push(b'}');
    move |revision| [HEAD, revision.to_string().as_bytes(), &tail].concat().into()
}

/// Writes the fields of an object that begins already, but for some.
fn append(into: &mut Vec<u8>, object: &Value, without: &[&str]) {
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| !without.contains(&name.as_str())) {
        into.push(b',');
        serde_json::to_writer(&mut *into, name).expect("writing to memory");
        into.push(b':');
        serde_json::to_writer(&mut *into, value).expect("a JSON value has only string keys");
    }
}

/// Reads an entry back.
pub fn read(entry: &Entry) -> Result<Value, ApiError> {
    serde_json::from_slice(&entry.bytes)
        .map_err(|error| ApiError::internal(format!("{} in the store is no JSON: {error}", entry.key)))
}

/// The version of an object that a write says it means; `0` is any.
pub fn named_version(object: &Value) -> Option<&str> {
    Some(object::text(object, "resourceVersion")).filter(|named| !matches!(*named, "" | "0"))
}

/// Refuses an update that means any version, of a kind whose updates have to name one.
pub fn names_version(kind: &Kind, new: &Value) -> Result<(), ApiError> {
    if !kind.needs_version || named_version(new).is_some() {
        return Ok(());
    }
    let mut errors = Errors::default();
    let metadata = Path::ROOT.child("metadata");
    let why = "must be specified for an update";
    errors.add_shown(Reason::Invalid, &metadata.child("resourceVersion"), "0x0", why);
    Err(ApiError::invalid(&kind.group, &kind.plural, object::name(new), &errors))
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

/// Refuses what nests so deep that it could not be read again: formats differ in what they take.
fn readable(object: &Value) -> Result<(), ApiError> {
    fn fits(value: &Value, left: usize) -> bool {
        let mut below: Box<dyn Iterator<Item = &Value>> = match value {
            Value::Array(items) => Box::new(items.iter()),
            Value::Object(fields) => Box::new(fields.values()),
            _ => return true,
        };
        left > 0 && below.all(|value| fits(value, left - 1))
    }
    match fits(object, limits::OBJECT_DEPTH) {
        true => Ok(()),
        false => Err(ApiError::bad_request(format!(
            "the object nests more than {} levels deep",
            limits::OBJECT_DEPTH
        ))),
    }
}

pub(super) fn refuse(kind: &Kind, name: &str, errors: &Errors) -> Result<(), ApiError> {
    match errors.is_empty() {
        true => Ok(()),
        // What is stored as another kind is refused as that one.
        false => {
            let group = kind.twin.as_ref().map_or(&kind.group, |twin| &twin.of.0);
            Err(ApiError::invalid(group, &kind.kind, name, errors))
        }
    }
}

/// Lists each owner once, and takes out what is empty and need not be there. Gives back what there is to warn of.
fn tidied(kind: &Kind, object: &mut Value) -> Option<String> {
    // A selector that is not there is noted as an empty one, which is not to be taken for one that asks for nothing.
    let absent = labels::is_noted_absent(object);
    apply::prune(object, &Target::from(kind));
    if absent {
        object["spec"]["selector"] = Value::Null;
        labels::note_absence(object);
    }
    if !object["metadata"]["ownerReferences"].is_array() {
        return None;
    }
    let mut metadata = ObjectMeta::deserialize(&object["metadata"]).ok()?;
    let warning = meta::dedup_owners(&mut metadata)?;
    object::set(object, "ownerReferences", json!(metadata.owner_references));
    Some(warning)
}

/// Notes who owns the fields that a write sets.
pub fn owned(kind: &Kind, old: &Value, new: &mut Value, subresource: &str, manager: &str) {
    let (now, version) = (object::time(clock::wall()), kind.api_version());
    let reset = apply::reset(kind, subresource);
    let write = apply::Write { manager, subresource, api_version: &version, now: &now, reset };
    apply::update(old, new, &Target::from(kind), &write);
}

impl Api {
    /// Creates an object. A name that the server gives is another one if there is an object of it.
    pub async fn create(
        &self,
        call: &Call,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let generates = object::name(&object).is_empty() && !object::text(&object, "generateName").is_empty();
        if !generates {
            return self.create_one(call, object, options).await;
        }
        let mut tries = NAMES;
        loop {
            tries -= 1;
            match self.create_one(call, object.clone(), options).await {
                Err(error) if error.reason == "AlreadyExists" && tries > 0 => {}
                Err(mut error) if error.reason == "AlreadyExists" => {
                    error.message += ", the server was not able to generate a unique name for the object";
                    error.details["retryAfterSeconds"] = 1.into();
                    return Err(error);
                }
                done => return done,
            }
        }
    }

    async fn create_one(
        &self,
        call: &Call,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let kind = &call.kind;
        readable(&object)?;
        call.place(&mut object)?;
        if named_version(&object).is_some() {
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
        let account = self.account(call, &object).await?;
        let mut warnings: Vec<_> = tidied(kind, &mut object).into_iter().collect();
        let _turn = self.turn(call).await;
        warnings.extend(self.admit_create(call, &mut object, account.as_ref())?);
        let admitted = kind.rules.admit(object, Write::Create).map_err(|error| undecodable(kind, &error))?;
        let mut errors = self.metadata_errors(kind, &admitted.object, None);
        errors.0.extend(admitted.errors.0);
        refuse(kind, object::name(&admitted.object), &errors)?;
        self.guard(call, &admitted.object, None)?;
        warnings.extend(admitted.warnings);
        warnings.extend(kind.inert.as_ref().map(ToString::to_string));
        let mut object = admitted.object;
        self.allocate(kind, &mut object)?;
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
        let make = prepared(kind.to_stored(object));
        match self.store.put(&kind.collection(), &key, Expected::Absent, make).await {
            Ok(entry) => Ok(Written { object: Rendered::Entry(entry), created: true, warnings }),
            Err(WriteError::Conflict(there)) => Err(existing(there)),
            Err(error) => Err(store_error(&error)),
        }
    }

    /// Changes an object, or what of it the subresource `part` is for; empty for the object itself.
    pub async fn update(
        &self,
        call: &Call,
        part: &str,
        options: &WriteOptions,
        change: Change<'_>,
    ) -> Result<Written, ApiError> {
        let kind = &call.kind;
        let place = call.key();
        let _turn = self.turn(call).await;
        for _ in 0..TRIES {
            let Some(entry) = self.store.get(&kind.collection(), &place) else {
                return Err(ApiError::not_found(&kind.group, &kind.plural, place.name()));
            };
            let old = kind.from_stored(read(&entry)?);
            let new = change(&old)?;
            let named = named_version(&new);
            if let Some(named) = named.filter(|named| *named != entry.revision.to_string()) {
                return Err(self.conflict(call, named));
            }
            let fixed = named.is_some_and(|named| named != object::text(&old, "resourceVersion"));
            let revised = self.revise(call, part, new, &old, options)?;
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
                    let last = kind.to_stored(old.clone());
                    let make = move |revision| stored(last, revision);
                    let gone = self.store.delete(&kind.collection(), &place, expected, make).await;
                    gone.map(|_| Rendered::Value(new))
                }
                false => {
                    let make = prepared(kind.to_stored(new));
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
        part: &str,
        mut new: Value,
        old: &Value,
        options: &WriteOptions,
    ) -> Result<Option<(Value, Vec<String>)>, ApiError> {
        let kind = &call.kind;
        readable(&new)?;
        call.check_name(&new)?;
        if object::namespace(&new).is_empty() {
            object::take(&mut new, old, &["namespace"]);
        }
        lifecycle::keep(&mut new, old);
        let mut new = kind.rules.default(new).map_err(|error| undecodable(kind, &error))?;
        // What keeps a namespace has no owner.
        if part == "finalize" {
            object::take(&mut new, old, &["managedFields"]);
        } else if !options.apply {
            owned(kind, old, &mut new, part, &options.manager);
        }
        let mut warnings: Vec<_> = tidied(kind, &mut new).into_iter().collect();
        self.complete_update(call, part, &mut new, old);
        let write = match part {
            "" | "scale" => Write::Update(old),
            "status" => Write::Status(old),
            part => Write::Part(part, old),
        };
        let admitted = kind.rules.admit(new, write).map_err(|error| undecodable(kind, &error))?;
        let mut new = admitted.object;
        if let Some(fields) = new.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        // What is said of an object asks for nothing.
        if part != "status" {
            lifecycle::count(&mut new, old, kind);
        }
        let mut errors = self.metadata_errors(kind, &new, Some(old));
        errors.0.extend(admitted.errors.0);
        refuse(kind, object::name(&new), &errors)?;
        self.guard(call, &new, Some(old))?;
        if new == *old {
            return Ok(None);
        }
        warnings.extend(self.admit_update(call, part, &new, old)?);
        self.allocate(kind, &mut new)?;
        warnings.extend(admitted.warnings);
        Ok(Some((new, warnings)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_is_what_is_stored() {
        for object in [
            json!({"kind": "K", "apiVersion": "v1", "metadata": {"name": "a\"b", "resourceVersion": "4"}, "data": {"x": "é"}}),
            json!({"metadata": {}}),
            json!({"metadata": {"annotations": {"resourceVersion": "1"}}, "spec": null}),
        ] {
            let [now, later] = [stored(object.clone(), 7), prepared(object)(7)];
            let read = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).unwrap();
            assert_eq!(read(&now), read(&later), "{now:?} and {later:?}");
        }
    }
}
