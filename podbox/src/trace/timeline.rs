//! Probes' sockets and what the kernel saw of them: an entry in the map of timelines for each, by its cookie, and the
//! filter that writes it attached to the socket.
//!
//! It takes part in no verdict: where a socket cannot be followed, the probe goes on and its parts stay unknown.
//! Invariant: an entry goes with the probe that it is for. What the kernel writes in the very moment in which a probe is
//! given up stays in the map of connections that no server has taken, where it makes room for others in its turn.

use super::map::{Plain, Sockets};
use super::tracer::{Tracer, lock};
use crate::api::timeline::{Followed, Timeline, Timelines};
use podbox_common::Timeline as Marks;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What following takes.
pub(super) struct Follower {
    /// The filter's program.
    pub filter: OwnedFd,
    pub sockets: Mutex<Sockets>,
    pub sees_accepts: bool,
}

/// One socket that is followed.
struct Probed {
    follower: Arc<Follower>,
    cookie: u64,
    /// When somebody looked last, which is usually at the very end.
    seen: Mutex<Option<Marks>>,
}

impl Timelines for Tracer {
    fn follow(&self, socket: BorrowedFd<'_>) -> Option<Box<dyn Followed>> {
        let follower = self.follower.as_ref()?;
        match follower.follow(socket) {
            Ok(cookie) => {
                Some(Box::new(Probed { follower: Arc::clone(follower), cookie, seen: Mutex::default() }))
            }
            Err(error) => {
                tracing::debug!(%error, "a probe's connection stays unseen");
                None
            }
        }
    }

    fn sees_accepts(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.sees_accepts)
    }
}

impl Follower {
    fn follow(&self, socket: BorrowedFd<'_>) -> io::Result<u64> {
        let cookie = cookie(socket)?;
        let mut sockets = lock(&self.sockets);
        // Before the filter, which only writes into what is there.
        sockets.timelines.insert(cookie, Plain(Marks::default()), 0).map_err(io::Error::other)?;
        attach(socket, &self.filter).inspect_err(|_| _ = sockets.timelines.remove(&cookie))?;
        Ok(cookie)
    }

    fn marks(&self, cookie: u64) -> Option<Marks> {
        lock(&self.sockets).timelines.get(&cookie, 0).ok().map(|marks| marks.0)
    }
}

impl Followed for Probed {
    fn timeline(&self) -> Timeline {
        let Some(marks) = self.follower.marks(self.cookie) else { return Timeline::default() };
        *lock(&self.seen) = Some(marks);
        let seen = |ns: u64| (ns != 0).then(|| Duration::from_nanos(ns));
        Timeline {
            connected: seen(marks.connected_ns),
            accepted: seen(marks.accepted_ns),
            first: seen(marks.first_ns),
            last: seen(marks.last_ns),
        }
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        let seen = lock(&self.seen).take();
        let marks = seen.or_else(|| self.follower.marks(self.cookie)).unwrap_or_default();
        let mut sockets = lock(&self.follower.sockets);
        // Either is gone already where there was nothing to see.
        let _ = sockets.timelines.remove(&self.cookie);
        if marks.accepted_ns == 0 {
            let _ = sockets.unaccepted.remove(&Plain(marks.connection));
        }
    }
}

/// The kernel's own number for a socket: never used again.
fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes `length` bytes at most, which is what `cookie` has.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

fn attach(socket: BorrowedFd<'_>, program: &OwnedFd) -> io::Result<()> {
    let program = program.as_raw_fd();
    // SAFETY: the kernel reads as many bytes as an int has.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
