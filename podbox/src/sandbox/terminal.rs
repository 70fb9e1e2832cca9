//! The terminal of a process that has one: a pseudo terminal of the container's own devpts, so that its name means
//! something in there, whose other end goes back through a socket to whoever will hold it.
//!
//! Runs in the new process. The terminal is had from its other end and not by name: what lies under `/dev/pts` is
//! the container's to change.

use super::message::{Context, Failure};
use super::{sys, wire};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, fchown};
use std::os::fd::{AsFd, BorrowedFd};

/// Opens a terminal, hands its other end to `console`, and makes it this session's, and its stdin, stdout and stderr.
pub fn open_for(uid: u32, console: BorrowedFd<'_>) -> Result<(), Failure> {
    const PTMX: &str = "/dev/pts/ptmx";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(PTMX, flags, Mode::empty()).at("open", PTMX)?;
    sys::unlock_terminal(master.as_fd()).at("unlock", "terminal")?;
    let terminal = sys::terminal_of(master.as_fd()).at("open", "terminal")?;
    // A shell of another user opens it anew by its name.
    fchown(&terminal, Some(Uid::from_raw(uid)), None).at("give the terminal to", format!("uid {uid}"))?;
    sys::controlling_terminal(terminal.as_fd()).at("take", "terminal")?;
    for number in 0..3 {
        sys::dup_onto(&terminal, number).at("dup", format!("descriptor {number}"))?;
    }
    wire::send(console, &(), &[master.as_fd()]).map_err(|error| Failure::text("hand over", "terminal", error))
}
