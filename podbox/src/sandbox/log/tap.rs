//! Shows what a container writes to whoever is attached to it, as the pump moves it: each byte once, in order, from
//! the moment of attaching on.
//!
//! **Invariant:** a client that does not take its output holds the container up for [`ATTACH_STALL`] at most; then it
//! is let go, and never misses a byte before that.
//!
//! [`ATTACH_STALL`]: crate::limits::ATTACH_STALL

use super::cri::Name;
use crate::limits;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What was written, and on which stream.
pub type Shown = (Name, Bytes);

/// Who is attached to one container.
#[derive(Clone, Debug, Default)]
pub struct Taps(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: Vec<mpsc::Sender<Shown>>,
    /// The container will write nothing more.
    closed: bool,
}

impl Taps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the output from now on, to its end.
    pub fn open(&self) -> mpsc::Receiver<Shown> {
        let (sender, receiver) = mpsc::channel(limits::ATTACH_CHUNKS);
        let mut state = self.state();
        if !state.closed {
            state.open.push(sender);
        }
        receiver
    }

    /// Whether everything has been written, and shown to whoever took it.
    pub fn over(&self) -> bool {
        self.state().closed
    }

    pub(super) fn wanted(&self) -> bool {
        !self.state().open.is_empty()
    }

    pub(super) async fn show(&self, name: Name, bytes: Bytes) {
        self.show_within(limits::ATTACH_STALL, name, bytes).await;
    }

    async fn show_within(&self, stall: Duration, name: Name, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let open = self.state().open.clone();
        for tap in open {
            let sent = tokio::time::timeout(stall, tap.send((name, bytes.clone()))).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.state().open.retain(|other| !other.same_channel(&tap));
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_others_get_everything() {
        let taps = Taps::default();
        let (mut good, stuck) = (taps.open(), taps.open());
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some((_, bytes)) = good.recv().await {
                got.extend_from_slice(&bytes);
            }
            got
        });
        for number in 0..100u8 {
            let bytes = Bytes::copy_from_slice(&[number]);
            taps.show_within(Duration::from_millis(20), Name::Stdout, bytes).await;
        }
        taps.close();
        assert_eq!(reading.await.unwrap(), (0..100).collect::<Vec<u8>>());
        assert_eq!(stuck.len(), limits::ATTACH_CHUNKS);
        assert!(stuck.is_closed());
        assert!(taps.open().recv().await.is_none(), "after the end there is nothing to follow");
    }
}
