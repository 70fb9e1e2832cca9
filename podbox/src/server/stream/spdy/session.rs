//! One SPDY connection: a reader that hands streams and their chunks out, and a writer that all streams share.
//!
//! ```text
//!   client ─▶ reader ─▶ new streams ─▶ handler
//!                └────▶ each stream's chunks ─▶ Incoming
//!   client ◀─ writer ◀─ frames ◀─ Outgoing of each stream, replies, pings
//! ```
//!
//! **Invariant:** what waits in it is bounded: frames, streams, the chunks of each, and the bytes of all chunks together.

use super::frame::{self, Control, HEAD, Head};
use super::headers::{Headers, Packer, Unpacker};
use crate::limits;
use crate::server::stream::room::{self, Chunks, Room};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

/// A frame that is to be written.
enum Frame {
    Reply(u32),
    Reset(u32, u32),
    Ping(u32),
    Data(u32, bool, Bytes),
}

/// A stream that the client opened.
#[derive(Debug)]
pub struct Stream {
    /// What it is for.
    pub headers: Headers,
    /// What the client sends.
    pub incoming: Incoming,
    /// What it gets.
    pub outgoing: Outgoing,
}

/// What a client sends on a stream.
#[derive(Debug)]
pub struct Incoming {
    chunks: Chunks,
    gone: oneshot::Receiver<()>,
}

/// What a client gets on a stream. Dropped, it ends its half of the stream.
#[derive(Debug)]
pub struct Outgoing {
    stream: u32,
    frames: mpsc::Sender<Frame>,
    ended: bool,
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Incoming {
    /// The next chunk; none at the end. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await
    }

    /// Waits until the client gives the stream up, or is gone.
    pub async fn gone(&mut self) {
        let _ = (&mut self.gone).await;
    }

    /// The chunks, and the end of the stream, apart.
    pub fn split(self) -> (Chunks, oneshot::Receiver<()>) {
        (self.chunks, self.gone)
    }
}

impl Outgoing {
    /// Sends a chunk, once there is room for it.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.frames.send(Frame::Data(self.stream, false, bytes)).await.map_err(|_| Gone)
    }

    /// Says that no more will come.
    pub async fn end(mut self) {
        self.ended = true;
        let _ = self.frames.send(Frame::Data(self.stream, true, Bytes::new())).await;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            // Given up half way: there may be no room, and then the connection is ending too, or its client slow
            // enough to find out later.
            let _ = self.frames.try_send(Frame::Reset(self.stream, frame::CANCELLED));
        }
    }
}

/// Serves a connection until its client is gone, or `handle` has done all it wanted.
pub async fn serve<T, F>(io: T, handle: impl FnOnce(mpsc::Receiver<Stream>) -> F)
where
    T: AsyncRead + AsyncWrite,
    F: Future<Output = ()>,
{
    let (reader, writer) = tokio::io::split(io);
    let (frames, queue) = mpsc::channel(limits::SPDY_QUEUE);
    let (new, streams) = mpsc::channel(limits::SPDY_QUEUE);
    let reading = read(reader, frames.clone(), new);
    let writing = write(writer, queue);
    tokio::pin!(reading, writing);
    tokio::select! {
        ended = &mut reading => if let Err(error) = ended {
            tracing::debug!(%error, "a client's SPDY connection broke");
        },
        _ = &mut writing => {}
        () = handle(streams) => {
            drop(frames);
            // What was written last goes out, and what the client still says is read, so that nothing is lost with it.
            let ending = async { tokio::join!(reading, writing) };
            let _ = tokio::time::timeout(limits::STREAM_LINGER, ending).await;
        }
    }
}

/// A stream, as the reader knows it.
struct Entry {
    /// None once the client has said all.
    chunks: Option<room::Sender>,
    /// Dropped when the client gives the stream up.
    gone: oneshot::Sender<()>,
}

/// What the reader keeps.
struct Reader<T> {
    io: ReadHalf<T>,
    /// What was read last: chunks are copied out of it, so that a small one takes little.
    buffer: Vec<u8>,
    room: Room,
    unpacker: Unpacker,
    streams: BTreeMap<u32, Entry>,
    frames: mpsc::Sender<Frame>,
    /// Closed once the handler takes no more.
    new: mpsc::Sender<Stream>,
}

async fn read<T: AsyncRead>(
    io: ReadHalf<T>,
    frames: mpsc::Sender<Frame>,
    new: mpsc::Sender<Stream>,
) -> io::Result<()> {
    let unpacker = Unpacker::default();
    let (buffer, room) = (vec![0; limits::STREAM_CHUNK], Room::new(limits::SPDY_ROOM));
    let mut reader = Reader { io, buffer, room, unpacker, streams: BTreeMap::new(), frames, new };
    loop {
        let mut head = [0; HEAD];
        match reader.io.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => drop(read?),
        }
        match Head::read(head).map_err(io::Error::other)? {
            Head::Data { stream, fin, length } => reader.data(stream, fin, length).await?,
            Head::Control { kind, fin, length } => {
                let mut content = vec![0; length];
                reader.io.read_exact(&mut content).await?;
                reader.control(Control::read(kind, &content).map_err(io::Error::other)?, fin).await?;
            }
        }
    }
}

impl<T: AsyncRead> Reader<T> {
    /// Hands a frame's content on as it comes; a frame may be larger than anything that is kept here.
    async fn data(&mut self, stream: u32, fin: bool, length: usize) -> io::Result<()> {
        let chunks = self.streams.get(&stream).and_then(|entry| entry.chunks.clone());
        let mut content = (&mut self.io).take(length as u64);
        while content.limit() > 0 {
            let read = content.read(&mut self.buffer).await?;
            let chunk = self.buffer.get(..read).filter(|chunk| !chunk.is_empty());
            let chunk = chunk.ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(chunks) = &chunks {
                self.room.send(chunks, Bytes::copy_from_slice(chunk)).await;
            }
        }
        if let Some(entry) = self.streams.get_mut(&stream).filter(|_| fin) {
            entry.chunks = None;
        }
        Ok(())
    }

    async fn control(&mut self, control: Control<'_>, fin: bool) -> io::Result<()> {
        match control {
            Control::Open(stream, block) => {
                let headers = self.unpacker.unpack(block).map_err(io::Error::other)?;
                self.open(stream, headers, fin).await;
            }
            Control::More(block) => drop(self.unpacker.unpack(block).map_err(io::Error::other)?),
            Control::Reset(stream) => drop(self.streams.remove(&stream)),
            // Even numbers are answers to the server's own. One that finds no room is not worth waiting for.
            Control::Ping(id) if id % 2 == 1 => drop(self.frames.try_send(Frame::Ping(id))),
            Control::Ping(_) | Control::GoAway | Control::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, stream: u32, headers: Headers, fin: bool) {
        self.streams.retain(|_, entry| !entry.gone.is_closed());
        if self.streams.len() >= limits::SPDY_STREAMS || self.streams.contains_key(&stream) {
            let _ = self.frames.send(Frame::Reset(stream, frame::REFUSED)).await;
            return;
        }
        let (sender, chunks) = room::chunks(limits::SPDY_QUEUE);
        let (gone, ends) = oneshot::channel();
        self.streams.insert(stream, Entry { chunks: (!fin).then_some(sender), gone });
        let incoming = Incoming { chunks, gone: ends };
        let outgoing = Outgoing { stream, frames: self.frames.clone(), ended: false };
        let _ = self.frames.send(Frame::Reply(stream)).await;
        // A handler that takes no more drops it, and so gives it up.
        let _ = self.new.send(Stream { headers, incoming, outgoing }).await;
    }
}

/// Writes what comes, and a sign of life now and then.
async fn write<T: AsyncWrite>(mut io: WriteHalf<T>, mut queue: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut packer = Packer::new().map_err(io::Error::other)?;
    let mut ping = tokio::time::interval(limits::SOCKET_PING);
    ping.reset();
    let mut pings = (2u32..).step_by(2).cycle();
    loop {
        let next = tokio::select! {
            frame = queue.recv() => frame,
            _ = ping.tick() => pings.next().map(Frame::Ping),
        };
        let bytes = match next {
            None => return io.shutdown().await,
            Some(Frame::Reply(stream)) => {
                let headers = packer.pack(&Headers::new()).map_err(io::Error::other)?;
                frame::reply(stream, &headers)
            }
            Some(Frame::Reset(stream, status)) => frame::reset(stream, status),
            Some(Frame::Ping(id)) => frame::ping(id),
            Some(Frame::Data(stream, fin, bytes)) => frame::data(stream, fin, &bytes),
        };
        io.write_all(&bytes).await?;
        io.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const STREAMS: u32 = 400;

    /// A frame that opens a stream, odd as clients' are.
    fn open(packer: &mut Packer, stream: u32) -> Vec<u8> {
        let block = packer.pack(&Headers::new()).unwrap();
        let length = u32::try_from(block.len() + 10).unwrap().to_be_bytes();
        let head = [&[0x80, 3, 0, 1, 0], &length[1..], &stream.to_be_bytes(), &[0; 6]].concat();
        [head, block].concat()
    }

    #[tokio::test]
    async fn streams_that_nobody_reads_hold_little_and_lose_nothing() {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (read, wanted) = oneshot::channel::<()>();
        let handle = |mut streams: mpsc::Receiver<Stream>| async move {
            let mut all = Vec::new();
            while all.len() < STREAMS as usize {
                all.push(streams.recv().await.unwrap());
            }
            let _ = wanted.await;
            let mut total = 0;
            for stream in &mut all {
                while let Some(chunk) = stream.incoming.next().await {
                    total += chunk.len();
                }
            }
            assert_eq!(total, (STREAMS as usize) * (100 << 10));
        };
        let serving = tokio::spawn(serve(theirs, handle));
        let (mut answers, mut client) = tokio::io::split(ours);
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        let mut packer = Packer::new().unwrap();
        for stream in 0..STREAMS {
            client.write_all(&open(&mut packer, stream * 2 + 1)).await.unwrap();
        }
        let mut frames = Vec::new();
        for stream in 0..STREAMS {
            frames.extend_from_slice(&frame::data(stream * 2 + 1, true, &[7; 100 << 10]));
        }
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_millis(500), client.write(&frames[sent..])).await {
            sent += written.unwrap();
            assert!(sent < limits::SPDY_ROOM + (1 << 20), "{sent} bytes wait for nobody");
        }
        read.send(()).unwrap();
        client.write_all(&frames[sent..]).await.unwrap();
        client.shutdown().await.unwrap();
        timeout(Duration::from_secs(120), serving).await.expect("it goes on").unwrap();
    }
}
