//! One daemon's connection to the keeper.

use crate::sandbox::message::{Answer, FromKeeper, Request};
use crate::sandbox::wire::{self, WireError};
use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A daemon's connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// It said hello in our version; nothing else is answered before.
    pub greeted: bool,
}

impl Connection {
    /// The next one that waits; `None` when none waits or the caller is not root.
    pub fn accept(listener: BorrowedFd<'_>) -> Option<Connection> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = accept4(listener.as_raw_fd(), flags).ok()?;
        // SAFETY: accept4 just made it, and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let peer = getsockopt(&socket, PeerCredentials).ok()?;
        (peer.uid() == 0).then_some(Connection { socket, greeted: false })
    }

    /// Its descriptor, for the poll set.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next request.
    pub fn receive(&self) -> Result<(Request, Vec<OwnedFd>), WireError> {
        wire::receive(self.socket.as_fd())
    }

    /// Answers a request.
    pub fn answer(&self, serial: u64, answer: Answer, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        wire::send(self.socket.as_fd(), &FromKeeper::Answer { serial, answer }, fds)
    }

    /// Tells something unasked.
    pub fn push(&self, message: &FromKeeper) -> Result<(), WireError> {
        wire::send(self.socket.as_fd(), message, &[])
    }
}
