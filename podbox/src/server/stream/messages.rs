//! An answer that goes on, as a WebSocket's messages instead of a body: a log for programs that speak nothing else, a watch
//! for browsers.
//!
//! **Invariant:** the socket is closed as one that is done if, and only if, all of the answer was sent.

use super::socket::{self, Socket, Writer};
use crate::limits;
use crate::server::http::Body;
use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::BodyExt;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// How an answer's bytes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As they come.
    Binary,
    /// As they come, as text in base64.
    Base64,
    /// A text for each line. Chunks of such an answer are whole lines.
    Lines,
}

/// What is negotiated for bytes as they come; empty for none.
const PROTOCOLS: [(&str, Framing); 3] =
    [("", Framing::Binary), ("binary.k8s.io", Framing::Binary), ("base64.binary.k8s.io", Framing::Base64)];

impl Framing {
    /// For bytes as they come: the first of the protocols offered that is known; if none is offered, plain bytes.
    pub fn choose(offered: &[String]) -> Option<(&'static str, Framing)> {
        if offered.is_empty() {
            return PROTOCOLS.first().copied();
        }
        let known = |name: &String| PROTOCOLS.iter().find(|(known, _)| !name.is_empty() && known == name);
        offered.iter().find_map(known).copied()
    }

    /// The messages of a chunk.
    fn messages(self, chunk: &Bytes) -> Vec<Message> {
        match self {
            Framing::Binary => vec![Message::Binary(chunk.clone())],
            Framing::Base64 => vec![Message::text(BASE64.encode(chunk))],
            Framing::Lines => {
                let lines = chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                // All of it is JSON; what were no text could not be told in a text.
                lines
                    .filter_map(|line| Utf8Bytes::try_from(chunk.slice_ref(line)).ok())
                    .map(Message::Text)
                    .collect()
            }
        }
    }
}

/// Sends an answer to its end, or until the client goes.
pub async fn serve(socket: Socket, answer: Body, framing: Framing) {
    let (mut writer, mut reader) = socket.split();
    let written = tokio::select! {
        written = write(&mut writer, answer, framing) => written,
        // What the client says means nothing here, but that it closes.
        () = reader.drain() => return,
    };
    if written.is_ok() {
        socket::end(writer, reader).await;
    }
}

async fn write(writer: &mut Writer, mut answer: Body, framing: Framing) -> Result<(), Error> {
    if framing != Framing::Lines {
        // Upstream's servers say something at once, and there are clients that wait for it.
        for message in framing.messages(&Bytes::new()) {
            writer.send(message).await?;
        }
    }
    let mut ping = tokio::time::interval(limits::SOCKET_PING);
    ping.reset();
    loop {
        tokio::select! {
            frame = answer.frame() => {
                let Some(Ok(frame)) = frame else { return Ok(()) };
                let Ok(chunk) = frame.into_data() else { continue };
                for message in framing.messages(&chunk) {
                    writer.send(message).await?;
                }
            }
            _ = ping.tick() => writer.ping().await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_protocol_that_is_known_is_taken() {
        let choose = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Framing::choose(&names)
        };
        assert_eq!(choose(&[]), Some(("", Framing::Binary)));
        assert_eq!(choose(&["x", "base64.binary.k8s.io"]), Some(("base64.binary.k8s.io", Framing::Base64)));
        assert_eq!(choose(&["v5.channel.k8s.io"]), None);
    }

    #[test]
    fn each_line_is_a_text() {
        let chunk = Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n");
        let texts = [Message::text("{\"a\":1}"), Message::text("{\"b\":2}")];
        assert_eq!(Framing::Lines.messages(&chunk), texts);
        assert_eq!(Framing::Base64.messages(&Bytes::from_static(b"abc")), [Message::text("YWJj")]);
    }
}
