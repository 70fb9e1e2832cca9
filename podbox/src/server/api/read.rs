//! Get and list: objects as of the newest revision or, for the pages of one list, of the revision it began with.

use super::answer::{self, Rendered};
use super::query::{ListOptions, Match, revision};
use super::{Api, Call, listing};
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::print::Include;
use crate::api::selector::{FieldTest, Fields, Labels};
use crate::api::status::ApiError;
use crate::limits;
use crate::server::http::Body;
use crate::store::{Entry, Expired, Key};
use data_encoding::BASE64URL_NOPAD;
use hyper::Response;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a list is to go on.
#[derive(Debug, Deserialize, Serialize)]
struct Token {
    v: Cow<'static, str>,
    /// The revision of the list's first page; -1 for whichever is newest.
    rv: i64,
    /// The last key of the page before.
    start: String,
}

const TOKEN: &str = "meta.k8s.io/v1";

/// What a list has, or one page of it.
pub struct Selected {
    /// Its objects.
    pub entries: Vec<Arc<Entry>>,
    /// What it says of itself: its revision, and where it goes on.
    pub metadata: Value,
}

/// What an object must be to be in a list.
#[derive(Clone, Debug)]
pub struct Filter {
    labels: Labels,
    fields: Fields,
    kind: Arc<Kind>,
}

#[derive(Deserialize)]
struct WithLabels<'a> {
    #[serde(borrow)]
    metadata: LabelsOnly<'a>,
}

#[derive(Deserialize)]
struct LabelsOnly<'a> {
    #[serde(borrow, default)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

/// The field that tells whether an object is being deleted, and nothing else.
#[derive(Deserialize)]
struct WithDeletion {
    metadata: DeletionOnly,
}

#[derive(Deserialize)]
struct DeletionOnly {
    #[serde(rename = "deletionTimestamp")]
    deletion: Option<IgnoredAny>,
}

/// Whether an object is being deleted; found without making anything of the rest of it.
pub fn deleting(entry: &Entry) -> bool {
    let read: Result<WithDeletion, _> = serde_json::from_slice(&entry.bytes);
    read.is_ok_and(|read| read.metadata.deletion.is_some())
}

impl Filter {
    /// What a list asks for; refuses fields that the kind cannot be selected by.
    pub fn new(call: &Call, options: &ListOptions) -> Result<Filter, ApiError> {
        let kind = &call.kind;
        let common = ["metadata.name", "metadata.namespace"];
        let own = |field: &str| common.contains(&field) || kind.fields.contains(&field);
        if let Some(test) = options.fields.0.iter().find(|test| !own(&test.field)) {
            let field = &test.field;
            return Err(ApiError::bad_request(match kind.fields.is_empty() {
                true => format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                ),
                false => format!("field label not supported: {field}"),
            }));
        }
        let mut fields = options.fields.clone();
        // The one that the path names is all that was allowed.
        if !call.info.name.is_empty() {
            let (field, value) = ("metadata.name".to_owned(), call.info.name.clone());
            fields.0.push(FieldTest { field, value, equal: true });
        }
        Ok(Filter { labels: options.labels.clone(), fields, kind: Arc::clone(kind) })
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object passes.
    pub fn passes(&self, entry: &Entry) -> bool {
        let labels = || {
            let read: Result<WithLabels, _> = serde_json::from_slice(&entry.bytes);
            read.is_ok_and(|read| {
                self.labels.matches(|key| read.metadata.labels.get(key).map(|value| &**value))
            })
        };
        let fields = || {
            serde_json::from_slice::<Value>(&entry.bytes)
                .is_ok_and(|object| self.fields.matches(&self.kind.from_stored(object)))
        };
        (self.labels.is_empty() || labels()) && (self.fields.is_empty() || fields())
    }

    /// The same of an object that is not stored.
    pub fn passes_value(&self, object: &Value) -> bool {
        self.labels.matches(|key| object::label(object, key)) && self.fields.matches(object)
    }
}

/// How much of the objects a table is to have.
pub fn include(call: &Call) -> Result<Include, ApiError> {
    match call.query.text("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "Object" => Ok(Include::Object),
        "None" => Ok(Include::None),
        other => Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

/// 504: a revision that is not there yet.
fn future(asked: u64, newest: u64) -> ApiError {
    let message = format!("Timeout: Too large resource version: {asked}, current: {newest}");
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    let details = json!({"causes": [cause], "retryAfterSeconds": 1});
    ApiError { details, ..ApiError::new(504, "Timeout", message) }
}

/// 410: a revision that is not there any more.
pub fn expired(asked: u64, error: Expired) -> ApiError {
    ApiError::new(410, "Expired", format!("too old resource version: {asked} ({})", error.oldest))
}

impl Api {
    /// An object, or the reason why there is none.
    pub fn find(&self, call: &Call) -> Result<Arc<Entry>, ApiError> {
        let (kind, key) = (&call.kind, call.key());
        let found = self.store.get(&kind.collection(), &key);
        found.ok_or_else(|| ApiError::not_found(&kind.group, &kind.plural, &call.info.name))
    }

    /// Answers a get.
    pub fn get(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        if let Some(asked) = revision(call.query.text("resourceVersion")).map_err(ApiError::internal)? {
            let newest = self.store.revision();
            if asked > newest {
                return Err(future(asked, newest));
            }
        }
        let object = Rendered::Entry(self.find(call)?);
        answer::object(200, &call.kind, &object, call.media, include(call)?, &[])
    }

    /// Answers a list.
    pub async fn list(&self, call: &Call, options: &ListOptions) -> Result<Response<Body>, ApiError> {
        let include = include(call)?;
        let selected = self.select(call, options).await?;
        let found: Vec<_> = selected.entries.into_iter().map(Rendered::Entry).collect();
        let many = found.len() > limits::LIST_TURN;
        let answer = answer::list(&call.kind, found, selected.metadata, call.media, include)?;
        // What is stored as it is sent is only copied; the rest is made of each object.
        Ok(match many && !listing::is_copied(&call.kind, call.media) {
            true => answer.map(|body| self.aside.body(body)),
            false => answer,
        })
    }

    /// What a list has.
    pub async fn select(&self, call: &Call, options: &ListOptions) -> Result<Selected, ApiError> {
        let filter = Filter::new(call, options)?;
        let token = match options.token.as_str() {
            "" => None,
            text => Some(read_token(text)?),
        };
        let newest = self.store.revision();
        let at = match (&token, options.version) {
            (Some(token), _) => u64::try_from(token.rv).ok(),
            (None, Some(asked)) if asked > newest => return Err(future(asked, newest)),
            // A limited list at a revision without a word on how to take it means exactly that one.
            (None, Some(asked)) if options.version_match == Match::Exact => Some(asked),
            (None, Some(asked))
                if asked > 0 && options.limit > 0 && options.version_match == Match::Unset =>
            {
                Some(asked)
            }
            (None, _) => None,
        };
        let namespace = call.namespace();
        let after = token.as_ref().map(|token| Key::raw(&token.start));
        // What does not pass counts for nothing, so all of it is looked at until enough did.
        let want = if filter.is_empty() { options.limit } else { 0 };
        let page = self.store.list(&call.kind.collection(), namespace, after.as_ref(), want, at);
        let page = page.map_err(|_| gone(token))?;
        let revision = page.revision;
        let (mut found, mut last) = (Vec::new(), None);
        let remaining = page.remaining;
        let mut entries = page.entries.into_iter();
        while let Some(entry) = entries.next() {
            if entries.len() % limits::LIST_TURN == 0 && !filter.is_empty() {
                tokio::task::yield_now().await;
            }
            last = Some(entry.key.clone());
            if filter.passes(&entry) {
                found.push(entry);
                if found.len() == options.limit {
                    break;
                }
            }
        }
        let left = remaining + entries.len();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if left > 0 {
            let start = last.as_ref().map(Key::as_str).unwrap_or_default().to_owned();
            metadata["continue"] = write_token(Some(revision), start).into();
            if filter.is_empty() {
                metadata["remainingItemCount"] = left.into();
            }
        }
        Ok(Selected { entries: found, metadata })
    }
}

/// What there was at a revision is not known any more. A list that began then can go on with what there is now, by the token
/// that this gives.
fn gone(token: Option<Token>) -> ApiError {
    let Some(token) = token else {
        return ApiError::new(410, "Expired", "The resourceVersion for the provided list is too old.");
    };
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    let next = write_token(None, token.start);
    ApiError { metadata: json!({"continue": next}), ..ApiError::new(410, "Expired", message) }
}

/// The token of a list at a revision, or at whichever is newest.
fn write_token(revision: Option<u64>, start: String) -> String {
    let rv = revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
    let token = Token { v: TOKEN.into(), rv, start };
    BASE64URL_NOPAD.encode(serde_json::to_string(&token).unwrap_or_default().as_bytes())
}

fn read_token(text: &str) -> Result<Token, ApiError> {
    let bad = |why: &str| {
        ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
    let bytes = bytes.map_err(|error| bad(&error.to_string()))?;
    let first = || String::from_utf8_lossy(&bytes).chars().next().unwrap_or(' ');
    let token: Token = serde_json::from_slice(&bytes)
        .map_err(|_| bad(&format!("invalid character '{}' looking for beginning of value", first())))?;
    match token.v == TOKEN {
        true => Ok(token),
        false => Err(bad(&format!("server does not recognize this encoded version {:?}", token.v))),
    }
}
