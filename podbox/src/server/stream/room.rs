//! How much of what a client sends waits on its connection for somebody to take it. One room for all that the connection
//! carries: a client may open many streams, and fill each.
//!
//! **Invariant:** what waits is no more than the room, whatever it is cut into.

use crate::limits;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a chunk takes at least: it is more than its bytes.
const LEAST: usize = 256;

/// The room of one connection.
#[derive(Debug)]
pub struct Room(Arc<Semaphore>);

/// A chunk that waits, and its part of the room.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    _part: Option<OwnedSemaphorePermit>,
}

/// Where chunks go.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::Sender<Chunk>);

/// Where they are taken from, which makes room.
#[derive(Debug)]
pub struct Chunks(mpsc::Receiver<Chunk>);

/// A way for at most so many chunks.
pub fn chunks(most: usize) -> (Sender, Chunks) {
    let (sender, receiver) = mpsc::channel(most);
    (Sender(sender), Chunks(receiver))
}

impl Room {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Room {
        Room(Arc::new(Semaphore::new(bytes)))
    }

    /// Hands a chunk on, once there is room. Whoever it was for may have gone.
    pub async fn send(&self, to: &Sender, bytes: Bytes) {
        let part = u32::try_from(bytes.len().max(LEAST)).unwrap_or(u32::MAX);
        // An error says that there is no bound any more; it is never closed.
        let part = Arc::clone(&self.0).acquire_many_owned(part).await.ok();
        let _ = to.0.send(Chunk { bytes, _part: part }).await;
    }
}

impl Chunks {
    /// The next one; none at the end. Safe to drop and call again.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|chunk| chunk.bytes)
    }
}

/// A message in pieces that are small, and that do not keep the whole of it.
pub fn pieces(message: Bytes) -> impl Iterator<Item = Bytes> {
    let whole = message.len() <= limits::STREAM_CHUNK;
    let pieces = message.len().div_ceil(limits::STREAM_CHUNK);
    (0..pieces).map(move |piece| match whole {
        true => message.clone(),
        false => {
            let begin = piece * limits::STREAM_CHUNK;
            let end = message.len().min(begin + limits::STREAM_CHUNK);
            Bytes::copy_from_slice(&message[begin..end])
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_message() {
        for length in [0, 1, limits::STREAM_CHUNK, limits::STREAM_CHUNK + 1, 5 * limits::STREAM_CHUNK] {
            let message: Bytes = (0..length).map(|at| at as u8).collect::<Vec<_>>().into();
            let pieces: Vec<_> = pieces(message.clone()).collect();
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= limits::STREAM_CHUNK));
            assert_eq!(pieces.concat(), message);
        }
    }
}
