//! Server-side apply: a configuration is merged into the object, which need not be there yet.

use super::change::whole;
use super::query::WriteOptions;
use super::{Api, Call, answer, read, request};
use crate::api::apply::{self, Write};
use crate::api::decode::{self, FieldValidation, Format, Target};
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

impl Api {
    /// Answers an apply to an object or to its status.
    pub(super) async fn apply(
        &self,
        call: &Call,
        body: Incoming,
        part: &str,
    ) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::read(&call.query, "PatchOptions", &call.head.agent, true)?;
        let bytes = request::read(body).await?;
        let (kind, target) = (&call.kind, Target::from(&*call.kind));
        says_what_it_is(&bytes)?;
        let decoded = decode::body(&bytes, Format::Yaml, &target, options.validation)?;
        let mut config = decoded.object;
        if object::name(&config).is_empty() {
            object::set(&mut config, "name", call.info.name.clone());
        }
        call.check_name(&config)?;
        all_known(&bytes, &target, &config)?;
        let (now, version) = (object::time(clock::wall()), kind.api_version());
        let write = Write {
            manager: &options.manager,
            subresource: part,
            api_version: &version,
            now: &now,
            reset: apply::reset(kind, part),
        };
        let merged = |live: &Value| -> Result<Value, ApiError> {
            Ok(apply::apply(&whole(kind, live), &config, &target, &write, options.force)?.object)
        };
        let there = self.store.get(&kind.collection(), &call.key()).is_some();
        let mut written = match there || !part.is_empty() {
            true => self.update(call, part, &options, &merged).await?,
            false => {
                self.may_create(call)?;
                let uid = object::uid(&config);
                if !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(ApiError::conflict(&kind.group, &kind.plural, &call.info.name, &why));
                }
                let mut new = apply::apply(&Value::Null, &config, &target, &write, options.force)?.object;
                object::set(&mut new, "resourceVersion", Value::Null);
                self.create(call, new, &options).await?
            }
        };
        written.warnings.extend(decoded.warnings);
        let code = if written.created { 201 } else { 200 };
        answer::object(code, kind, &written.object, call.media, read::include(call)?, &written.warnings)
    }
}

/// A configuration has to say what it is of: an applier may send it anywhere.
fn says_what_it_is(bytes: &[u8]) -> Result<(), ApiError> {
    let Ok(config) = decode::loose(bytes) else { return Ok(()) };
    let word = |field: &str| config[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    match config.is_object() && (kind.is_empty() || version.is_empty()) {
        true => Err(ApiError::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}"))),
        false => Ok(()),
    }
}

/// What is applied is owned, field by field: one that there is not is refused, whatever `fieldValidation` says.
fn all_known(bytes: &[u8], target: &Target<'_>, config: &Value) -> Result<(), ApiError> {
    let decoded = decode::body(bytes, Format::Yaml, target, FieldValidation::Warn)?;
    let unknown = decoded.warnings.iter().find_map(|warning| warning.strip_prefix("unknown field \""));
    let Some(field) = unknown.map(|rest| rest.trim_end_matches('"')) else { return Ok(()) };
    let (namespace, name) = (object::namespace(config), object::name(config));
    Err(ApiError::internal(format!(
        "failed to create typed patch object ({namespace}/{name}; {}/{}, Kind={}): .{field}: field not declared in schema",
        target.group, target.version, target.kind
    )))
}
