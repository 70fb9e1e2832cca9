//! A byte stream inside a WebSocket: how kubectl carries SPDY since its servers no longer need to know it.

use super::socket::Socket;
use crate::limits;
use bytes::BytesMut;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;

/// Serves what is inside, until it or the client is done.
pub async fn serve<F>(socket: Socket, serve: impl FnOnce(DuplexStream) -> F)
where
    F: Future<Output = ()>,
{
    let (inside, outside) = tokio::io::duplex(limits::SOCKET_WRITE);
    let (mut from_inside, mut to_inside) = tokio::io::split(outside);
    let (mut writer, mut reader) = socket.split();
    let reading = async move {
        while let Some(bytes) = reader.next().await {
            if to_inside.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to_inside.shutdown().await;
    };
    let writing = async move {
        let mut ping = tokio::time::interval(limits::SOCKET_PING);
        ping.reset();
        let mut chunk = BytesMut::new();
        loop {
            chunk.reserve(limits::STREAM_CHUNK);
            let sent = tokio::select! {
                read = from_inside.read_buf(&mut chunk) => match read {
                    Ok(1..) => writer.send(Message::Binary(chunk.split().freeze())).await,
                    _ => return writer.close().await,
                },
                _ = ping.tick() => writer.ping().await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    let carrying = async {
        // With the first of the two goes what it held of the inside, which then ends by itself.
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    tokio::join!(serve(inside), carrying);
}
