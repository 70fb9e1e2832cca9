//! Delete and deletecollection.

use super::answer::Rendered;
use super::query::{ListOptions, Query, dry_run_errors};
use super::write::{prepared, read, store_error};
use super::{Api, Call};
use crate::api::field::{Errors, Path, Reason};
use crate::api::kinds::Kind;
use crate::api::lifecycle::{self, Deleted, Deletion, Propagation};
use crate::api::object;
use crate::api::objects::Seen;
use crate::api::status::ApiError;
use crate::clock;
use crate::store::{Entry, Expected, Key, WriteError};
use serde_json::Value;
use std::sync::Arc;

/// What a delete asks for.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    deletion: Deletion,
    uid: Option<String>,
    version: Option<String>,
    dry_run: bool,
}

impl DeleteOptions {
    /// Without grace, and only the object of this uid. What is to become of its dependents stays as it was asked before.
    pub fn at_once(uid: &str) -> DeleteOptions {
        let deletion = Deletion { grace_seconds: Some(0), propagation: None };
        DeleteOptions { deletion, uid: Some(uid.to_owned()), ..DeleteOptions::default() }
    }

    /// With the object's own grace, and only as what it was seen.
    pub fn seen(seen: &Seen, propagation: Option<Propagation>) -> DeleteOptions {
        let uid = Some(seen.uid.clone()).filter(|uid| !uid.is_empty());
        let version = seen.revision.map(|revision| revision.to_string());
        let deletion = Deletion { grace_seconds: None, propagation };
        DeleteOptions { deletion, uid, version, dry_run: false }
    }

    /// Only the object of this uid, unless another is named already: a name may be another's by now.
    pub fn only(self, uid: &str) -> DeleteOptions {
        let uid = Some(self.uid.unwrap_or_else(|| uid.to_owned()));
        DeleteOptions { uid, ..self }
    }

    /// Only the object as it was at this version.
    pub fn at_version(self, version: &str) -> DeleteOptions {
        DeleteOptions { version: Some(version.to_owned()), ..self }
    }

    /// Whether they are about one version only.
    pub fn names_version(&self) -> bool {
        self.version.is_some()
    }

    /// With the object's own grace; what it owns goes after it.
    pub fn background() -> DeleteOptions {
        let deletion = Deletion { grace_seconds: None, propagation: Some(Propagation::Background) };
        DeleteOptions { deletion, ..DeleteOptions::default() }
    }

    /// The same, but nothing is to be done.
    pub fn dry(self) -> DeleteOptions {
        DeleteOptions { dry_run: true, ..self }
    }

    /// Whether nothing is to be done.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Reads them from a body, if there is one, else from the query.
    pub fn read(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, ApiError> {
        let empty = Value::Null;
        let body = body.unwrap_or(&empty);
        if let Some(kind) = body["kind"].as_str().filter(|kind| *kind != "DeleteOptions") {
            let version = body["apiVersion"].as_str().unwrap_or_default();
            return Err(ApiError::bad_request(format!(
                "no kind {kind:?} is registered for version {version:?}; a delete takes DeleteOptions"
            )));
        }
        let from_body = body.is_object();
        let word = |name: &str| match from_body {
            true => body[name].as_str().unwrap_or_default().to_owned(),
            false => query.text(name).to_owned(),
        };
        let dry_run: Vec<String> = match from_body {
            true => body["dryRun"].as_array().into_iter().flatten().map(text).collect(),
            false => Vec::new(),
        };
        let dry_run = if dry_run.is_empty() { query.all("dryRun").to_vec() } else { dry_run };
        let grace = match from_body {
            true => body["gracePeriodSeconds"].as_i64(),
            false => query.number("gracePeriodSeconds")?,
        };
        let orphan = match from_body {
            true => body["orphanDependents"].as_bool(),
            false => query.has("orphanDependents").then(|| query.flag("orphanDependents")),
        };
        let mut errors = Errors::default();
        let field = Path::ROOT.child("propagationPolicy");
        let named = word("propagationPolicy");
        let propagation = match (named.as_str(), orphan) {
            ("", Some(true)) => Some(Propagation::Orphan),
            ("", Some(false)) => Some(Propagation::Background),
            ("", None) => None,
            (policy, Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.invalid(&field, policy, why);
                None
            }
            ("Foreground", None) => Some(Propagation::Foreground),
            ("Background", None) => Some(Propagation::Background),
            ("Orphan", None) => Some(Propagation::Orphan),
            (other, None) => {
                let all = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
                errors.add(Reason::NotSupported, &field, other, all);
                None
            }
        };
        dry_run_errors(&dry_run, &mut errors);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let condition = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        Ok(DeleteOptions {
            deletion: Deletion { grace_seconds: grace, propagation },
            uid: condition("uid"),
            version: condition("resourceVersion"),
            dry_run: !dry_run.is_empty(),
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What came of a delete.
pub struct Removed {
    /// The object as it is, or as it went.
    pub object: Rendered,
    /// Whether it is gone, and is to be told as a success rather than shown.
    pub plain: bool,
    /// Whether anything was different.
    pub changed: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl Api {
    /// Deletes an object, or begins to.
    pub async fn delete(&self, call: &Call, options: &DeleteOptions) -> Result<Removed, ApiError> {
        let kind = &call.kind;
        let place = call.key();
        self.admit_delete(call, place.name())?;
        let mut warnings = Vec::new();
        if &*kind.group == "batch" && kind.kind == "Job" && options.deletion.propagation.is_none() {
            warnings.push(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
                 them or set propagationPolicy=Orphan to suppress this warning"
                    .to_owned(),
            );
        }
        // As it was when this deletion made it go. Whoever saw that may be faster to take it away.
        let mut going: Option<(Arc<Entry>, String)> = None;
        loop {
            let entry = self.store.get(&kind.collection(), &place);
            let old = entry.as_deref().map(read).transpose()?;
            let is = |uid: &str| old.as_ref().is_some_and(|old| object::uid(old) == uid);
            if let Some((last, _)) = going.as_ref().filter(|(_, uid)| !is(uid)) {
                let object = Rendered::Entry(Arc::clone(last));
                return Ok(Removed { object, plain: false, changed: true, warnings });
            }
            let (Some(entry), Some(old)) = (entry, old) else {
                return Err(ApiError::not_found(&kind.group, &kind.plural, place.name()));
            };
            check(kind, &old, options)?;
            match self.remove(kind, &place, &entry, &old, options, &mut going).await {
                Ok((object, plain)) => {
                    let object = match object {
                        Rendered::Value(object) => Rendered::Value(kind.from_stored(object)),
                        entry => entry,
                    };
                    let changed = !matches!(&object, Rendered::Entry(now) if now.revision == entry.revision);
                    return Ok(Removed { object, plain, changed, warnings });
                }
                // Someone else was faster: look again.
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
    }

    async fn remove(
        &self,
        kind: &Kind,
        place: &Key,
        entry: &Arc<Entry>,
        old: &Value,
        options: &DeleteOptions,
        going: &mut Option<(Arc<Entry>, String)>,
    ) -> Result<(Rendered, bool), WriteError> {
        let collection = kind.collection();
        let expected = Expected::Revision(entry.revision);
        let deleted = lifecycle::delete(old, kind, options.deletion, clock::wall());
        if options.dry_run {
            return Ok(match deleted {
                Deleted::Unchanged => (Rendered::Entry(Arc::clone(entry)), false),
                Deleted::Marked(new) | Deleted::Gone(Some(new)) => (Rendered::Value(new), false),
                Deleted::Gone(None) => (Rendered::Value(old.clone()), true),
            });
        }
        match deleted {
            Deleted::Unchanged => Ok((Rendered::Entry(Arc::clone(entry)), false)),
            Deleted::Marked(new) => {
                let put = self.store.put(&collection, place, expected, prepared(new)).await?;
                Ok((Rendered::Entry(put), false))
            }
            Deleted::Gone(None) => {
                self.store.delete(&collection, place, expected, prepared(old.clone())).await?;
                Ok((Rendered::Value(old.clone()), true))
            }
            Deleted::Gone(Some(new)) => {
                // Watchers see first that it is going, then that it went.
                let last = prepared(new.clone());
                let put = self.store.put(&collection, place, expected, prepared(new)).await?;
                let expected = Expected::Revision(put.revision);
                *going = Some((Arc::clone(&put), object::uid(old).to_owned()));
                self.store.delete(&collection, place, expected, last).await?;
                Ok((Rendered::Entry(put), false))
            }
        }
    }

    /// Deletes what a list would show, which may be only the first of many; gives back what it showed, and what the list
    /// said of itself.
    pub async fn delete_collection(
        &self,
        call: &Call,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<(Vec<Rendered>, Value), ApiError> {
        let selected = self.select(call, list).await?;
        let mut gone = Vec::new();
        for entry in selected.entries {
            let one = call.at(&entry.key);
            let listed = options.clone().only(object::uid(&read(&entry)?));
            match self.delete(&one, &listed).await {
                Ok(_) => gone.push(Rendered::Entry(entry)),
                // It went meanwhile, and perhaps another of its name came.
                Err(error) if error.code == 404 || error.code == 409 && options.uid.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((gone, selected.metadata))
    }
}

/// Whether an object is the one that is meant.
pub fn check(kind: &Kind, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let refuse = |what: &str, wanted: &str, there: &str, perhaps: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({there}). The object might \
             have been {perhaps}"
        );
        Err(ApiError {
            message: format!("Operation cannot be fulfilled on {} {:?}: {why}", kind.kind, object::name(old)),
            ..ApiError::conflict(&kind.group, &kind.kind, object::name(old), &why)
        })
    };
    let (uid, version) = (object::uid(old), object::text(old, "resourceVersion"));
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return refuse("UID", wanted, uid, "deleted and then recreated");
    }
    if let Some(wanted) = options.version.as_deref().filter(|wanted| *wanted != version) {
        return refuse("ResourceVersion", wanted, version, "modified");
    }
    Ok(())
}
