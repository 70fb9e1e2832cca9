//! What the keeper holds of a container's stdin, stdout and stderr, and what the container gets.

use super::process::Stream;
use crate::sandbox::launch::Stdio;
use crate::sandbox::message::{Context, Failure};
use crate::sandbox::wire;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;
use std::os::fd::{AsFd, OwnedFd};

/// The keeper's ends.
#[derive(Debug)]
pub struct Ours {
    /// stdout and stderr. Of a terminal, the first is the terminal once it is there, the second is at its end.
    pub streams: Box<[Stream; 2]>,
    /// What writes to its stdin, while that is open.
    pub stdin: Option<OwnedFd>,
    /// Where the terminal's other end will come from.
    pub console: Option<OwnedFd>,
}

/// The container's ends.
#[derive(Debug)]
pub struct Theirs {
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub console: Option<OwnedFd>,
}

/// Makes both.
pub fn make(stdio: Stdio) -> Result<(Ours, Theirs), Failure> {
    let ((out, stdout), (err, stderr)) = (stream()?, stream()?);
    let (stdin, read) = match stdio {
        Stdio::Pipes => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC).at("make", "stdin")?;
            (Some(write), Some(read))
        }
        Stdio::Output | Stdio::Terminal => (None, None),
    };
    let (console, theirs) = match stdio {
        Stdio::Terminal => {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
            let (ours, theirs) = pair.at("make", "console socket")?;
            (Some(ours), Some(theirs))
        }
        Stdio::Output | Stdio::Pipes => (None, None),
    };
    let ours = Ours { streams: Box::new([out, err]), stdin, console };
    Ok((ours, Theirs { stdin: read, stdout, stderr, console: theirs }))
}

/// Pipes of the kernel's usual 64 KiB: a container that writes while no daemon reads waits, and loses
/// nothing; more would only cost memory.
fn stream() -> Result<(Stream, OwnedFd), Failure> {
    let (source, write) = pipe2(OFlag::O_CLOEXEC).at("make", "log pipe")?;
    let (staging_read, staging_write) = pipe2(OFlag::O_CLOEXEC).at("make", "staging pipe")?;
    Ok((Stream { source, staging_read, staging_write }, write))
}

impl Ours {
    /// Takes the terminal, which a process hands over before it executes.
    pub fn take_terminal(&mut self) -> Result<(), Failure> {
        let Some(console) = self.console.take() else { return Ok(()) };
        let received = wire::receive::<()>(console.as_fd());
        let ((), mut fds) = received.map_err(|error| Failure::text("take", "terminal", error))?;
        let terminal = fds.pop().ok_or_else(|| Failure::text("take", "terminal", "none came along"))?;
        // splice(2) has no way of its own not to wait for a terminal.
        fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).at("prepare", "terminal")?;
        self.stdin = Some(terminal.try_clone().at("duplicate", "terminal")?);
        self.streams[0].source = terminal;
        Ok(())
    }
}
