//! Watch: a stream of changes, from a revision on or after all that there is, until the client goes or the time
//! is over.
//!
//! ```text
//!   first: what there is ──▶ changes the store has told ──▶ waiting ──┬─ a change ──▶ changes …
//!                                                                      ├─ a minute ──▶ bookmark, waiting
//!                                                                      └─ the end, or history is gone ──▶ last words
//! ```
//!
//! The store tells every change of the collection; what a client sees of it depends on its selectors: an object that
//! begins to pass was added for it, one that ceases to was deleted ([`event`]). A slow client waits in its own task and
//! is told `410 Expired` when history has gone on without it. What waits for it are the store's own objects, a bounded
//! number of them, and one chunk of bytes.
//!
//! **Invariant:** after a bookmark, the client knows everything up to its revision.

mod event;

use super::answer;
use super::query::ListOptions;
use super::read::{Filter, expired, include};
use super::{Api, Call};
use crate::api::status::ApiError;
use crate::server::http::Body;
use crate::store::{Batch, Change, Entry, Expired, Watch};
use crate::{clock, limits};
use bytes::{BufMut, Bytes, BytesMut};
use event::View;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use tokio::time::{Instant, Sleep, sleep_until};

/// One client's watch.
struct Stream {
    watch: Watch,
    view: View,
    bookmarks: bool,
    end: Instant,
    /// Rings for the next bookmark or the end. One for both and for the whole life: there may be thousands of watches.
    alarm: Pin<Box<Sleep>>,
    /// What there was at first, as far as it was not told.
    first: vec::IntoIter<Arc<Entry>>,
    /// The revision to be told after that.
    first_end: Option<u64>,
    /// What the store told, as far as it was not told on.
    changes: vec::IntoIter<Arc<Change>>,
    /// What is to be told after those.
    last: Option<Bytes>,
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
            // A watch that is over before it began: the reason is its only event.
            Err(error) => {
                let event = event::failure(&expired(from, error));
                return Ok(answer::response(200, "application/json", event, &[]));
            }
        };
        let mut first = Vec::new();
        if initial {
            let page = self.store.list(&collection, namespace, None, 0, Some(from));
            first = page.map_err(|error| expired(from, error))?.entries;
        }
        let end = now + Duration::from_secs(seconds);
        let ring = if options.bookmarks { end.min(now + limits::BOOKMARK) } else { end };
        let stream = Stream {
            watch,
            view: View::new(kind, filter, call.media.shape, include(call)?),
            bookmarks: options.bookmarks,
            end,
            alarm: Box::pin(sleep_until(ring)),
            first: first.into_iter(),
            first_end: (options.initial_events == Some(true) && options.bookmarks).then_some(from),
            changes: Vec::new().into_iter(),
            last: None,
            over: false,
        };
        let frames = futures_util::stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), stream))
        });
        let mut response = answer::response(200, call.media.content_type(), Bytes::new(), &[]);
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        Ok(response)
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.known() {
                Some(bytes) if !bytes.is_empty() => return Some(bytes),
                // Many were looked at and none is for this client: it is others' turn.
                Some(_) => tokio::task::yield_now().await,
                None if self.over => return None,
                None => self.wait().await,
            }
        }
    }

    /// The bytes of some of what is known; none if all of it was told.
    fn known(&mut self) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        for looked in 0..limits::LIST_TURN {
            if bytes.len() >= limits::ANSWER_CHUNK {
                break;
            }
            if let Some(entry) = self.first.next() {
                self.view.first(&entry, &mut bytes);
            } else if let Some(revision) = self.first_end.take() {
                bytes.put_slice(&self.view.bookmark(revision, true));
            } else if let Some(change) = self.changes.next() {
                self.view.change(&change, &mut bytes);
            } else if let Some(last) = self.last.take() {
                bytes.put_slice(&last);
            } else if looked == 0 {
                return None;
            } else {
                break;
            }
        }
        Some(bytes.freeze())
    }

    async fn wait(&mut self) {
        tokio::select! {
            biased;
            () = &mut self.alarm => self.ring(),
            batch = self.watch.next() => self.take(batch),
        }
    }

    fn take(&mut self, batch: Result<Batch, Expired>) {
        match batch {
            Ok(batch) => self.changes = batch.changes.into_iter(),
            Err(error) => {
                self.over = true;
                self.last = Some(event::failure(&expired(0, error)));
            }
        }
    }

    /// A minute or all of the time has passed.
    fn ring(&mut self) {
        let now = self.alarm.deadline();
        self.over = now >= self.end;
        match self.watch.read() {
            // What came up to the end is told, whoever was late. The next watch can begin where this one ends; and where everything
            // was told, that can be promised.
            Ok(batch) if self.over || batch.changes.is_empty() => {
                self.last = self.bookmarks.then(|| self.view.bookmark(batch.revision, false));
                self.changes = batch.changes.into_iter();
            }
            batch => self.take(batch),
        }
        self.alarm.as_mut().reset(self.end.min(now + limits::BOOKMARK));
    }
}
