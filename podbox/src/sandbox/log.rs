//! The log pump: moves what a container writes on stdout and stderr into its log file, in the format
//! of the CRI, exactly once, also when the daemon is killed in the middle.
//!
//! It does not read logs, does not remove a container's last log file, and never throws a byte away: while
//! the disk is full it tries again with growing pauses and counts each failure. A container that keeps
//! writing meanwhile blocks in `write(2)` once its pipe is full, as with any reader that is slow.
//!
//! # Why three pipes
//!
//! A `read(2)` takes bytes out of the kernel into a process that may die before they are on file. So
//! bytes are never in the daemon's memory alone: `splice(2)` moves them from the container's pipe into
//! a *staging* pipe, `tee(2)` shows them to the daemon without taking them, and only once they are on file is
//! staging drained. The keeper holds both pipes as well, so they outlive the daemon; the *journal*, a few
//! bytes in a file on tmpfs, outlives it too. All three vanish together when the machine stops.
//!
//! ```text
//!              announce            stage              write            settle              drain
//!   ┌─────────┐ journal: ┌────────┐ splice ┌────────┐ append ┌───────┐ journal: ┌────────┐ read
//!   │ settled │─Filling─▶│filling │───────▶│ staged │───────▶│written│─Draining▶│draining│──────┐
//!   └─────────┘ {length} └────────┘        └────────┘        └───────┘ {keep}   └────────┘      │
//!        ▲                  ▲ no line complete │                                                │
//!        │                  └──────────────────┘                                                │
//!        └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A daemon that dies, and what the next one finds and does (`Transfer::recover`):
//!
//! - before *announce*: the journal says `Draining`, staging holds no more than `keep`: nothing to do.
//! - after *announce* or *stage*: `Filling`; the file still has the length in the journal. What staging
//!   holds is written as if it had just come.
//! - inside or after *write*: `Filling`; the file is longer. It is cut to the length in the journal, and
//!   staging, which nobody drained, is written again.
//! - inside or after *settle*: the journal's record changes in one `pwrite` within one page, so it is
//!   the old one (as above) or the new one (as below).
//! - inside *drain*: `Draining`; staging is drained down to `keep` bytes, however many had gone.
//!
//! `keep` is the start of a line whose end has not come yet: it stays in staging, so that a line which
//! arrives in pieces is one entry in the log. A line longer than [`LOG_ENTRY_BYTES`] is cut into entries
//! tagged `P`, and one that never ends is a `P` entry at the stream's end, as containerd does it.
//!
//! The journal is locked by the pump that uses it, so a successor in the same process begins after the chunk
//! that its predecessor was at.
//!
//! **Invariant:** the file is the entries of a prefix of each stream, and staging followed by the
//! container's pipe is the rest of it.
//!
//! [`LOG_ENTRY_BYTES`]: crate::limits::LOG_ENTRY_BYTES

mod cri;
mod file;
mod journal;
mod pipe;
mod tap;
mod transfer;

#[cfg(test)]
mod tests;

use crate::{limits, metrics as table};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use transfer::{Outcome, Transfer};

pub use cri::Name;
pub use tap::{Shown, Taps};

/// One output of a container.
#[derive(Debug)]
pub struct Stream {
    /// The read end of what the container writes into. Some process must have had its write end open
    /// already: a pipe without writers is at its end.
    pub source: OwnedFd,
    /// The read end of this stream's staging pipe.
    pub staging_read: OwnedFd,
    /// The write end of this stream's staging pipe.
    pub staging_write: OwnedFd,
}

/// What a pump works on.
#[derive(Debug)]
pub struct LogSpec {
    /// The log file; directories above it are made.
    pub path: PathBuf,
    /// The container's stdout.
    pub stdout: Stream,
    /// The container's stderr.
    pub stderr: Stream,
    /// The journal: one file per run of a container, on tmpfs, beside the descriptors' lifetime. A pump
    /// that takes over finds the one its predecessor left; whoever removes the container removes it.
    pub journal: PathBuf,
    /// Who sees the output as it comes.
    pub taps: Taps,
}

/// A pump at work. Dropping it stops it after the chunk at hand; the next pump on the same journal goes on from there.
#[derive(Debug)]
pub struct Pump {
    task: Option<JoinHandle<()>>,
    /// Nobody of the container's own writes any more.
    over: watch::Sender<bool>,
}

/// A pump that could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No pipe to look through.
    #[error("opening a pipe for the log {} failed", .path.display())]
    Pipe {
        /// The log file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stream cannot be waited for.
    #[error("watching the output for the log {} failed", .path.display())]
    Watch {
        /// The log file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Starts a pump, which first finishes what an earlier one left half done. Must be called in a runtime. The log file is there
/// when this returns, if it can be made: whoever sees the container run may read it, before its first word too.
pub fn spawn(spec: LogSpec) -> Result<Pump, LogError> {
    let path = spec.path.clone();
    if let Err(error) = file::LogFile::open(&path) {
        // The pump tries again, and says so, as soon as there is something to write.
        tracing::debug!(%error, path = %path.display(), "a log was not begun");
    }
    let stdout = Arc::new(spec.stdout.source);
    let stderr = Arc::new(spec.stderr.source);
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; this does not"
    )]
    let watch = |fd: &Arc<OwnedFd>| {
        AsyncFd::with_interest(fd.clone(), Interest::READABLE)
            .map_err(|source| LogError::Watch { path: path.clone(), source })
    };
    let sources = [watch(&stdout)?, watch(&stderr)?];
    let channels = [
        transfer::Channel::new(stdout, spec.stdout.staging_read, spec.stdout.staging_write),
        transfer::Channel::new(stderr, spec.stderr.staging_read, spec.stderr.staging_write),
    ];
    let taps = spec.taps;
    let transfer = Transfer::new(spec.path, spec.journal, channels, taps.clone())
        .map_err(|source| LogError::Pipe { path: path.clone(), source })?;
    let transfer = Arc::new(Mutex::new(transfer));
    let over = watch::Sender::new(false);
    let ends = [over.subscribe(), over.subscribe()];
    let task = tokio::spawn(async move {
        let ([stdout, stderr], [end_out, end_err]) = (sources, ends);
        tokio::join!(
            follow(stdout, Name::Stdout, transfer.clone(), &taps, end_out),
            follow(stderr, Name::Stderr, transfer, &taps, end_err)
        );
        taps.close();
    });
    Ok(Pump { task: Some(task), over })
}

impl Pump {
    /// Says that every process of the container has ended: what its pipes hold now is all. Whoever else has them open, as
    /// a container of the same pod may that shares its processes, is not waited for.
    pub fn over(&self) {
        self.over.send_replace(true);
    }

    /// Resolves once both streams are at their end and every byte of them is on file. May be dropped and
    /// called again.
    pub async fn done(&mut self) {
        if let Some(task) = &mut self.task {
            if let Err(error) = task.await {
                tracing::error!(%error, "a log pump stopped before its streams ended");
            }
            self.task = None;
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Moves one stream to its end, a chunk at a time; the lock makes the streams take turns on the file.
async fn follow(
    source: AsyncFd<Arc<OwnedFd>>,
    name: Name,
    transfer: Arc<Mutex<Transfer>>,
    taps: &Taps,
    mut over: watch::Receiver<bool>,
) {
    // First without waiting: an earlier pump may have left bytes in staging while the source is silent.
    if chunk(name, &transfer, taps, false).await == Outcome::Ended {
        return;
    }
    loop {
        let ready = tokio::select! {
            biased;
            ready = source.readable() => ready,
            // An error says that the pump was dropped: it is about to be stopped.
            Ok(_) = over.wait_for(|over| *over) => break,
        };
        // An error here means that the runtime is shutting down.
        let Ok(mut ready) = ready else { return };
        let last = *over.borrow();
        match chunk(name, &transfer, taps, last).await {
            Outcome::Moved if last => break,
            Outcome::Moved => ready.retain_ready(),
            Outcome::Empty => ready.clear_ready(),
            Outcome::Ended => return,
        }
    }
    // Bounded, for somebody else may go on writing: as many as the largest pipe holds.
    for _ in 0..limits::LOG_LAST_CHUNKS {
        if chunk(name, &transfer, taps, true).await == Outcome::Ended {
            return;
        }
    }
}

/// One chunk, tried until it is done; `last`: without any more, the stream has ended. File writes may block, so they run
/// beside the runtime's threads.
async fn chunk(name: Name, transfer: &Arc<Mutex<Transfer>>, taps: &Taps, last: bool) -> Outcome {
    let mut pause = limits::LOG_RETRY_FIRST;
    loop {
        let mut turn = transfer.clone().lock_owned().await;
        let moved = spawn_blocking(move || {
            let outcome = turn.chunk(name, last);
            (outcome, turn.take_fresh())
        });
        let moved = match moved.await {
            Ok((outcome, fresh)) => {
                taps.show(name, fresh).await;
                Ok(outcome)
            }
            Err(error) => Err(error),
        };
        match moved {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => {
                ::metrics::counter!(table::LOG_RETRIES).increment(1);
                tracing::warn!(%error, "writing a container's log failed; it is kept and tried again");
            }
            Err(error) => {
                // Cancelled by a runtime that shuts down: the next daemon goes on from the journal.
                tracing::debug!(%error, "a chunk of a container's log was not moved");
                return Outcome::Ended;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::LOG_RETRY_LONGEST);
    }
}
