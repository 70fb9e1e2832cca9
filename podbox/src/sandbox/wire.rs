//! Packets between daemon and keeper: one JSON value each, with file descriptors, over a Unix
//! seqpacket socket. A body too big for a packet travels in a memfd, so that no message is ever split.
//!
//! What comes in is not trusted: sizes are bounded, descriptors that were not announced are closed, and a
//! packet that is no message is an error of this connection only.

use nix::cmsg_space;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

/// Bodies up to this size are in the packet itself; far below the socket's default buffer.
const INLINE: usize = 32 << 10;
/// A body's size at most: a manifest at its limit, escaped.
const BODY: u64 = 8 << 20;
/// Descriptors in one packet at most: the kernel's own limit (`SCM_MAX_FD`), so that none is ever cut off
/// where nobody would close it.
const DESCRIPTORS: usize = 253;

/// Where a body is: the first byte of a packet.
const IN_PACKET: u8 = b'p';
const IN_MEMFD: u8 = b'm';

/// Why a packet could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed.
    #[error("the connection is closed")]
    Closed,
    /// Nothing to read now, or no room to write.
    #[error("the socket would block")]
    WouldBlock,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] nix::Error),
    /// A memfd failed.
    #[error("a message body of {0} bytes could not be stored or read")]
    Body(u64, #[source] std::io::Error),
    /// A descriptor could not be kept until there is room.
    #[error("a descriptor could not be kept for later")]
    Descriptor(#[source] std::io::Error),
    /// A body over the limit.
    #[error("a message of {0} bytes; at most {BODY} are allowed")]
    TooBig(u64),
    /// Not what this program sends.
    #[error("not a message of this protocol: {0}")]
    Garbage(String),
}

impl From<nix::Error> for WireError {
    fn from(error: nix::Error) -> Self {
        match error {
            nix::Error::EAGAIN => WireError::WouldBlock,
            nix::Error::EPIPE | nix::Error::ECONNRESET => WireError::Closed,
            other => WireError::Socket(other),
        }
    }
}

/// Sends one message with descriptors.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    Packet::new(message)?.send(socket, fds)
}

/// A message as it travels.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    /// Its body, if that is too big for a packet.
    body: Option<OwnedFd>,
}

impl Packet {
    /// A message, ready to be sent.
    pub fn new<T: Serialize>(message: &T) -> Result<Packet, WireError> {
        let mut bytes = vec![IN_PACKET];
        serde_json::to_writer(&mut bytes, message).map_err(|error| WireError::Garbage(error.to_string()))?;
        match bytes.len() > INLINE {
            true => Ok(Packet { body: Some(store(&bytes[1..])?), bytes: vec![IN_MEMFD] }),
            false => Ok(Packet { bytes, body: None }),
        }
    }

    /// Sends it with descriptors. Whole or not at all.
    pub fn send(&self, socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let mut raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        raw.extend(self.body.iter().map(AsRawFd::as_raw_fd));
        if raw.len() > DESCRIPTORS {
            return Err(WireError::Garbage(format!("{} descriptors in one message", raw.len())));
        }
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(&self.bytes)];
        sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

fn store(body: &[u8]) -> Result<OwnedFd, WireError> {
    let len = body.len() as u64;
    if len > BODY {
        return Err(WireError::TooBig(len));
    }
    let memfd = memfd_create(c"podbox-message", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(memfd);
    file.write_all(body).map_err(|error| WireError::Body(len, error))?;
    Ok(file.into())
}

/// Receives one message with its descriptors.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<(T, Vec<OwnedFd>), WireError> {
    let mut buffer = vec![0; INLINE + 1];
    let (len, mut fds) = receive_packet(socket, &mut buffer)?;
    let parsed = match buffer[..len].split_first() {
        None => return Err(WireError::Closed),
        Some((&IN_PACKET, body)) => serde_json::from_slice(body),
        Some((&IN_MEMFD, _)) => serde_json::from_slice(&load(fds.pop())?),
        Some((other, _)) => return Err(WireError::Garbage(format!("first byte {other:#x}"))),
    };
    let message = parsed.map_err(|error| WireError::Garbage(error.to_string()))?;
    Ok((message, fds))
}

fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), WireError> {
    let mut control = cmsg_space!([RawFd; DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    // Owned before anything can fail, so that an odd packet cannot leak descriptors.
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = item {
            // SAFETY: the kernel just installed these for us, and nobody else knows of them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(WireError::Garbage("a packet over the limit".into()));
    }
    Ok((message.bytes, fds))
}

fn load(memfd: Option<OwnedFd>) -> Result<Vec<u8>, WireError> {
    let file = File::from(memfd.ok_or_else(|| WireError::Garbage("no body came along".into()))?);
    let len = file.metadata().map_err(|error| WireError::Body(0, error))?.len();
    if len > BODY {
        return Err(WireError::TooBig(len));
    }
    let mut body = vec![0; len as usize];
    file.read_exact_at(&mut body, 0).map_err(|error| WireError::Body(len, error))?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, send as send_raw, socketpair};
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn small_and_large_messages_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = pair();
        for size in [0, 10, INLINE - 10, INLINE, INLINE + 1, 1 << 20] {
            let text = "x".repeat(size);
            send(ours.as_fd(), &text, &[ours.as_fd(), theirs.as_fd()]).unwrap();
            let (got, fds): (String, _) = receive(theirs.as_fd()).unwrap();
            assert_eq!((got.len(), fds.len()), (size, 2));
        }
    }

    #[test]
    fn a_body_over_the_limit_is_refused_before_it_is_sent() {
        let (ours, _theirs) = pair();
        let text = "x".repeat(BODY as usize);
        assert!(matches!(send(ours.as_fd(), &text, &[]), Err(WireError::TooBig(_))));
    }

    #[test]
    fn garbage_is_an_error_and_the_next_message_still_arrives() {
        let (ours, theirs) = pair();
        for garbage in [&b"p{"[..], b"m", b"zzz", b"p\xff", &[b'p'; INLINE + 100]] {
            send_raw(ours.as_raw_fd(), garbage, MsgFlags::empty()).unwrap();
            let got = receive::<String>(theirs.as_fd());
            assert!(matches!(got, Err(WireError::Garbage(_))), "{:?} gave {got:?}", &garbage[..1]);
        }
        // A memfd that is none.
        let (read, _write) = nix::unistd::pipe().unwrap();
        let rights = [read.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"m")], &control, MsgFlags::empty(), None).unwrap();
        assert!(receive::<String>(theirs.as_fd()).is_err());

        send(ours.as_fd(), &"fine", &[]).unwrap();
        assert_eq!(receive::<String>(theirs.as_fd()).unwrap().0, "fine");
        drop(ours);
        assert!(matches!(receive::<String>(theirs.as_fd()), Err(WireError::Closed)));
    }
}
