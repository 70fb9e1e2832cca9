//! Requests that take the processor for long, kept from holding up all others: large bodies and what is made of large
//! objects, long lists that are written as tables, documents about every kind.
//!
//! The runtime has few threads, and watches, heartbeats and pods' workers share them. What is done here leaves its
//! thread's other tasks to another thread, and no more is done at the same time than there are processors: the kernel
//! shares those fairly between what is heavy and what is not.

use super::Api;
use super::path::Info;
use crate::api::kinds::Kind;
use crate::auth::rbac;
use crate::limits;
use crate::server::http::Body;
use crate::store::Key;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Lets heavy work take turns.
#[derive(Clone, Debug)]
pub struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Aside {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Aside(Arc::new(Semaphore::new(processors)))
    }
}

type Acquiring = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The wait for one turn.
#[derive(Default)]
struct Turn(Option<Acquiring>);

impl Turn {
    /// Does one step of some work, once it is its turn. What waits for others meanwhile has no turn.
    fn step<T>(
        &mut self,
        aside: &Aside,
        context: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let turn = self.0.get_or_insert_with(|| Box::pin(Arc::clone(&aside.0).acquire_owned()));
        let turn = ready!(turn.as_mut().poll(context));
        self.0 = None;
        let done = leaving_others(|| step(context));
        drop(turn);
        done
    }
}

/// Runs something long, while another thread runs this one's other tasks.
fn leaving_others<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        // There is nothing to leave them to.
        _ => run(),
    }
}

impl Aside {
    /// Does work whose steps are heavy.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut turn = Turn::default();
        poll_fn(|context| turn.step(self, context, |context| work.as_mut().poll(context))).await
    }

    /// A body whose pieces are heavy to make.
    pub fn body(&self, body: Body) -> Body {
        Heavy { body, aside: self.clone(), turn: Turn::default() }.boxed_unsync()
    }
}

struct Heavy {
    body: Body,
    aside: Aside,
    turn: Turn,
}

impl hyper::body::Body for Heavy {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Heavy { body, aside, turn } = self.get_mut();
        turn.step(aside, context, |context| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Api {
    /// Whether answering a request takes long, by what it sends and what it is about.
    pub(super) fn is_heavy(&self, kind: &Kind, info: &Info, body: &SizeHint) -> bool {
        let large = |bytes: usize| bytes >= limits::LARGE_BODY;
        let writes = !matches!(info.verb, "get" | "list" | "watch");
        if !writes {
            return false;
        }
        let there = || {
            let namespace = if kind.namespaced() { info.namespace.as_str() } else { "" };
            let entry = self.store.get(&kind.collection(), &Key::new(namespace, &info.name));
            entry.is_some_and(|entry| large(entry.bytes.len()))
        };
        body.exact().is_none_or(|bytes| large(usize::try_from(bytes).unwrap_or(usize::MAX)))
            || *kind.group == *rbac::GROUP
            || (!info.name.is_empty() && there())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Work that holds its thread until others have done something, on a runtime with one.
    #[test]
    fn others_go_on_while_a_thread_is_busy() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (done, others) = mpsc::channel();
        let went_on = runtime.block_on(async {
            let heavy = tokio::spawn(async move {
                let work = async move { others.recv_timeout(Duration::from_secs(60)).is_ok() };
                Aside::default().run(work).await
            });
            tokio::spawn(async move { done.send(()) });
            heavy.await.unwrap()
        });
        assert!(went_on, "another task waited for the heavy one");
    }

    #[tokio::test]
    async fn what_waits_leaves_its_turn_to_others() {
        let aside = Aside(Arc::new(Semaphore::new(1)));
        let (first, second) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let waits = aside.run(async {
            first.notify_one();
            second.notified().await;
        });
        let wakes = aside.run(async {
            first.notified().await;
            second.notify_one();
        });
        tokio::join!(waits, wakes);
    }
}
