//! Watch: a stream of changes, from a revision on or after all that there is, until the client goes or the time
//! is over.
//!
//! The store tells every change of the collection; what a client sees of it depends on its selectors: an object that
//! begins to pass was added for it, one that ceases to was deleted. A slow client waits in its own task and
//! is told `410 Expired` when history has gone on without it.
//!
//! **Invariant:** after a bookmark, the client knows everything up to its revision.

use super::answer::{self, Rendered};
use super::media::Shape;
use super::query::ListOptions;
use super::read::{Filter, expired, include};
use super::{Api, Call};
use crate::api::kinds::Kind;
use crate::api::print::{self, Include};
use crate::api::status::ApiError;
use crate::server::http::Body;
use crate::store::{Batch, Change, Entry, Expired, Happened, Watch};
use crate::{clock, limits};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One client's watch.
struct Stream {
    watch: Watch,
    kind: Arc<Kind>,
    filter: Filter,
    shape: Shape,
    include: Include,
    bookmarks: bool,
    /// The columns of a table come with its first row only.
    told_columns: bool,
    /// The beginning of every object.
    front: Bytes,
    end: Instant,
    next_bookmark: Instant,
    /// What there was at first, and the end of it.
    first: Vec<Bytes>,
    over: bool,
}

impl Api {
    /// Answers a watch.
    pub fn watch(&self, call: &Call, options: &ListOptions) -> Result<Response<Body>, ApiError> {
        let filter = Filter::new(call, options)?;
        let (kind, namespace) = (&call.kind, call.namespace());
        let collection = kind.collection();
        let now = Instant::from_std(clock::instant());
        let seconds = options.timeout_seconds.filter(|seconds| *seconds > 0);
        let seconds = seconds.unwrap_or(limits::WATCH_SECONDS).min(limits::WATCH_SECONDS * 10);
        let newest = self.store.revision();
        // Without a revision, or with 0, or if asked to: first what there is.
        let initial = match options.initial_events {
            Some(wanted) => wanted,
            None => matches!(options.version, None | Some(0)),
        };
        let from = match (initial, options.version) {
            (true, _) | (_, None | Some(0)) => newest,
            (false, Some(revision)) => revision,
        };
        let watch = match self.store.watch(&collection, namespace, from.min(newest)) {
            Ok(watch) => watch,
            Err(error) => return Ok(ended(&expired(from, error))),
        };
        let mut stream = Stream {
            watch,
            kind: Arc::clone(kind),
            filter,
            shape: call.media.shape,
            include: include(call)?,
            bookmarks: options.bookmarks,
            told_columns: false,
            front: format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind.kind), json!(kind.api_version()))
                .into(),
            end: now + Duration::from_secs(seconds),
            next_bookmark: now + limits::BOOKMARK,
            first: Vec::new(),
            over: false,
        };
        if initial {
            let page = self.store.list(&collection, namespace, None, 0, Some(from));
            let page = page.map_err(|error| expired(from, error))?;
            let passed = page.entries.iter().filter(|entry| stream.filter.passes(entry));
            let passed: Vec<_> = passed.cloned().collect();
            stream.first =
                passed.iter().map(|entry| stream.event("ADDED", entry)).collect::<Result<_, _>>()?;
            if options.initial_events == Some(true) && options.bookmarks {
                let mark = stream.bookmark(from, true);
                stream.first.push(mark);
            }
            stream.first.reverse();
        }
        let frames = futures_util::stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), stream))
        });
        let mut response = answer::response(200, call.media.content_type(), Bytes::new(), &[]);
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        Ok(response)
    }
}

/// A watch that is over before it began: the reason is its only event.
fn ended(error: &ApiError) -> Response<Body> {
    let event = json!({"type": "ERROR", "object": error.body()});
    answer::response(200, "application/json", format!("{event}\n"), &[])
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.pop() {
            return Some(first);
        }
        while !self.over {
            let batch = tokio::select! {
                biased;
                batch = self.watch.next() => Some(batch),
                () = tokio::time::sleep_until(self.end) => None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark += limits::BOOKMARK;
                    match self.watch.read() {
                        // Everything was told: that much can be promised.
                        Ok(Batch { changes, revision }) if changes.is_empty() => {
                            return Some(self.bookmark(revision, false));
                        }
                        other => Some(other),
                    }
                }
            };
            match batch {
                Some(batch) => {
                    let bytes = self.tell(batch);
                    if !bytes.is_empty() {
                        return Some(bytes);
                    }
                }
                None => {
                    self.over = true;
                    // The last word, so that the next watch can begin where this one ends.
                    if let (true, Ok(Batch { changes, revision })) = (self.bookmarks, self.watch.read()) {
                        let mut last = BytesMut::from(&*self.changes(&changes));
                        last.put_slice(&self.bookmark(revision, false));
                        return Some(last.freeze());
                    }
                }
            }
        }
        None
    }

    fn tell(&mut self, batch: Result<Batch, Expired>) -> Bytes {
        match batch {
            Ok(batch) => self.changes(&batch.changes),
            Err(error) => {
                self.over = true;
                let status = expired(0, error).body();
                format!("{}\n", json!({"type": "ERROR", "object": status})).into()
            }
        }
    }

    fn changes(&mut self, changes: &[Arc<Change>]) -> Bytes {
        let mut bytes = BytesMut::new();
        for change in changes {
            let Some((word, entry)) = self.seen(change) else { continue };
            match self.event(word, &entry) {
                Ok(event) => bytes.put_slice(&event),
                Err(error) => tracing::error!("a change cannot be told to watchers: {error}"),
            }
        }
        bytes.freeze()
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

    fn event(&mut self, word: &str, entry: &Arc<Entry>) -> Result<Bytes, ApiError> {
        let object = match self.shape {
            Shape::Table => {
                let value = Rendered::Entry(Arc::clone(entry)).value(&self.kind)?;
                let metadata = json!({"resourceVersion": entry.revision.to_string()});
                let rows = vec![print::row(&self.kind, &value, self.include, clock::wall())];
                let columns = !std::mem::replace(&mut self.told_columns, true);
                answer::table(&self.kind, metadata, columns, rows)
            }
            Shape::Partial => print::partial(&Rendered::Entry(Arc::clone(entry)).value(&self.kind)?),
            Shape::Whole | Shape::Aggregated if self.kind.twin.is_some() => {
                Rendered::Entry(Arc::clone(entry)).value(&self.kind)?
            }
            Shape::Whole | Shape::Aggregated => {
                let mut bytes = BytesMut::with_capacity(self.front.len() + entry.bytes.len() + 40);
                bytes.put_slice(format!("{{\"type\":\"{word}\",\"object\":").as_bytes());
                bytes.put_slice(&self.front);
                bytes.put_slice(&entry.bytes[1..]);
                bytes.put_slice(b"}\n");
                return Ok(bytes.freeze());
            }
        };
        Ok(format!("{}\n", json!({"type": word, "object": object})).into())
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
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

fn departed(change: &Change) -> Arc<Entry> {
    let before = change.previous.as_ref().unwrap_or(&change.entry);
    let Ok(object) = serde_json::from_slice::<Value>(&before.bytes) else { return Arc::clone(before) };
    let bytes = super::write::stored(object, change.entry.revision);
    Arc::new(Entry { key: before.key.clone(), revision: change.entry.revision, bytes })
}
