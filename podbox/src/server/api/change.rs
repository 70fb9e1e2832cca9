//! Update and patch: what a client wants made of an object, or of the part that a subresource is for.

use super::query::WriteOptions;
use super::write::names_version;
use super::{Api, Call, request};
use crate::api::decode::{self, Decoded, FieldValidation, Target};
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::patch::Patch;
use crate::api::status::ApiError;
use crate::server::http::Body;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

impl Api {
    /// Answers an update of an object, or of a part.
    pub(super) async fn replace(
        &self,
        call: &Call,
        body: Incoming,
        options: &WriteOptions,
        part: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (object, warnings) = self.decode(call, body, options).await?;
        call.check_name(&object)?;
        let there = self.store.get(&call.kind.collection(), &call.key()).is_some();
        if !there && call.kind.create_on_update && part.is_empty() {
            self.may_create(call)?;
            let mut object = object;
            object::set(&mut object, "resourceVersion", Value::Null);
            let written = self.create(call, object, options).await?;
            return self.show(call, written, warnings);
        }
        let change = |old: &Value| {
            is_the_one(&call.kind, &object, old)?;
            names_version(&call.kind, &object)?;
            Ok(object.clone())
        };
        let written = self.update(call, part, options, &change).await?;
        self.show(call, written, warnings)
    }

    /// Answers a patch of an object, or of a part.
    pub(super) async fn patch(
        &self,
        call: &Call,
        body: Incoming,
        part: &str,
    ) -> Result<Response<Body>, ApiError> {
        if call.head.content_type.starts_with("application/apply-patch+yaml") {
            return self.apply(call, body, part).await;
        }
        let options = WriteOptions::read(&call.query, "PatchOptions", &call.head.agent, false)?;
        let bytes = request::read(body).await?;
        let patch = Patch::read(&call.head.content_type, &bytes)?;
        // Those of the last try are those of the patch that counts.
        let warnings = Mutex::new(Vec::new());
        let change = |old: &Value| {
            let new = patched(&patch, &call.kind, old, options.validation)?;
            *warnings.lock().unwrap_or_else(PoisonError::into_inner) = new.warnings;
            names_version(&call.kind, &new.object).map(|()| new.object)
        };
        let written = self.update(call, part, &options, &change).await?;
        self.show(call, written, warnings.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a patch makes of an object of a kind.
pub(super) fn patched(
    patch: &Patch,
    kind: &Kind,
    old: &Value,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let patched = patch.apply(whole(kind, old))?;
    let words = patched.clone();
    decode::patched(patched, &Target::from(kind), validation, || patch.shown(&words))
}

/// An object with what its place tells.
pub(super) fn whole(kind: &Kind, object: &Value) -> Value {
    let mut whole = object.clone();
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("kind".into(), kind.kind.to_string().into());
        fields.insert("apiVersion".into(), kind.api_version().into());
    }
    whole
}

/// An update that names a uid means the object of that uid and no other.
pub(super) fn is_the_one(kind: &Kind, new: &Value, old: &Value) -> Result<(), ApiError> {
    let (theirs, ours) = (object::uid(new), object::uid(old));
    if theirs.is_empty() || theirs == ours {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {theirs}, UID in object meta: {ours}");
    Err(ApiError::conflict(&kind.group, &kind.plural, object::name(old), &why))
}
