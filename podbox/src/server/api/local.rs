//! The API for podbox's own parts: the same path as a client's request, without HTTP.

use super::answer::Rendered;
use super::delete::DeleteOptions;
use super::media::Media;
use super::path::Info;
use super::query::{Query, WriteOptions};
use super::request::Head;
use super::write::Change;
use super::{Api, Call};
use crate::api::decode::FieldValidation;
use crate::api::kinds::Kind;
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects, Seen, Target, Token, TokenWanted, Writes};
use crate::api::status::ApiError;
use crate::api::user::{MASTERS, User};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of podbox that uses the API under a name of its own.
#[derive(Clone)]
pub struct Local {
    api: Arc<Api>,
    name: &'static str,
    user: Arc<User>,
}

impl Local {
    /// A client called `name`: it is the manager of the fields that it sets.
    pub fn new(api: Arc<Api>, name: &'static str) -> Local {
        let user = Arc::new(User::authenticated(format!("system:{name}"), [MASTERS.to_owned()]));
        Local { api, name, user }
    }

    fn call(&self, object: &ObjectRef) -> Result<Call, ApiError> {
        self.call_of(object.api_version, object.kind, &object.namespace, &object.name)
    }

    fn call_of(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Call, ApiError> {
        let kinds = self.api.kinds();
        let kind: &Arc<Kind> = kinds
            .kind(api_version, kind)
            .ok_or_else(|| ApiError::internal(format!("there is no kind {kind} in {api_version}")))?;
        Ok(self.about(kind, namespace, name))
    }

    /// A call about an object of a kind, or with an empty name about all of them.
    pub(super) fn about(&self, kind: &Arc<Kind>, namespace: &str, name: &str) -> Call {
        let info = Info {
            is_resource: true,
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            namespace: namespace.to_owned(),
            resource: kind.plural.to_string(),
            name: name.to_owned(),
            ..Info::default()
        };
        let user = Arc::clone(&self.user);
        let head = Head::local(self.name);
        Call { kind: Arc::clone(kind), info, query: Query::default(), media: Media::JSON, user, head }
    }

    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// The collections of all kinds that lie in namespaces.
    pub fn collections(&self) -> Vec<String> {
        let kinds = self.api.kinds();
        let all = kinds.iter().filter(|kind| kind.namespaced() && kind.stored() && kind.twin.is_none());
        all.map(|kind| kind.collection()).collect()
    }

    /// Changes what of an object a subresource is for.
    pub(super) async fn change(
        &self,
        part: &str,
        object: &ObjectRef,
        change: Change<'_>,
    ) -> Result<Value, ApiError> {
        let call = self.call(object)?;
        let written = self.api.update(&call, part, &self.options(), change).await?;
        written.object.value(&call.kind)
    }

    fn options(&self) -> WriteOptions {
        WriteOptions {
            dry_run: false,
            manager: self.name.to_owned(),
            validation: FieldValidation::Strict,
            force: false,
            apply: false,
        }
    }

    /// Creates an object, and gives it back as it is stored.
    pub async fn create(&self, new: Value) -> Result<Value, ApiError> {
        let word = |field: &str| new[field].as_str().unwrap_or_default().to_owned();
        let call = self.call_of(&word("apiVersion"), &word("kind"), object::namespace(&new), "")?;
        let written = self.api.create(&call, new, &self.options()).await?;
        written.object.value(&call.kind)
    }

    /// Changes an object, but for its status, if it still is at the revision that `new` names.
    pub async fn replace(&self, object: &ObjectRef, new: Value) -> Result<Value, ApiError> {
        let call = self.call(object)?;
        let written = self.api.update(&call, "", &self.options(), &|_| Ok(new.clone())).await?;
        written.object.value(&call.kind)
    }

    /// The same, whatever revision it is at.
    async fn set(
        &self,
        part: &str,
        object: &ObjectRef,
        set: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        let apply = |old: &Value| {
            let mut new = old.clone();
            set(&mut new);
            object::set(&mut new, "resourceVersion", Value::Null);
            Ok(new)
        };
        self.change(part, object, &apply).await
    }

    /// An object.
    pub fn get(&self, object: &ObjectRef) -> Result<Value, ApiError> {
        let call = self.call(object)?;
        Rendered::Entry(self.api.find(&call)?).value(&call.kind)
    }
}

impl Objects for Local {
    async fn ensure(&self, new: Value) -> Result<(), ApiError> {
        match self.create(new).await {
            Err(error) if error.reason != "AlreadyExists" => Err(error),
            _ => Ok(()),
        }
    }

    async fn update(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        self.set("", object, change).await
    }

    async fn update_status(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        self.set("status", object, change).await
    }

    async fn bind(&self, pod: &ObjectRef, uid: &str, node: &str) -> Result<(), ApiError> {
        self.api.bind(&self.call(pod)?, uid, node).await
    }

    async fn token(
        &self,
        pod: &ObjectRef,
        uid: &str,
        account: &str,
        wanted: &TokenWanted,
    ) -> Result<Token, ApiError> {
        let namespace = pod.namespace.clone();
        let account =
            ObjectRef { kind: "ServiceAccount", name: account.to_owned(), namespace, ..pod.clone() };
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": uid});
        let mut asked = json!({"spec": {"expirationSeconds": wanted.seconds, "boundObjectRef": bound}});
        if !wanted.audience.is_empty() {
            asked["spec"]["audiences"] = json!([wanted.audience]);
        }
        let made = self.api.issue(&asked, &self.get(&account)?)?;
        let word = |field: &str| made["status"][field].as_str().unwrap_or_default();
        let expires = object::read_time(word("expirationTimestamp"));
        let expires = expires.ok_or_else(|| ApiError::internal("no token was made"))?;
        Ok(Token { token: word("token").to_owned(), expires })
    }

    async fn remove(&self, object: &ObjectRef, uid: &str) -> Result<(), ApiError> {
        let options = DeleteOptions::at_once(uid);
        match self.api.delete(&self.call(object)?, &options).await {
            // It is gone, or another of its name is there: either way this one is not.
            Err(error) if !matches!(error.code, 404 | 409) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Local {
    fn call_at(&self, at: &Target) -> Result<Call, ApiError> {
        self.call_of(&at.api_version, &at.kind, &at.namespace, &at.name)
    }
}

impl Writes for Local {
    async fn create(&self, new: Value) -> Result<String, ApiError> {
        let word = |field: &str| new[field].as_str().unwrap_or_default().to_owned();
        let call = self.call_of(&word("apiVersion"), &word("kind"), object::namespace(&new), "")?;
        let written = self.api.create(&call, new, &self.options()).await?;
        Ok(match &written.object {
            Rendered::Entry(entry) => entry.key.name().to_owned(),
            Rendered::Value(object) => object::name(object).to_owned(),
        })
    }

    async fn edit(
        &self,
        at: &Target,
        part: &'static str,
        seen: &Seen,
        edit: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<bool, ApiError> {
        let call = self.call_at(at)?;
        let before = AtomicU64::new(0);
        let change = |old: &Value| {
            let revision = object::text(old, "resourceVersion").parse().unwrap_or(0);
            before.store(revision, Ordering::Relaxed);
            if !seen.uid.is_empty() && seen.uid != object::uid(old) {
                // Another of its name.
                return Err(ApiError::not_found(&call.kind.group, &call.kind.plural, &at.name));
            }
            let mut new = old.clone();
            edit(&mut new);
            object::set(&mut new, "resourceVersion", seen.revision.map(|revision| revision.to_string()));
            Ok(new)
        };
        let written = self.api.update(&call, part, &self.options(), &change).await?;
        Ok(match &written.object {
            Rendered::Entry(entry) => entry.revision != before.load(Ordering::Relaxed),
            // It was released, and is gone.
            Rendered::Value(_) => true,
        })
    }

    async fn delete(
        &self,
        at: &Target,
        seen: &Seen,
        propagation: Option<Propagation>,
    ) -> Result<bool, ApiError> {
        let options = DeleteOptions::seen(seen, propagation);
        self.api.delete(&self.call_at(at)?, &options).await.map(|removed| removed.changed)
    }

    async fn remove(&self, at: &Target, seen: &Seen) -> Result<bool, ApiError> {
        let options = DeleteOptions::at_once(&seen.uid);
        self.api.delete(&self.call_at(at)?, &options).await.map(|removed| removed.changed)
    }
}
