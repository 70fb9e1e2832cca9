//! Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, on JSON. Pure.
//!
//! What comes out is not yet an object of its kind: `api::decode::patched` gives it its shape. What a patch may make of
//! little text is bounded: operations by [`json::OPERATIONS`], what `copy` adds by [`json::COPIED`], nesting by
//! [`json::DEPTH`].

pub mod json;
pub mod merge;
pub mod strategic;

#[cfg(test)]
mod tests;

use super::decode::{Target, document};
use super::status::ApiError;
use serde_json::Value;

/// A patch that has been read.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(json::Operations),
    /// RFC 7386.
    Merge(Value),
    /// A strategic merge.
    Strategic(Value),
}

impl Patch {
    /// Reads one of a content type.
    pub fn read(content_type: &str, bytes: &[u8]) -> Result<Patch, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => json::Operations::read(bytes).map(Patch::Json),
            "application/merge-patch+json" => object(bytes).map(Patch::Merge),
            "application/strategic-merge-patch+json" => object(bytes).map(Patch::Strategic),
            _ => Err(ApiError {
                details: Value::Object(serde_json::Map::new()),
                ..ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            }),
        }
    }

    /// What it makes of an object. A strategic merge goes by the shape of the kind that the object says it is.
    pub fn apply(&self, mut object: Value) -> Result<Value, ApiError> {
        match self {
            Patch::Json(operations) => operations.apply(&mut object)?,
            Patch::Merge(patch) => merge::apply(&mut object, patch.clone()),
            Patch::Strategic(patch) => {
                let word = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
                let (api_version, kind) = (word("apiVersion"), word("kind"));
                let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
                let target = Target::named(group, version, &kind);
                strategic::apply(&mut object, patch.clone(), target.schema, &target.root)?;
            }
        }
        Ok(object)
    }

    /// As an error about what it made shows it: the object, or the strategic patch, as upstream does.
    pub fn shown(&self, patched: &Value) -> String {
        match self {
            Patch::Json(_) | Patch::Merge(_) => patched.to_string(),
            Patch::Strategic(patch) => shown(patch),
        }
    }
}

/// A value as Go prints it in errors: `map[spec:map[bogus:1]]`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// Reads a patch that is to be an object.
pub fn object(bytes: &[u8]) -> Result<Value, ApiError> {
    match document(bytes).map_err(undecodable)? {
        patch @ Value::Object(_) => Ok(patch),
        other => {
            let is = super::decode::word(&other);
            Err(undecodable(format!(
                "json: cannot unmarshal {is} into Go value of type map[string]interface {{}}"
            )))
        }
    }
}

fn undecodable(why: String) -> ApiError {
    ApiError::bad_request(format!("error decoding patch: {why}"))
}
