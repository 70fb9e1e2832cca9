//! Patches: what they say, and what they make of an object. Pure.

use super::status::ApiError;
use serde_json::Value;

/// A patch.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
}

impl Patch {
    /// Reads one of a content type.
    pub fn read(content_type: &str, bytes: &[u8]) -> Result<Patch, ApiError> {
        let bad = |error: serde_json::Error| ApiError::bad_request(format!("error decoding patch: {error}"));
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => serde_json::from_slice(bytes).map(Patch::Json).map_err(bad),
            "application/merge-patch+json" => serde_json::from_slice(bytes).map(Patch::Merge).map_err(bad),
            _ => {
                let details = serde_json::json!({});
                Err(ApiError {
                    details,
                    ..ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
                })
            }
        }
    }

    /// What it makes of an object.
    pub fn apply(&self, mut object: Value) -> Result<Value, ApiError> {
        match self {
            Patch::Merge(patch) => json_patch::merge(&mut object, patch),
            Patch::Json(patch) => json_patch::patch(&mut object, patch).map_err(|_| {
                let why = "the server rejected our request due to an error in our request";
                ApiError::new(422, "Invalid", why)
            })?,
        }
        Ok(object)
    }
}
