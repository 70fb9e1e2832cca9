//! Streams between a client and a container: a command that is run with them, and a container that is attached to.
//!
//! A command's streams end with its first process, like [`exec`](super::exec)'s: what that wrote by then is the
//! output. Dropping a session closes its streams and nothing else: as with other runtimes, a command whose client has
//! gone lives on, and the keeper reaps it.

use super::cgroup;
use super::engine::Engine;
use super::exec::{ExecError, Target};
use super::launch::{ExecLaunch, Stdio};
use super::line::Line;
use super::log::{Shown, Taps};
use super::message::{Body, End};
use super::runtime::{COMMAND, ExitStatus};
use super::wire;
use crate::api::streams::Wanted;
use crate::limits;
use bytes::Bytes;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A command that runs, and the streams to it.
#[derive(Debug)]
pub struct Session {
    /// What it reads. Shared with nobody: dropped, it is at its end.
    pub stdin: Option<Line>,
    /// What it wrote, until it ended.
    pub output: SessionOutput,
}

/// What a command writes.
#[derive(Debug)]
pub struct SessionOutput {
    stdout: Option<Line>,
    stderr: Option<Line>,
    ending: super::client::Ending,
    /// Set once it ended; what is left in its pipes is still read, up to so many bytes.
    ended: Option<(ExitStatus, usize)>,
}

/// A container that is attached to.
#[derive(Debug)]
pub struct Attached {
    /// What it reads, if that is open.
    pub stdin: Option<Arc<Line>>,
    /// What it writes from now on.
    pub output: mpsc::Receiver<Shown>,
    /// Where it comes from; says whether its end was the container's.
    pub taps: Taps,
    /// It has a terminal.
    pub tty: bool,
    /// Its stdin is to be closed when this client is gone.
    pub once: bool,
}

/// What came of a command's streams.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Written on stdout, or on the terminal.
    Stdout(Bytes),
    /// Written on stderr.
    Stderr(Bytes),
    /// It ended.
    Ended(ExitStatus),
}

impl SessionOutput {
    /// What it wrote next, and at last its end. Safe to drop and call again. An error is the keeper's end.
    pub async fn next(&mut self) -> Result<Event, ExecError> {
        loop {
            if let Some((status, left)) = self.ended {
                let rest = rest(&mut self.stdout).map(Event::Stdout);
                let Some(event) = rest.or_else(|| rest_of_stderr(&mut self.stderr)) else {
                    return Ok(Event::Ended(status));
                };
                let (Event::Stdout(bytes) | Event::Stderr(bytes)) = &event else { return Ok(event) };
                if bytes.len() >= left {
                    (self.stdout, self.stderr) = (None, None);
                }
                self.ended = Some((status, left.saturating_sub(bytes.len())));
                return Ok(event);
            }
            let (stdout, stderr) = (self.stdout.as_ref(), self.stderr.as_ref());
            tokio::select! {
                biased;
                bytes = read(stdout) => match bytes.map_err(ExecError::Output)? {
                    bytes if bytes.is_empty() => self.stdout = None,
                    bytes => return Ok(Event::Stdout(bytes)),
                },
                bytes = read(stderr) => match bytes.map_err(ExecError::Output)? {
                    bytes if bytes.is_empty() => self.stderr = None,
                    bytes => return Ok(Event::Stderr(bytes)),
                },
                end = self.ending.wait_for(Option::is_some) => match end.ok().and_then(|end| *end) {
                    Some(End { status, .. }) => self.ended = Some((status, limits::STREAM_REST)),
                    None => return Err(super::client::ClientError::Gone.into()),
                },
            }
        }
    }
}

async fn read(line: Option<&Line>) -> io::Result<Bytes> {
    match line {
        Some(line) => line.read().await,
        None => std::future::pending().await,
    }
}

/// What an ended process left in a pipe; nothing once that is empty.
fn rest(line: &mut Option<Line>) -> Option<Bytes> {
    let bytes = line.as_ref()?.read_now().ok().filter(|bytes| !bytes.is_empty());
    if bytes.is_none() {
        *line = None;
    }
    bytes
}

fn rest_of_stderr(line: &mut Option<Line>) -> Option<Event> {
    rest(line).map(Event::Stderr)
}

/// Starts a command; returns once its program runs.
pub(super) async fn open(
    engine: &Engine,
    target: Target,
    args: Vec<String>,
    wanted: Wanted,
) -> Result<Session, ExecError> {
    let name = format!("{COMMAND}{}", target.number);
    let id = format!("{}/{name}", target.container);
    let leaf = target.cgroup.join(name);
    let (ours, theirs) = ends(wanted).map_err(ExecError::Output)?;
    cgroup::create(&leaf, &[], &[])?;
    let ending = engine.keeper().watch(&id);
    let (container, cgroup) = (target.container, leaf.clone());
    let launch = ExecLaunch { id: id.clone(), container, cgroup, args, stdio: stdio(wanted), alone: false };
    let asked = {
        let engine = engine.clone();
        let ask = move || {
            let theirs: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
            engine.keeper().request(Body::Exec(launch), &theirs)
        };
        tokio::task::spawn_blocking(ask).await
    };
    let opened = asked
        .map_err(ExecError::from)
        .and_then(|reply| Ok(reply.map(drop)?))
        .and_then(|()| ours.lines().map_err(ExecError::Output));
    match opened {
        Ok((stdin, stdout, stderr)) => {
            let mut end = ending.clone();
            let engine = engine.clone();
            // Also when nobody is there to see its end.
            tokio::spawn(async move {
                let _ = end.wait_for(Option::is_some).await;
                engine.keeper().unwatch(&id);
                // Processes that it left behind keep it; then it goes with the container.
                let _ = std::fs::remove_dir(leaf);
            });
            let output = SessionOutput { stdout, stderr, ending, ended: None };
            Ok(Session { stdin, output })
        }
        Err(error) => {
            engine.keeper().unwatch(&id);
            let _ = std::fs::remove_dir(leaf);
            Err(error)
        }
    }
}

fn stdio(wanted: Wanted) -> Stdio {
    match wanted {
        Wanted { tty: true, .. } => Stdio::Terminal,
        Wanted { stdin: true, .. } => Stdio::Pipes,
        _ => Stdio::Output,
    }
}

/// The daemon's ends of a command's streams.
enum Ours {
    /// stdout, stderr, stdin.
    Pipes(OwnedFd, OwnedFd, Option<OwnedFd>),
    /// Where the terminal's other end comes from.
    Console(OwnedFd),
}

/// Both ends, the command's in the order in which the keeper takes them.
fn ends(wanted: Wanted) -> io::Result<(Ours, Vec<OwnedFd>)> {
    if wanted.tty {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        return Ok((Ours::Console(ours), vec![theirs]));
    }
    let (stdout, out) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, err) = pipe2(OFlag::O_CLOEXEC)?;
    let mut theirs = vec![out, err];
    let stdin = match wanted.stdin {
        true => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            theirs.push(read);
            Some(write)
        }
        false => None,
    };
    Ok((Ours::Pipes(stdout, stderr, stdin), theirs))
}

type Lines = (Option<Line>, Option<Line>, Option<Line>);

impl Ours {
    /// stdin, stdout and stderr, once the program runs.
    fn lines(self) -> io::Result<Lines> {
        match self {
            Ours::Pipes(stdout, stderr, stdin) => {
                Ok((stdin.map(Line::new).transpose()?, Some(Line::new(stdout)?), Some(Line::new(stderr)?)))
            }
            Ours::Console(socket) => {
                let ((), mut fds) = wire::receive::<()>(socket.as_fd()).map_err(io::Error::other)?;
                let terminal = fds.pop().ok_or_else(|| io::Error::other("no terminal came along"))?;
                let stdin = Line::new(terminal.try_clone()?)?;
                Ok((Some(stdin), Some(Line::new(terminal)?), None))
            }
        }
    }
}
