//! Moving bytes between pipes without taking them out of the kernel.

use crate::limits::{LOG_CHUNK_BYTES, LOG_STAGING_BYTES};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice, tee};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a splice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Bytes were moved.
    Some,
    /// The source is empty, but has writers.
    Empty,
    /// The source has bytes, and the target no slot for them: each small write of the container holds
    /// one, however few bytes it has.
    Full,
    /// The source is empty and has no writers.
    Ended,
}

/// A look into a pipe: a second pipe for the pages to be seen in.
#[derive(Debug)]
pub(super) struct Glass {
    read: File,
    write: OwnedFd,
}

impl Glass {
    pub(super) fn new() -> io::Result<Glass> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        resize(&write)?;
        Ok(Glass { read: read.into(), write })
    }

    /// All that is in the pipe; it stays there.
    pub(super) fn look(&mut self, pipe: &OwnedFd) -> io::Result<Vec<u8>> {
        let seen = match tee(pipe, &self.write, LOG_STAGING_BYTES, SpliceFFlags::SPLICE_F_NONBLOCK) {
            Ok(seen) => seen,
            Err(Errno::EAGAIN) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let mut bytes = vec![0; seen];
        self.read.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Gives a staging pipe its size, in bytes and with it in slots.
pub(super) fn resize(pipe: &OwnedFd) -> io::Result<()> {
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(LOG_STAGING_BYTES as i32))?;
    Ok(())
}

/// Moves a chunk from pipe to pipe.
pub(super) fn shift(source: &OwnedFd, target: &OwnedFd) -> io::Result<Moved> {
    // EAGAIN means "nothing to take" and "no slot to put it" alike, and the latter hides the source's end
    // too. What there is to take may have come just after the first try, so only a second refusal means
    // that the target is full.
    match try_splice(source, target)? {
        Moved::Empty if readable_or_ended(source.as_fd())? => match try_splice(source, target)? {
            Moved::Empty => Ok(Moved::Full),
            other => Ok(other),
        },
        other => Ok(other),
    }
}

fn try_splice(source: &OwnedFd, target: &OwnedFd) -> io::Result<Moved> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    match splice(source, None, target, None, LOG_CHUNK_BYTES, flags) {
        Ok(0) => Ok(Moved::Ended),
        Ok(_) => Ok(Moved::Some),
        Err(Errno::EAGAIN) => Ok(Moved::Empty),
        // What a terminal says once nobody has its other end open.
        Err(Errno::EIO) => Ok(Moved::Ended),
        Err(errno) => Err(errno.into()),
    }
}

fn readable_or_ended(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = [PollFd::new(pipe, PollFlags::POLLIN)];
    Ok(poll(&mut asked, PollTimeout::ZERO)? > 0)
}

/// Takes this many bytes out of a pipe that has them.
pub(super) fn discard(pipe: &OwnedFd, mut count: usize) -> io::Result<()> {
    let mut sink = [0; 8192];
    while count > 0 {
        let want = count.min(sink.len());
        match nix::unistd::read(pipe, &mut sink[..want]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => count -= read,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
