//! What the keeper says to daemons, and when it lets go of one.

use super::Keeper;
use crate::sandbox::keeper::process::Child;
use crate::sandbox::message::{Answer, FromKeeper};
use crate::sandbox::wire::WireError;
use nix::sys::epoll::{EpollEvent, EpollFlags};

impl Keeper {
    /// Answers; with the log descriptors of `streams_of`, if it has any.
    pub(super) fn answer(&mut self, (key, serial): (u64, u64), answer: Answer, streams_of: Option<&str>) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let streams = streams_of.and_then(|id| self.children.get(id)).map(Child::streams);
        let message = FromKeeper::Answer { serial, answer };
        match connection.send(&message, &streams.unwrap_or_default()) {
            Ok(()) => self.flush(key),
            Err(error) => self.give_up(key, &error),
        }
    }

    pub(super) fn push(&mut self, message: &FromKeeper) {
        for key in self.connections.keys().copied().collect::<Vec<_>>() {
            match self.connections.get_mut(&key).map(|connection| connection.send(message, &[])) {
                Some(Err(error)) => self.give_up(key, &error),
                _ => self.flush(key),
            }
        }
    }

    /// Sends what waits for room, and has the poll set tell when there is some as long as anything does.
    pub(super) fn flush(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if !connection.waits() && !connection.polled_for_room {
            return;
        }
        let flushed = connection.flush().and_then(|()| {
            connection.polled_for_room = connection.waits();
            let room = if connection.waits() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, key);
            Ok(self.epoll.modify(connection.fd(), &mut event)?)
        });
        if let Err(error) = flushed {
            self.give_up(key, &error);
        }
    }

    pub(super) fn give_up(&mut self, key: u64, error: &WireError) {
        if !matches!(error, WireError::Closed) {
            eprintln!("podbox: keeper: connection closed: {error}");
        }
        self.close(key);
    }

    /// Closing is all there is to do for a daemon that is gone, confused, or too slow to read: it will
    /// connect again and ask for the list.
    pub(super) fn close(&mut self, key: u64) {
        self.sources.remove(&key);
        self.connections.remove(&key);
    }
}
