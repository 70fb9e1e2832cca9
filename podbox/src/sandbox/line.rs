//! One end of a pipe or terminal in the daemon: read and written without blocking, a chunk at a time.

use super::sys;
use crate::limits;
use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// One end.
#[derive(Debug)]
pub struct Line(AsyncFd<OwnedFd>);

impl Line {
    /// Must be called in a runtime. The other processes' ends of the pipe are not changed.
    pub fn new(fd: OwnedFd) -> io::Result<Line> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; this does not"
        )]
        AsyncFd::new(fd).map(Line)
    }

    /// The next chunk; empty at the end. Safe to drop and call again.
    pub async fn read(&self) -> io::Result<Bytes> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.read_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                done => return done,
            }
        }
    }

    /// What is there, up to a chunk, whatever the runtime knows of it.
    pub fn read_now(&self) -> io::Result<Bytes> {
        let mut chunk = vec![0; limits::STREAM_CHUNK];
        loop {
            match nix::unistd::read(self.0.get_ref(), &mut chunk) {
                Ok(count) => {
                    chunk.truncate(count);
                    return Ok(chunk.into());
                }
                // What a terminal says when nobody has its other end open any more.
                Err(Errno::EIO) => return Ok(Bytes::new()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Writes all of it.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match nix::unistd::write(self.0.get_ref(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Tells a terminal how large its window is.
    pub fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        Ok(sys::resize_terminal(self.0.get_ref().as_fd(), width, height)?)
    }
}
