//! The streams of one HTTP/2 connection: whether there are any, and which of them wait for a client that takes nothing.
//!
//! A client can keep one stream's window shut while its connection is well and answers every ping, so what the kernel and
//! [`Patience`](super::patience::Patience) know of the connection is not enough. Each stream is a task of its own, and its
//! body tells whose turn it is:
//!
//! ```text
//!   the server's (a handler works, a watch is quiet) ◀──▶ the client's (bytes are there, and no window)
//!                                                            └─ too long: the stream is reset, the others go on
//! ```

use super::http::Body;
use crate::limits;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};

tokio::task_local! {
    /// The stream that a task serves.
    static TURN: Arc<Turn>;
}

/// Whose turn it is on a stream.
#[derive(Debug, Default)]
struct Turn {
    client: AtomicBool,
    /// Chunks that were handed over.
    moved: AtomicU64,
}

impl Turn {
    fn hand_over(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.client.store(true, Ordering::Relaxed);
    }
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub struct Streams {
    open: watch::Sender<usize>,
    stall: Duration,
}

impl Streams {
    /// Of a connection on which a client may take so long for the next chunk of an answer.
    pub fn new(stall: Duration) -> Streams {
        Streams { open: watch::channel(0).0, stall }
    }

    /// Completes when there was no stream for so long: for the first one, and between two.
    pub async fn idle(&self, first: Duration, between: Duration) {
        let mut open = self.open.subscribe();
        let mut limit = first;
        loop {
            let limited = if *open.borrow_and_update() == 0 { limit } else { Duration::MAX };
            if timeout(limited, open.changed()).await.is_err() {
                return;
            }
            limit = between;
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.open.send_modify(|open| *open += 1);
        let turn = Arc::new(Turn::default());
        let supervised =
            Supervised { stream: Box::pin(stream), turn: Arc::clone(&turn), stall: self.stall, alarm: None };
        let over = Over(self.open.clone());
        tokio::spawn(TURN.scope(turn, async move {
            supervised.await;
            drop(over);
        }));
    }
}

/// Counts a stream as over, also one that panicked.
struct Over(watch::Sender<usize>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// A stream that ends when its client takes nothing for too long. Dropped, it is reset.
struct Supervised<F> {
    stream: Pin<Box<F>>,
    turn: Arc<Turn>,
    stall: Duration,
    /// Runs while it is the client's turn, since that many chunks had been handed over.
    alarm: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<F: Future<Output = ()>> Future for Supervised<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !self.turn.client.load(Ordering::Relaxed) {
            self.alarm = None;
            return Poll::Pending;
        }
        let (moved, stall) = (self.turn.moved.load(Ordering::Relaxed), self.stall);
        let (alarm, since) = self.alarm.get_or_insert_with(|| (Box::pin(sleep(stall)), moved));
        if *since != moved {
            *since = moved;
            alarm.as_mut().reset(Instant::from_std(crate::clock::instant()) + stall);
        }
        let over = alarm.as_mut().poll(context);
        if over.is_ready() {
            tracing::debug!(
                "an answer was given up: its client took nothing of it for {} s",
                stall.as_secs()
            );
        }
        over
    }
}

/// A body that tells whose turn it is, where it is the answer on one of several streams; elsewhere the same body.
pub fn paced(body: Body) -> Body {
    match TURN.try_with(Arc::clone) {
        Ok(turn) => {
            turn.hand_over();
            Paced { body, turn }.boxed_unsync()
        }
        Err(_) => body,
    }
}

struct Paced {
    body: Body,
    turn: Arc<Turn>,
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(_) => self.turn.hand_over(),
            Poll::Pending => self.turn.client.store(false, Ordering::Relaxed),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long clients may take for what; the same for everybody but tests.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For taking the next bytes of an answer.
    pub stall: Duration,
    /// For the first request on a connection.
    pub first: Duration,
    /// For the next request on a connection of several streams.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times { stall: limits::WRITE_STALL, first: limits::HEADER_READ, idle: limits::IDLE }
    }
}

#[cfg(test)]
mod tests;
