//! One daemon's connection to the keeper.
//!
//! The keeper never waits for a daemon: what the socket has no room for, as when a hundred containers end in one moment, is
//! kept until it has. Invariant: a daemon gets every message, and in order, or sees its connection end.

use crate::limits;
use crate::sandbox::message::{FromKeeper, Request};
use crate::sandbox::wire::{self, Packet, WireError};
use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A daemon's connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// It said hello in our version; nothing else is answered before.
    pub greeted: bool,
    /// What there was no room for, with what comes along.
    waiting: VecDeque<(Packet, Vec<OwnedFd>)>,
    /// The poll set tells when there is room.
    pub polled_for_room: bool,
}

impl Connection {
    fn new(socket: OwnedFd) -> Connection {
        Connection { socket, greeted: false, waiting: VecDeque::new(), polled_for_room: false }
    }

    /// The next one that waits; `None` when none waits or the caller is not root.
    pub fn accept(listener: BorrowedFd<'_>) -> Option<Connection> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = accept4(listener.as_raw_fd(), flags).ok()?;
        // SAFETY: accept4 just made it, and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let peer = getsockopt(&socket, PeerCredentials).ok()?;
        (peer.uid() == 0).then_some(Connection::new(socket))
    }

    /// Its descriptor, for the poll set.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next request.
    pub fn receive(&self) -> Result<(Request, Vec<OwnedFd>), WireError> {
        wire::receive(self.socket.as_fd())
    }

    /// Sends a message, now or as soon as there is room; too many that wait are an error.
    pub fn send(&mut self, message: &FromKeeper, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let packet = Packet::new(message)?;
        if self.waiting.is_empty() {
            match packet.send(self.socket.as_fd(), fds) {
                Err(WireError::WouldBlock) => {}
                sent => return sent,
            }
        }
        if self.waiting.len() >= limits::KEEPER_WAITING {
            return Err(WireError::WouldBlock);
        }
        let kept = fds.iter().map(|fd| fd.try_clone_to_owned().map_err(WireError::Descriptor));
        self.waiting.push_back((packet, kept.collect::<Result<_, _>>()?));
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) -> Result<(), WireError> {
        while let Some((packet, fds)) = self.waiting.front() {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match packet.send(self.socket.as_fd(), &fds) {
                Err(WireError::WouldBlock) => return Ok(()),
                sent => sent?,
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::message::Answer;
    use nix::sys::socket::{AddressFamily, SockType, socketpair};

    fn answer(serial: u64) -> FromKeeper {
        FromKeeper::Answer { serial, answer: Answer::Done }
    }

    #[test]
    fn a_daemon_that_reads_late_gets_everything_in_order_with_its_descriptors() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let mut connection = Connection::new(ours);
        let mut sent = 0;
        while !connection.waits() || sent % 100 != 0 {
            connection.send(&answer(sent), &[theirs.as_fd()]).unwrap();
            sent += 1;
        }
        let mut got = 0;
        while got < sent {
            match wire::receive::<FromKeeper>(theirs.as_fd()) {
                Ok((FromKeeper::Answer { serial, .. }, fds)) => {
                    assert_eq!((serial, fds.len()), (got, 1));
                    got += 1;
                }
                Err(WireError::WouldBlock) => connection.flush().unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert!(!connection.waits());
    }

    #[test]
    fn a_daemon_that_never_reads_is_given_up() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, _theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let mut connection = Connection::new(ours);
        let refused = (0..100_000).find_map(|serial| connection.send(&answer(serial), &[]).err());
        assert!(matches!(refused, Some(WireError::WouldBlock)));
    }
}
