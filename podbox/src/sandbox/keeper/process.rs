//! What the keeper knows of one process: a container's first one, or a command in a container.

use super::stdio::Ours;
use crate::api::process::Stat;
use crate::clock;
use crate::sandbox::launch::Process;
use crate::sandbox::message::{End, Failure, Held, Told};
use crate::sandbox::runtime::{ExitStatus, ProcessUser};
use crate::sandbox::sys;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

/// One stream of a container's log. All of it is kept until the container is forgotten, so that a daemon
/// that dies half way loses nothing: what is unread stays in the pipe, what is half written in `staging`.
#[derive(Debug)]
pub struct Stream {
    /// Read end of the pipe that is the container's stdout or stderr.
    pub source: OwnedFd,
    /// Read end of the daemon's staging pipe.
    pub staging_read: OwnedFd,
    /// Write end of it.
    pub staging_write: OwnedFd,
}

/// What a process is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are containers")]
pub enum Kind {
    /// A container's first process; with what its commands take over from it.
    Container {
        /// stdin, stdout and stderr.
        stdio: Ours,
        /// Whoever executes in the container later does so as this.
        process: Process,
        /// And here.
        cwd: String,
    },
    /// PID 1 of a namespace that a pod's containers share.
    Pause,
    /// A command in a container.
    Command,
}

/// How far it is.
#[derive(Debug)]
pub enum Phase {
    /// Between clone and exec.
    Starting {
        /// The pipe that exec closes.
        report: std::fs::File,
        /// What came out of it so far.
        told: Vec<u8>,
        /// Who asked: connection and serial number.
        asked: (u64, u64),
    },
    /// Its program runs.
    Running,
    /// It is reaped.
    Ended(End),
}

/// A process.
#[derive(Debug)]
pub struct Child {
    /// In the host's pid namespace.
    pub pid: Pid,
    /// Becomes readable when it ends.
    pub pidfd: OwnedFd,
    /// The launch's label; empty for a command.
    pub label: String,
    /// What it is.
    pub kind: Kind,
    /// How far it is.
    pub phase: Phase,
    /// When exec succeeded, or clone before that.
    pub started: SystemTime,
    /// As whom it was executed, of a container.
    pub user: Option<ProcessUser>,
    /// Keys of its descriptors in the poll set.
    pub polled: Vec<u64>,
}

/// How long the keeper waits for one that it has killed, in milliseconds: everybody else waits with it.
const KILLED_MS: u16 = 1000;

/// A failure's text at most; a longer one is cut, and then reads as garbage.
const REPORT_BYTES: usize = 64 << 10;

impl Child {
    /// As the daemon sees a container.
    pub fn held(&self, id: &str) -> Option<Held> {
        let end = match &self.phase {
            Phase::Starting { .. } => return None,
            Phase::Running => None,
            Phase::Ended(end) => Some(*end),
        };
        let (id, label) = (id.to_owned(), self.label.clone());
        let pid = self.pid.as_raw().cast_unsigned();
        let (started, user) = (self.started, self.user.clone());
        matches!(self.kind, Kind::Container { .. }).then_some(Held { id, label, pid, started, user, end })
    }

    /// Descriptors of its log, as the protocol orders them.
    pub fn streams(&self) -> Vec<BorrowedFd<'_>> {
        match &self.kind {
            Kind::Container { stdio, .. } => stdio
                .streams
                .iter()
                .flat_map(|s| [s.source.as_fd(), s.staging_read.as_fd(), s.staging_write.as_fd()])
                .chain(stdio.stdin.as_ref().map(AsFd::as_fd))
                .collect(),
            Kind::Pause | Kind::Command => Vec::new(),
        }
    }

    /// Whether it is about to end: killed, and waiting for what ends with it. One that cannot be looked at is.
    pub fn is_exiting(&self) -> bool {
        let line = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        Stat::new(&line).and_then(Stat::is_exiting).unwrap_or(true)
    }

    /// Takes what a process hands over before it executes.
    pub fn settle(&mut self) -> Result<(), Failure> {
        match &mut self.kind {
            Kind::Container { stdio, .. } => stdio.take_terminal(),
            Kind::Pause | Kind::Command => Ok(()),
        }
    }

    /// Reads the report pipe; `Some` once the pipe is closed, with the failure it told, if any.
    pub fn read_report(&mut self) -> Option<Option<Failure>> {
        let Phase::Starting { report, told, .. } = &mut self.phase else { return None };
        let mut buffer = [0; 4096];
        loop {
            match report.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if told.len() + count <= REPORT_BYTES => told.extend(&buffer[..count]),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for told in serde_json::Deserializer::from_slice(told).into_iter::<Told>() {
            match told {
                Ok(Told::User(user)) => self.user = Some(user),
                Ok(Told::Failed(failure)) => return Some(Some(failure)),
                Err(error) => return Some(Some(Failure::text("start", self.label.clone(), error))),
            }
        }
        Some(None)
    }

    /// Kills it, and waits until it is gone, unless the kernel holds it up.
    pub fn kill(&self) {
        let _ = sys::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], KILLED_MS);
        let _ = self.reap(clock::wall());
    }

    /// Takes the exit status once it ended; `None` while it lives.
    pub fn reap(&self, now: SystemTime) -> Option<End> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let status = match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Exited(_, code)) => ExitStatus::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => ExitStatus::Signal(signal as i32),
            Ok(_) => return None,
            // Not our child any more: nobody else reaps, so the kernel lost it to SIGKILL at the latest.
            Err(_) => ExitStatus::Signal(libc::SIGKILL),
        };
        Some(End { status, at: now })
    }
}
