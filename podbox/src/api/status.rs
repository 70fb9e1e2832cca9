//! Failures as the Kubernetes API tells them: a `Status` object with a code, a reason and causes. Pure.

use super::field::Errors;
use serde_json::{Value, json};
use std::fmt;

/// A request that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// The word clients branch on: `NotFound`, `Conflict`, `Invalid`, … May be empty.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The `details` of the Status, or null.
    pub details: Value,
    /// The `metadata` of the Status, or null: where a list goes on that cannot as it was.
    pub metadata: Value,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason, message: message.into(), details: Value::Null, metadata: Value::Null }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 500 whose message is an error's.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(500, "", message)
    }

    /// 404 for an object. `resource` is `pods` or `deployments.apps`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> ApiError {
        ApiError {
            details: details(group, resource, name),
            ..ApiError::new(404, "NotFound", format!("{} {name:?} not found", qualified(resource, group)))
        }
    }

    /// 409 for a create.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> ApiError {
        ApiError {
            details: details(group, resource, name),
            ..ApiError::new(
                409,
                "AlreadyExists",
                format!("{} {name:?} already exists", qualified(resource, group)),
            )
        }
    }

    /// 409 for a write on something that has changed meanwhile.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        ApiError {
            details: details(group, resource, name),
            ..ApiError::new(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(resource, group)),
            )
        }
    }

    /// 403.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        ApiError {
            details: details(group, resource, name),
            ..ApiError::new(
                403,
                "Forbidden",
                format!("{} {name:?} is forbidden: {why}", qualified(resource, group)),
            )
        }
    }

    /// 422, naming every field that is wrong.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &Errors) -> ApiError {
        let causes: Vec<_> = errors.0.iter().map(cause).collect();
        let mut lines: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        // What is found twice is two causes, but told once.
        let mut told = std::collections::BTreeSet::new();
        lines.retain(|line| told.insert(line.clone()));
        let told = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut details = details(group, kind, name);
        details["causes"] = causes.into();
        ApiError {
            details,
            ..ApiError::new(422, "Invalid", format!("{} {name:?} is invalid: {told}", qualified(kind, group)))
        }
    }

    /// The Status object.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.metadata.is_null() {
            body["metadata"] = self.metadata.clone();
        }
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }
}

fn cause(error: &super::field::FieldError) -> Value {
    json!({"reason": error.reason.word(), "message": error.body(), "field": error.field})
}

/// `deployments.apps`, or `pods` in the group without a name.
pub fn qualified(resource: &str, group: &str) -> String {
    match group {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    }
}

fn details(group: &str, resource: &str, name: &str) -> Value {
    let mut details = serde_json::Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", resource)] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    Value::Object(details)
}
