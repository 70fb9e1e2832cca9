//! A WebSocket to a client, within bounds: messages of a limited size, a sign of life now and then, and a way of
//! closing it that loses nothing of what was written last.

use crate::limits;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// A connection.
pub struct Socket(Stream);

/// Its half that reads.
pub struct Reader(SplitStream<Stream>);

/// Its half that writes.
pub struct Writer(SplitSink<Stream, Message>);

impl Socket {
    /// The server's end of an upgraded connection.
    pub async fn new(upgraded: TokioIo<Upgraded>) -> Socket {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits::STREAM_CHUNK)
            .write_buffer_size(0)
            .max_write_buffer_size(limits::SOCKET_SENT)
            .max_message_size(Some(limits::SOCKET_MESSAGE))
            .max_frame_size(Some(limits::SOCKET_MESSAGE));
        Socket(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await)
    }

    /// Its two halves.
    pub fn split(self) -> (Writer, Reader) {
        let (writer, reader) = self.0.split();
        (Writer(writer), Reader(reader))
    }
}

/// Ends a stream of which all was said: the client gets a moment to close its side.
pub async fn end(mut writer: Writer, mut reader: Reader) {
    let ending = async {
        writer.close().await;
        reader.drain().await;
    };
    let _ = tokio::time::timeout(limits::STREAM_LINGER, ending).await;
}

impl Reader {
    /// The next message's content; none when the client has closed, or broke the protocol.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => return Some(bytes),
                // Some clients send what they have as text.
                Ok(Message::Text(text)) => return Some(text.into()),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a client's WebSocket broke");
                    return None;
                }
            }
        }
    }

    /// Reads to the client's end, so that what was written last is not lost with what was not read.
    pub async fn drain(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

impl Writer {
    /// Writes one message.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message).await
    }

    /// Shows the client, and whatever is on the way to it, that the connection is in use.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.0.send(Message::Ping(Bytes::new())).await
    }

    /// Says that no more will come.
    pub async fn close(&mut self) {
        // One that is gone needs not be told.
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = self.0.send(Message::Close(Some(frame))).await;
    }
}
