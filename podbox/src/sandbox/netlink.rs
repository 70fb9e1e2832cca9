//! One blocking conversation with rtnetlink: requests out in one datagram, their answers in order.
//!
//! A socket belongs for life to the network namespace of the thread that opened it. That is why this is not
//! `rtnetlink`'s async connection, which serves the node's own namespace (`net::dataplane`): a pod's link takes
//! three exchanges, all answered before `send` returns, and an executor between them would only add its wake-ups.
//!
//! It does not know what the requests mean, nor does it retry.

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::LinkUnspec;
use std::io;

/// Room for the largest single answer: a link with all of its statistics is about 2 KiB.
const ANSWER_BYTES: usize = 16 << 10;
/// Length of `struct nlmsghdr`, which an acknowledgement repeats before its attributes.
const HEADER_LEN: usize = 16;
/// The attribute of an acknowledgement that says in words what was wrong.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("the netlink socket failed")]
    Socket(#[source] io::Error),
    /// The kernel refused the request.
    #[error("{}", refusal(.source, .reason.as_deref()))]
    Refused {
        /// Which request of the batch, counted from 0.
        request: usize,
        /// The kernel's own words, where it has some.
        reason: Option<String>,
        /// The error number.
        source: io::Error,
    },
    /// The answer was not netlink, or not the one that was asked for.
    #[error("the kernel's answer was not understood: {0}")]
    Answer(String),
}

impl NetlinkError {
    /// The kernel says that there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, NetlinkError::Refused { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)))
    }

    /// Which request of a batch was refused; 0 if the fault is not one request's.
    pub fn request(&self) -> usize {
        match self {
            NetlinkError::Refused { request, .. } => *request,
            _ => 0,
        }
    }
}

fn refusal(source: &io::Error, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("the kernel refused: {reason}"),
        // The number's own text follows as the source.
        None => format!("the kernel refused ({})", source.kind()),
    }
}

/// A request that makes something that must not be there yet.
pub const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// A request that changes or removes what is there.
pub const CHANGE: u16 = 0;

/// A socket in one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Netlink, NetlinkError> {
        let socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::Socket)?;
        // Errors in words, and without a copy of the request.
        socket.set_ext_ack(true).map_err(NetlinkError::Socket)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(NetlinkError::Socket)?;
        Ok(Netlink { socket })
    }

    /// Has the kernel do all requests, in order, in one datagram. It does not stop at one it refuses: the first
    /// refusal is returned once all are answered, and undoing the others is the caller's.
    pub fn change<const N: usize>(
        &self,
        requests: [(RouteNetlinkMessage, u16); N],
    ) -> Result<(), NetlinkError> {
        let mut datagram = Vec::with_capacity(512 * N);
        for (index, (request, flags)) in requests.into_iter().enumerate() {
            append(&mut datagram, request, NLM_F_REQUEST | NLM_F_ACK | flags, index);
        }
        self.socket.send(&datagram, 0).map_err(NetlinkError::Socket)?;
        let mut answered = 0;
        let mut first = Ok(());
        while answered < N {
            for answer in self.receive()? {
                let request = answer.header.sequence_number as usize;
                match answer.payload {
                    NetlinkPayload::Error(ErrorMessage { code: None, .. }) => {}
                    NetlinkPayload::Error(error) => first = first.and(Err(refused(request, &error))),
                    other => return Err(NetlinkError::Answer(format!("{other:?}"))),
                }
                answered += 1;
            }
        }
        first
    }

    /// Asks for one thing.
    pub fn get(&self, request: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, NetlinkError> {
        let mut datagram = Vec::with_capacity(256);
        append(&mut datagram, request, NLM_F_REQUEST, 0);
        self.socket.send(&datagram, 0).map_err(NetlinkError::Socket)?;
        match self.receive()?.pop().map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(message)) => Ok(message),
            Some(NetlinkPayload::Error(error)) => Err(refused(0, &error)),
            other => Err(NetlinkError::Answer(format!("{other:?}"))),
        }
    }

    /// A link's index, by its name.
    pub fn link_index(&self, name: &str) -> Result<u32, NetlinkError> {
        let question = LinkUnspec::new_with_name(name).build();
        match self.get(RouteNetlinkMessage::GetLink(question))? {
            RouteNetlinkMessage::NewLink(link) => Ok(link.header.index),
            other => Err(NetlinkError::Answer(format!("{other:?}"))),
        }
    }

    /// The messages of the next datagram.
    fn receive(&self) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, NetlinkError> {
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        let received = loop {
            match self.socket.recv(&mut buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(NetlinkError::Socket)?,
            }
        };
        let mut rest = &buffer[..received.min(buffer.len())];
        let mut messages = Vec::new();
        while rest.len() >= HEADER_LEN {
            let message: NetlinkMessage<RouteNetlinkMessage> =
                NetlinkMessage::deserialize(rest).map_err(|error| NetlinkError::Answer(error.to_string()))?;
            let length = (message.header.length as usize).max(HEADER_LEN).next_multiple_of(4);
            messages.push(message);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(messages)
    }
}

fn append(datagram: &mut Vec<u8>, request: RouteNetlinkMessage, flags: u16, sequence: usize) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence as u32;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let start = datagram.len();
    datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut datagram[start..]);
}

fn refused(request: usize, error: &ErrorMessage) -> NetlinkError {
    NetlinkError::Refused { request, reason: reason(&error.header), source: error.to_io() }
}

/// What an acknowledgement says in words: a NUL-terminated attribute after the repeated header.
fn reason(acknowledged: &[u8]) -> Option<String> {
    let attributes = acknowledged.get(HEADER_LEN..)?;
    let words = NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
    let words = words.value().strip_suffix(&[0]).unwrap_or(words.value());
    Some(String::from_utf8_lossy(words).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_tells_its_reason() {
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend([8, 0, 1, 0, b'n', b'o', b'!', 0]);
        assert_eq!(reason(&bytes), Some("no!".to_owned()));
    }

    #[test]
    fn one_without_a_reason_is_understood() {
        assert_eq!(reason(&[0; HEADER_LEN]), None);
        assert_eq!(reason(&[0; 3]), None);
        assert_eq!(reason(&[[0u8; HEADER_LEN].as_slice(), &[200, 0, 1, 0]].concat()), None);
    }
}
