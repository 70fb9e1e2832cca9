//! What a change is for one client, and its bytes. Knows nothing of waiting.

use crate::api::kinds::Kind;
use crate::api::print::{self, Include};
use crate::api::status::ApiError;
use crate::clock;
use crate::server::api::answer::{self, Rendered};
use crate::server::api::media::Shape;
use crate::server::api::read::Filter;
use crate::server::api::write;
use crate::store::{Change, Entry, Happened};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use std::sync::Arc;

/// How a client sees a collection.
pub struct View {
    kind: Arc<Kind>,
    filter: Filter,
    shape: Shape,
    include: Include,
    /// The columns of a table come with its first row only.
    told_columns: bool,
    /// The beginning of every object.
    front: Bytes,
}

impl View {
    /// Objects that pass a filter, in a shape.
    pub fn new(kind: &Arc<Kind>, filter: Filter, shape: Shape, include: Include) -> View {
        let front = format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind.kind), json!(kind.api_version()));
        View { kind: Arc::clone(kind), filter, shape, include, told_columns: false, front: front.into() }
    }

    /// Writes the event of an object that was there from the beginning, if the client is to see it.
    pub fn first(&mut self, entry: &Arc<Entry>, into: &mut BytesMut) {
        if self.filter.passes(entry) {
            self.event("ADDED", entry, into);
        }
    }

    /// Writes the event of a change, if it is one for this client.
    pub fn change(&mut self, change: &Change, into: &mut BytesMut) {
        if let Some((word, entry)) = self.seen(change) {
            self.event(word, &entry, into);
        }
    }

    /// What a change is for this client.
    fn seen(&self, change: &Change) -> Option<(&'static str, Arc<Entry>)> {
        if self.filter.is_empty() {
            let word = match change.happened {
                Happened::Added => "ADDED",
                Happened::Modified => "MODIFIED",
                Happened::Deleted => "DELETED",
            };
            return Some((word, Arc::clone(&change.entry)));
        }
        let before = change.previous.as_ref().is_some_and(|entry| self.filter.passes(entry));
        let after = change.happened != Happened::Deleted && self.filter.passes(&change.entry);
        match (before, after) {
            (false, true) => Some(("ADDED", Arc::clone(&change.entry))),
            (true, true) => Some(("MODIFIED", Arc::clone(&change.entry))),
            (true, false) if change.happened == Happened::Deleted => {
                Some(("DELETED", Arc::clone(&change.entry)))
            }
            // As it was when the client saw it last, but at the revision at which it went.
            (true, false) => Some(("DELETED", departed(change))),
            (false, false) => None,
        }
    }

    fn event(&mut self, word: &str, entry: &Arc<Entry>, into: &mut BytesMut) {
        // The bytes of the store as they are, for each watcher: copying them costs less than sharing them would, since
        // each has to be encrypted for itself anyway.
        let whole = matches!(self.shape, Shape::Whole | Shape::Aggregated);
        if whole && self.kind.twin.is_none() {
            into.reserve(self.front.len() + entry.bytes.len() + 40);
            for part in
                [b"{\"type\":\"", word.as_bytes(), b"\",\"object\":", &self.front, &entry.bytes[1..], b"}\n"]
            {
                into.put_slice(part);
            }
            return;
        }
        match self.object(entry) {
            Ok(object) => into.put_slice(format!("{}\n", json!({"type": word, "object": object})).as_bytes()),
            Err(error) => tracing::error!("a change cannot be told to watchers: {error}"),
        }
    }

    fn object(&mut self, entry: &Arc<Entry>) -> Result<Value, ApiError> {
        let value = Rendered::Entry(Arc::clone(entry)).value(&self.kind)?;
        match self.shape {
            Shape::Partial => return Ok(print::partial(&value)),
            Shape::Whole | Shape::Aggregated => return Ok(value),
            Shape::Table => {}
        }
        let metadata = json!({"resourceVersion": entry.revision.to_string()});
        let rows = vec![print::row(&self.kind, &value, self.include, clock::wall())];
        let columns = !std::mem::replace(&mut self.told_columns, true);
        Ok(answer::table(&self.kind, metadata, columns, rows))
    }

    /// The event that says up to which revision the client knows everything.
    pub fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.shape {
            Shape::Table => answer::table(&self.kind, metadata, false, Vec::new()),
            Shape::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Shape::Whole | Shape::Aggregated => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
        };
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }
}

/// The event that ends a watch before its time.
pub fn failure(error: &ApiError) -> Bytes {
    format!("{}\n", json!({"type": "ERROR", "object": error.body()})).into()
}

fn departed(change: &Change) -> Arc<Entry> {
    let before = change.previous.as_ref().unwrap_or(&change.entry);
    let Ok(object) = serde_json::from_slice::<Value>(&before.bytes) else { return Arc::clone(before) };
    let bytes = write::stored(object, change.entry.revision);
    Arc::new(Entry { key: before.key.clone(), revision: change.entry.revision, bytes })
}
