//! Forwarded ports: connections into a pod, each carried by streams of the client's one connection.
//!
//! Over SPDY a connection is a pair of streams, one for data and one for what goes wrong, that the client opens when
//! something connects to it. Over WebSocket channels there is one connection per port, for the whole time.

use super::channel::Protocol;
use super::room::{self, Chunks, Room};
use super::socket::{Reader, Socket, Writer};
use super::spdy::{Headers, Outgoing, Stream};
use crate::limits;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The protocol over SPDY, as it is negotiated.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// The same inside a WebSocket.
pub const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";

/// Connects to a port of the pod; tells why it could not.
pub type Connect = Arc<dyn Fn(u16) -> BoxFuture<'static, Result<std::net::TcpStream, String>> + Send + Sync>;

/// Half of what a connection needs: the first of its two streams, and whether that is the one for data.
type Waiting = BTreeMap<String, (bool, Stream)>;

/// Forwards what a client's streams ask for, until it opens no more.
pub async fn serve(mut streams: mpsc::Receiver<Stream>, connect: Connect) {
    let mut waiting = Waiting::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = streams.recv() => stream,
            Some(_) = connections.join_next() => continue,
        };
        let Some(stream) = stream else { return };
        if let Some((port, data, error)) = pair(stream, &mut waiting) {
            connections.spawn(forward(port, data, error, Arc::clone(&connect)));
        }
    }
}

/// The two streams of a connection, once both are there. A stream that is for nothing is given up by dropping it.
fn pair(stream: Stream, waiting: &mut Waiting) -> Option<(u16, Stream, Stream)> {
    let word = |headers: &Headers, name: &str| headers.get(name).cloned().unwrap_or_default();
    let port: u16 = word(&stream.headers, "port").parse().ok().filter(|port| *port != 0)?;
    let request = word(&stream.headers, "requestid");
    let is_data = match &*word(&stream.headers, "streamtype") {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    match waiting.remove(&request) {
        Some((other_is_data, other)) if other_is_data != is_data => {
            let (data, error) = if is_data { (stream, other) } else { (other, stream) };
            Some((port, data, error))
        }
        _ => {
            // One that never gets its other half waits as long as its connection lasts, also after a reset.
            if waiting.len() < limits::SPDY_HALVES {
                waiting.insert(request, (is_data, stream));
            }
            None
        }
    }
}

async fn forward(port: u16, data: Stream, error: Stream, connect: Connect) {
    let connected = connect(port).await.and_then(|stream| {
        TcpStream::from_std(stream).map_err(|error| format!("watching the connection failed: {error}"))
    });
    match connected {
        Ok(connection) => {
            // Small answers are not to wait for larger ones.
            let _ = connection.set_nodelay(true);
            copy(connection, data).await;
        }
        Err(why) => {
            drop(data.incoming);
            let _ = error.outgoing.send(format!("error forwarding port {port} to pod: {why}").into()).await;
            data.outgoing.end().await;
        }
    }
    error.outgoing.end().await;
}

/// Copies both ways until both are at their end, or one of the two sides is gone.
async fn copy(connection: TcpStream, data: Stream) {
    let (from_pod, to_pod) = connection.into_split();
    let (chunks, gone) = data.incoming.split();
    let both = async { tokio::join!(send(chunks, to_pod), receive(from_pod, data.outgoing)) };
    tokio::select! {
        _ = both => {}
        _ = gone => {}
    }
}

async fn send(mut chunks: Chunks, mut to_pod: OwnedWriteHalf) {
    while let Some(bytes) = chunks.recv().await {
        if to_pod.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to_pod.shutdown().await;
}

async fn receive(mut from_pod: OwnedReadHalf, outgoing: Outgoing) {
    let mut chunk = BytesMut::new();
    loop {
        chunk.reserve(limits::STREAM_CHUNK);
        match from_pod.read_buf(&mut chunk).await {
            Ok(1..) if outgoing.send(chunk.split().freeze()).await.is_ok() => {}
            _ => return outgoing.end().await,
        }
    }
}

/// Forwards ports over a WebSocket's channels: two for each, for data and for what goes wrong.
pub async fn serve_channels(socket: Socket, protocol: Protocol, ports: Vec<u16>, connect: Connect) {
    let (mut writer, mut reader) = socket.split();
    let (frames, queue) = mpsc::channel(limits::SPDY_QUEUE);
    let mut connections = JoinSet::new();
    let mut to_ports = Vec::new();
    for (index, port) in (0u8..).zip(ports) {
        // There may be many ports, and their pods may not read.
        let (sender, chunks) = room::chunks(1);
        to_ports.push(sender);
        connections.spawn(channel(index * 2, port, chunks, frames.clone(), Arc::clone(&connect)));
    }
    drop(frames);
    tokio::select! {
        () = read_channels(&mut reader, protocol, &to_ports) => return,
        () = write_channels(&mut writer, protocol, queue) => {}
    }
    let ending = async {
        writer.close().await;
        reader.drain().await;
    };
    let _ = tokio::time::timeout(limits::STREAM_LINGER, ending).await;
}

async fn read_channels(reader: &mut Reader, protocol: Protocol, ports: &[room::Sender]) {
    let room = Room::new(limits::SPDY_ROOM);
    while let Some(message) = reader.next().await {
        let Some((channel, bytes)) = protocol.decode(message) else { continue };
        let port = ports.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0 && !bytes.is_empty());
        let Some(port) = port else { continue };
        for piece in room::pieces(bytes) {
            room.send(port, piece).await;
        }
    }
}

/// Ends when every port's connection has.
async fn write_channels(writer: &mut Writer, protocol: Protocol, mut queue: mpsc::Receiver<(u8, Bytes)>) {
    let mut ping = tokio::time::interval(limits::SOCKET_PING);
    ping.reset();
    loop {
        let sent = tokio::select! {
            frame = queue.recv() => match frame {
                Some((channel, bytes)) => writer.send(protocol.encode(channel, &bytes)).await,
                None => return,
            },
            _ = ping.tick() => writer.ping().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// One port. Both its channels begin with its number.
async fn channel(data: u8, port: u16, chunks: Chunks, frames: mpsc::Sender<(u8, Bytes)>, connect: Connect) {
    for channel in [data, data + 1] {
        let _ = frames.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await;
    }
    let connected = connect(port).await;
    match connected.and_then(|stream| TcpStream::from_std(stream).map_err(|error| error.to_string())) {
        Err(why) => {
            let text = format!("error forwarding port {port} to pod: {why}");
            let _ = frames.send((data + 1, text.into())).await;
        }
        Ok(connection) => {
            let (mut from_pod, to_pod) = connection.into_split();
            let receive = async {
                let mut chunk = BytesMut::new();
                loop {
                    chunk.reserve(limits::STREAM_CHUNK);
                    match from_pod.read_buf(&mut chunk).await {
                        Ok(1..) if frames.send((data, chunk.split().freeze())).await.is_ok() => {}
                        _ => return,
                    }
                }
            };
            tokio::pin!(receive);
            // A channel has no half end: the connection is over when the pod has said all it had to.
            tokio::select! {
                () = &mut receive => {}
                () = send(chunks, to_pod) => receive.await,
            }
        }
    }
}
