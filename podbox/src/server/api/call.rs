//! One request, once it is known what it is about and that whoever asks may.

use super::media::Media;
use super::path::Info;
use super::query::Query;
use super::request::Head;
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::status::ApiError;
use crate::api::user::User;
use crate::store::Key;
use serde_json::Value;
use std::sync::Arc;

/// One request about a resource that there is, from someone who may.
#[derive(Clone)]
pub struct Call {
    /// What it is about.
    pub kind: Arc<Kind>,
    /// The words of its path.
    pub info: Info,
    /// Its parameters.
    pub query: Query,
    /// What the answer is written as.
    pub media: Media,
    /// Who asks.
    pub user: Arc<User>,
    pub(super) head: Head,
}

impl Call {
    /// The namespace it is about, if it is about one.
    pub fn namespace(&self) -> Option<&str> {
        (self.kind.namespaced() && !self.info.namespace.is_empty()).then_some(self.info.namespace.as_str())
    }

    /// Where its object is.
    pub fn key(&self) -> Key {
        Key::new(self.namespace().unwrap_or_default(), &self.info.name)
    }

    /// The same about one object of a collection.
    pub(super) fn at(&self, key: &Key) -> Call {
        let mut one = self.clone();
        key.name().clone_into(&mut one.info.name);
        key.namespace().clone_into(&mut one.info.namespace);
        one
    }

    /// Puts an object where the path says, unless it says otherwise itself.
    pub(super) fn place(&self, object: &mut Value) -> Result<(), ApiError> {
        let given = object::namespace(object);
        if self.kind.namespaced() {
            if !given.is_empty() && given != self.info.namespace {
                return Err(ApiError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            object::set(object, "namespace", self.info.namespace.clone());
        } else {
            object::set(object, "namespace", Value::Null);
        }
        Ok(())
    }

    /// Refuses an update that would move an object.
    pub(super) fn check_name(&self, object: &Value) -> Result<(), ApiError> {
        let (name, url) = (object::name(object), &self.info.name);
        if name.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({url} based on URL) was undeterminable: name must be provided"
            )));
        }
        if name != url {
            let why = format!("the name of the object ({name}) does not match the name on the URL ({url})");
            return Err(ApiError::bad_request(why));
        }
        let given = object::namespace(object);
        match self.kind.namespaced() && !given.is_empty() && given != self.info.namespace {
            true => Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            )),
            false => Ok(()),
        }
    }
}
