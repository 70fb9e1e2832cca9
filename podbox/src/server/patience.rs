//! A stream that ends when what is written to it moves nowhere for too long: whoever asks and does not read holds
//! memory that others may need. Reading waits for ever; who reads sets limits of its own.
//!
//! A person may look at one page of a command's output, or of a log, for as long as they like, and what is sent then is
//! made only as it is taken: such an answer is marked [`Unhurried`], and the kernel's keep-alive alone decides.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

/// Marks, among a response's extensions, an answer that its client may take as slowly as it likes.
#[derive(Clone, Copy, Debug)]
pub struct Unhurried;

/// A stream whose writes wait only so long.
pub struct Patience<S> {
    inner: S,
    limit: Duration,
    /// Runs while a write waits; any progress ends it.
    alarm: Option<Pin<Box<Sleep>>>,
    pace: Pace,
    /// The connection's place among all, also once it has become another protocol's.
    _place: Option<OwnedSemaphorePermit>,
}

/// Whether what a stream is used for now has to be read at some pace.
#[derive(Clone, Debug)]
pub struct Pace(Arc<AtomicBool>);

impl Pace {
    /// Says so, from now on.
    pub fn hurry(&self, hurry: bool) {
        self.0.store(hurry, Ordering::Relaxed);
    }
}

impl<S> Patience<S> {
    /// Waits for ever, as long as nothing else is said.
    pub fn new(inner: S) -> Patience<S> {
        let pace = Pace(Arc::new(AtomicBool::new(true)));
        Patience { inner, limit: Duration::MAX, alarm: None, pace, _place: None }
    }

    /// The same of a connection that has a place among others.
    pub fn holding(inner: S, place: OwnedSemaphorePermit) -> Patience<S> {
        Patience { _place: Some(place), ..Patience::new(inner) }
    }

    /// Waits so long for each next step.
    pub fn waiting(self, limit: Duration) -> Patience<S> {
        Patience { limit, ..self }
    }

    /// Changes whether it does.
    pub fn pace(&self) -> Pace {
        self.pace.clone()
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || !self.pace.0.load(Ordering::Relaxed) {
            self.alarm = None;
            return written;
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        alarm.as_mut().poll(context).map(|()| {
            let why = format!("the other side read nothing for {} s", self.limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_reader_that_reads_nothing_ends_the_writer() {
        let (ours, _theirs) = duplex(16);
        let mut ours = Patience::new(ours).waiting(Duration::from_millis(20));
        ours.write_all(&[0; 16]).await.unwrap();
        let error = ours.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Patience::new(ours).waiting(Duration::from_secs(3600));
        let writing = tokio::spawn(async move { ours.write_all(&[7; 64]).await });
        let mut read = [0; 64];
        for byte in &mut read {
            *byte = theirs.read_u8().await.unwrap();
        }
        writing.await.unwrap().unwrap();
        assert_eq!(read, [7; 64]);
    }
}
