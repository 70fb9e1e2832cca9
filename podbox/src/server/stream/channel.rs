//! Kubernetes' protocols for several streams in one WebSocket: the first byte of each message is its channel. Pure.
//!
//! ```text
//!   0 stdin   1 stdout   2 stderr   3 how it ended   4 the window's size   255 (v5) a channel is at its end
//! ```

use crate::api::streams::{End, Input};
use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Channel numbers.
pub const STDIN: u8 = 0;
/// What a command wrote.
pub const STDOUT: u8 = 1;
/// What it wrote on stderr.
pub const STDERR: u8 = 2;
/// How it ended.
pub const ERROR: u8 = 3;
/// The client's window.
pub const RESIZE: u8 = 4;
/// In version 5: a channel is at its end.
pub const CLOSE: u8 = 255;

/// One of the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// As it is negotiated; empty for none.
    pub name: &'static str,
    /// Text messages in base64, their channel a digit.
    base64: bool,
    /// The end is told as a Status; before version 4, in words, and only a failure.
    status: bool,
    /// A channel can be closed alone.
    closes: bool,
}

const fn protocol(name: &'static str, base64: bool, status: bool, closes: bool) -> Protocol {
    Protocol { name, base64, status, closes }
}

const PROTOCOLS: [Protocol; 6] = [
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

impl Protocol {
    /// The first of those offered that is known; if none is offered, the oldest.
    pub fn choose(offered: &[String]) -> Option<Protocol> {
        if offered.is_empty() {
            return PROTOCOLS.last().copied();
        }
        let known = |name: &String| PROTOCOLS.iter().find(|known| !name.is_empty() && known.name == name);
        offered.iter().find_map(known).copied()
    }

    /// What a client's message says; none for one that says nothing that is known.
    pub fn decode(self, message: Bytes) -> Option<(u8, Bytes)> {
        let (first, rest) = message.split_first()?;
        if !self.base64 {
            return Some((*first, message.slice(1..)));
        }
        let channel = first.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some((channel, BASE64.decode(rest).ok()?.into()))
    }

    /// What a client of a command says.
    pub fn input(self, message: Bytes) -> Option<Input> {
        match self.decode(message)? {
            (STDIN, bytes) => (!bytes.is_empty()).then_some(Input::Stdin(bytes)),
            (RESIZE, bytes) => resize(&bytes),
            (CLOSE, bytes) if self.closes => (bytes[..] == [STDIN]).then_some(Input::StdinEnd),
            _ => None,
        }
    }

    /// A message on a channel.
    pub fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{}{}", channel, BASE64.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// What the client is told at the end, if it is told at all.
    pub fn end(self, end: &End) -> Option<Vec<u8>> {
        told(end, self.status)
    }
}

/// How an end is told, to a client that knows Statuses or to one that does not.
pub fn told(end: &End, status: bool) -> Option<Vec<u8>> {
    if status {
        return Some(self::status(end).to_string().into_bytes());
    }
    match end {
        End::Done => None,
        _ => Some(self::status(end)["message"].as_str().unwrap_or_default().as_bytes().to_vec()),
    }
}

/// A window's size, as clients write it.
pub fn resize(bytes: &[u8]) -> Option<Input> {
    let size: Value = serde_json::from_slice(bytes).ok()?;
    // Go's decoder does not care how a field's name is written, and clients have made use of it.
    let field = |names: [&str; 2]| names.iter().find_map(|name| size[*name].as_u64());
    let width = u16::try_from(field(["Width", "width"])?).ok()?;
    let height = u16::try_from(field(["Height", "height"])?).ok()?;
    Some(Input::Resize { width, height })
}

fn status(end: &End) -> Value {
    match end {
        End::Done => json!({"metadata": {}, "status": "Success"}),
        End::Code(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        End::Failed(why) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {why}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": why}]},
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> Protocol {
        Protocol::choose(&[name.to_owned()]).unwrap()
    }

    #[test]
    fn the_clients_first_choice_that_is_known_is_taken() {
        let choose = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Protocol::choose(&names).map(|protocol| protocol.name)
        };
        assert_eq!(
            choose(&["v9.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"]),
            Some("v4.channel.k8s.io")
        );
        assert_eq!(choose(&["v9.channel.k8s.io"]), None);
        assert_eq!(choose(&[]), Some(""));
    }

    #[test]
    fn messages_are_read_by_their_channel() {
        let read = |name: &str, message: &'static [u8]| named(name).input(Bytes::from_static(message));
        let v5 = "v5.channel.k8s.io";
        assert_eq!(read(v5, b"\x00abc"), Some(Input::Stdin("abc".into())));
        assert_eq!(read(v5, b"\xff\x00"), Some(Input::StdinEnd));
        assert_eq!(read("v4.channel.k8s.io", b"\xff\x00"), None);
        let size = Some(Input::Resize { width: 80, height: 24 });
        assert_eq!(read(v5, b"\x04{\"Width\":80,\"Height\":24}"), size);
        assert_eq!(read(v5, b"\x04{\"Width\":80000,\"Height\":24}"), None);
        assert_eq!(read("v4.base64.channel.k8s.io", b"0YWJj"), Some(Input::Stdin("abc".into())));
        assert_eq!(read("v4.base64.channel.k8s.io", b"0?"), None);
        for nothing in [&b""[..], b"\x01out", b"\x09", b"\x00", b"\xff"] {
            assert_eq!(read(v5, nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn ends_are_told_as_clients_of_each_version_know_it() {
        let v4 = named("v4.channel.k8s.io");
        let told = |end| serde_json::from_slice::<Value>(&v4.end(&end).unwrap()).unwrap();
        assert_eq!(told(End::Done)["status"], "Success");
        let code = told(End::Code(3));
        assert_eq!(code["reason"], "NonZeroExitCode");
        assert_eq!(code["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        assert_eq!(told(End::Failed("no".into()))["message"], "Internal error occurred: no");
        let v1 = named("channel.k8s.io");
        assert_eq!(v1.end(&End::Done), None);
        assert!(String::from_utf8(v1.end(&End::Code(3)).unwrap()).unwrap().ends_with("status 3"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(message in proptest::collection::vec(any::<u8>(), 0..64), which in 0usize..6) {
            let _ = PROTOCOLS[which].input(message.into());
        }
    }
}
