//! Runs a command in a container: in a leaf cgroup of its own, so that a timeout ends its whole tree.
//!
//! It ends with the command's first process: what that has written by then is the output, whoever else
//! still holds the pipes. Processes that the command leaves behind stay, in their leaf, until the container goes; of a
//! command that is to be alone, or whose time is up, none stays. Invariant: one that has a time ends soon after it, whatever the
//! container is: also where the kernel lets its process neither start nor die.

use super::cgroup::{self, CgroupError};
use super::client::ClientError;
use super::engine::Engine;
use super::launch::{ExecLaunch, Stdio};
use super::message::{self, Body, Cause, End};
use super::runtime::{ALONE, COMMAND, ExecResult, ExecSpec, ExitStatus};
use crate::api::error::chain;
use crate::{clock, limits};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::net::unix::pipe::Receiver;

/// Why a command was not run, or its end not seen.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The keeper could not start it.
    #[error(transparent)]
    Keeper(#[from] ClientError),
    /// Its cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Its output.
    #[error("cannot read the command's output")]
    Output(#[source] io::Error),
    /// The runtime is shutting down.
    #[error("the work was given up")]
    Abandoned(#[from] tokio::task::JoinError),
}

/// Where a command runs.
#[derive(Debug)]
pub struct Target {
    /// The keeper's key of the container.
    pub container: String,
    /// The container's cgroup.
    pub cgroup: PathBuf,
    /// The exec's own number.
    pub number: u64,
}

/// The command's cgroup. Dropped before its end, it takes the command with it.
struct Leaf {
    path: PathBuf,
    /// What the command has left may stay.
    kept: bool,
}

impl Leaf {
    /// Ends whatever the command has left, and waits until it has gone. What cannot be ended is told, and no fault of the
    /// command's: what it came to is known.
    async fn clear(self) {
        if let Some(removal) = self.remove() {
            let _ = removal.await;
        }
    }

    fn remove(&self) -> Option<tokio::task::JoinHandle<()>> {
        // Most leave nothing.
        match std::fs::remove_dir(&self.path) {
            Ok(()) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound || self.kept => return None,
            Err(_) => {}
        }
        let path = self.path.clone();
        let removal = move || {
            if let Err(error) = cgroup::remove(&path) {
                tracing::warn!(
                    "what a command has left goes with its container at the latest: {}",
                    chain(&error)
                );
            }
        };
        Some(tokio::runtime::Handle::try_current().ok()?.spawn_blocking(removal))
    }
}

impl ExecError {
    /// What a shell exits with for it, if it is the command's own fault: 127 for one that is not there, 126 for one
    /// that cannot be executed.
    pub fn exit_code(&self) -> Option<i32> {
        let ExecError::Keeper(ClientError::Failed(failure)) = self else { return None };
        match (&*failure.step, &failure.cause) {
            (message::EXEC, Cause::Errno(libc::ENOENT)) => Some(127),
            (message::EXEC, Cause::Errno(_)) => Some(126),
            _ => None,
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // One that was given up half way goes on ending beside.
        drop(self.remove());
    }
}

/// Waits for its end no more when this is dropped, also by whoever gives up.
struct Watched<'a> {
    engine: &'a Engine,
    id: &'a str,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.engine.keeper().unwatch(self.id);
    }
}

/// Runs it to its end.
pub async fn run(engine: Engine, target: Target, spec: &ExecSpec) -> Result<ExecResult, ExecError> {
    let name = format!("{}{}", if spec.alone { ALONE } else { COMMAND }, target.number);
    let id = format!("{}/{name}", target.container);
    let (mut stdout, out) = pipe().map_err(ExecError::Output)?;
    let (mut stderr, err) = pipe().map_err(ExecError::Output)?;
    let path = target.cgroup.join(name);
    cgroup::create(&path, &[], &[])?;
    let mut leaf = Leaf { path: path.clone(), kept: false };
    let mut ending = engine.keeper().watch(&id);
    let _watched = Watched { engine: &engine, id: &id };
    let (container, args, alone) = (target.container, spec.args.clone(), spec.alone);
    let launch =
        ExecLaunch { id: id.clone(), container, cgroup: path.clone(), args, stdio: Stdio::Output, alone };
    let deadline = || spec.timeout.map(|timeout| clock::instant() + timeout);
    let asked = {
        let engine = engine.clone();
        let patience = limits::KEEPER_ANSWER + spec.timeout.unwrap_or_default();
        let ask = move || {
            let fds = [out.as_fd(), err.as_fd()];
            engine.keeper().request_within(patience, Body::Exec(launch), &fds)
        };
        tokio::task::spawn_blocking(ask)
    };
    // Even its start may take its time: the container may be frozen, and its leaf with it.
    let (asked, late) = within(asked, deadline(), &path).await;
    let started = asked.map(|asked| asked.map_err(ExecError::from).and_then(|reply| Ok(reply.map(drop)?)));
    match started {
        Some(Ok(())) => {}
        Some(Err(error)) if !late => return Err(error),
        Some(Err(_)) | None => {
            let (status, stdout, stderr) = (ExitStatus::Signal(libc::SIGKILL), Vec::new(), Vec::new());
            return Ok(ExecResult { status, timed_out: true, stdout, stderr });
        }
    }
    let (mut kept_out, mut kept_err) = (Vec::new(), Vec::new());
    let (end, timed_out) = {
        let ended = async { ending.wait_for(Option::is_some).await.ok().and_then(|end| *end) };
        // How long it took podbox to start it is not the command's time.
        let until = if late { Some(clock::instant()) } else { deadline() };
        let ended = within(ended, until, &path);
        tokio::pin!(ended);
        let reading = async {
            tokio::join!(
                drain(&mut stdout, &mut kept_out, spec.output_limit),
                drain(&mut stderr, &mut kept_err, spec.output_limit)
            )
        };
        tokio::pin!(reading);
        // Ends of streams only stop the reading; the end of the process is what counts.
        tokio::select! {
            biased;
            end = &mut ended => end,
            _ = &mut reading => ended.await,
        }
    };
    let timed_out = timed_out || late;
    let status = match end {
        Some(Some(End { status, .. })) => {
            leaf.kept = !(spec.alone || timed_out);
            leaf.clear().await;
            status
        }
        Some(None) => return Err(ClientError::Gone.into()),
        // It cannot even be killed.
        None => ExitStatus::Signal(libc::SIGKILL),
    };
    // What a process wrote before its end is in the pipe by then.
    take_rest(&stdout, &mut kept_out, spec.output_limit).map_err(ExecError::Output)?;
    take_rest(&stderr, &mut kept_err, spec.output_limit).map_err(ExecError::Output)?;
    Ok(ExecResult { status, timed_out, stdout: kept_out, stderr: kept_err })
}

/// Waits for what ends with the command; when its time passes, kills its tree and waits a little longer. The flag says that it
/// passed.
async fn within<T>(
    work: impl Future<Output = T>,
    deadline: Option<Instant>,
    leaf: &Path,
) -> (Option<T>, bool) {
    tokio::pin!(work);
    let Some(deadline) = deadline else { return (Some(work.await), false) };
    if let Ok(done) = tokio::time::timeout_at(deadline.into(), &mut work).await {
        return (Some(done), false);
    }
    if let Err(error) = cgroup::kill(leaf) {
        tracing::warn!(%error, "a command that timed out could not be killed");
    }
    (tokio::time::timeout(limits::KILLED_END, work).await.ok(), true)
}

fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok((Receiver::from_owned_fd(read)?, write))
}

/// Reads to the stream's end, keeps what fits.
async fn drain(pipe: &mut Receiver, kept: &mut Vec<u8>, limit: usize) {
    loop {
        if pipe.readable().await.is_err() {
            return;
        }
        match take(pipe, kept, limit) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Past the runtime's own view of the pipe, which may not have heard yet that something is in it.
fn take_rest(pipe: &Receiver, kept: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    // A process that stays may write for ever: a pipe's content once, and no more.
    for _ in 0..64 {
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(0) | Err(nix::Error::EAGAIN) => break,
            Ok(count) => keep(&buffer[..count], kept, limit),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn take(pipe: &Receiver, kept: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = pipe.try_read(&mut buffer)?;
    keep(&buffer[..count], kept, limit);
    Ok(count)
}

fn keep(bytes: &[u8], kept: &mut Vec<u8>, limit: usize) {
    let room = limit.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_never_ends_is_given_up_soon_after_its_time_was_over() {
        let (leaf, deadline) = (Path::new("/no/such/cgroup"), Some(clock::instant()));
        assert_eq!(within(std::future::pending::<()>(), deadline, leaf).await, (None, true));
        let killed = within(tokio::time::sleep(Duration::from_millis(1)), deadline, leaf).await;
        assert_eq!(killed, (Some(()), true));
        assert_eq!(within(async { 7 }, deadline, leaf).await, (Some(7), false));
        assert_eq!(within(async { 7 }, None, leaf).await, (Some(7), false));
    }
}
