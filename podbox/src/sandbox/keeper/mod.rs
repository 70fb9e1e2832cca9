//! The keeper: one small process per node that is the parent of every container and outlives the daemon.
//!
//! It holds what must not die with a daemon: pidfds and exit codes, the read ends of log pipes. It decides
//! nothing: what it clones was planned by the daemon, and it never retries, restarts or times out. It has one
//! thread and no async runtime, so that a clone copies little and may run any code before exec.
//!
//! ```text
//!            Start                 report pipe closed by exec
//!   (none) ────────▶ starting ───────────────────────────────▶ running
//!                       │ report tells a failure                  │ pidfd readable: reaped, Exited pushed
//!                       ▼                                         ▼
//!                    (none), answered Failed                   ended ──Forget──▶ (none)
//! ```
//!
//! A command (exec) goes the same way, but is let go as soon as it ended. One that dies without a word has run, and ended.
//!
//! Invariant: whatever arrives on the socket, containers are neither lost nor ended by it, except that
//! `Signal` does what it says.

mod connection;
mod process;
mod serve;
mod spawn;
mod stdio;

use super::sys;
use crate::limits;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, umask};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Signals the keeper ignores: it ends only when asked to, or by force. A child gives them back.
pub const IGNORED: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE];

/// The keeper's socket below the run directory.
pub const SOCKET: &str = "keeper.sock";

/// Why the keeper cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A step of its start failed.
    #[error("keeper: cannot {0}")]
    Start(&'static str, #[source] io::Error),
    /// Waiting for events failed.
    #[error("keeper: cannot wait for events")]
    Wait(#[source] nix::Error),
    /// It cannot come back from a container's pid namespace: what it clones next would land there.
    #[error("keeper: cannot return to its own pid namespace")]
    Astray(#[source] nix::Error),
}

/// Runs the keeper: `podbox keeper RUN_DIR CGROUP`. Returns in the caller's process once the socket
/// listens; the keeper itself goes on in the background. If another one serves this directory, that is fine.
pub fn main(run_dir: &Path, cgroup: &Path) -> Result<(), KeeperError> {
    // SAFETY: the program has just started, and owns no descriptor but the standard ones.
    unsafe { sys::close_from(3) }.map_err(|e| KeeperError::Start("close inherited descriptors", e.into()))?;
    let Some(lock) = lock(run_dir)? else { return Ok(()) };
    let listener = bind_socket(&run_dir.join(SOCKET))?;
    // SAFETY: nothing of this program has started a thread.
    let child = unsafe { sys::fork() }.map_err(|e| KeeperError::Start("fork", e.into()))?;
    if !child {
        return Ok(());
    }
    let nofile = settle(cgroup)?;
    let served = serve::Keeper::new(listener, nofile)?.run();
    // Only an empty keeper comes here, or one that cannot go on.
    let _ = fs::remove_file(run_dir.join(SOCKET));
    drop(lock);
    if let Err(error) = &served {
        eprintln!("podbox: {error}");
    }
    sys::exit_now(i32::from(served.is_err()))
}

/// One keeper per run directory; the lock ends with the process.
fn lock(run_dir: &Path) -> Result<Option<Flock<File>>, KeeperError> {
    let file = File::options().write(true).create(true).truncate(false).open(run_dir.join("keeper.lock"));
    let file = file.map_err(|e| KeeperError::Start("open keeper.lock in the run directory", e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EAGAIN)) => Ok(None),
        Err((_, error)) => Err(KeeperError::Start("lock keeper.lock", error.into())),
    }
}

fn bind_socket(path: &Path) -> Result<OwnedFd, KeeperError> {
    let failed = |e: nix::Error| KeeperError::Start("listen on keeper.sock", e.into());
    // Left by a keeper that died; the lock says that none lives.
    let _ = fs::remove_file(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(failed)?;
    // Root only from the moment it exists.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixAddr::new(path).and_then(|address| bind(listener.as_raw_fd(), &address));
    umask(before);
    bound.map_err(failed)?;
    listen(&listener.as_fd(), Backlog::new(16).map_err(failed)?).map_err(failed)?;
    Ok(listener)
}

/// Becomes a process of its own; returns the limit of open files from before.
fn settle(cgroup: &Path) -> Result<(rlim_t, rlim_t), KeeperError> {
    let failed = |what| move |e: nix::Error| KeeperError::Start(what, e.into());
    nix::unistd::setsid().map_err(failed("start a session"))?;
    // Its memory has what pods' environments say, and its descriptors lead to the host: a container that shares its user is
    // kept from both, and from those of its copies until they exec.
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map_err(failed("shut its memory"))?;
    nix::unistd::chdir("/").map_err(failed("chdir to /"))?;
    for signal in 1..=libc::SIGRTMAX() {
        sys::default_signal(signal);
    }
    IGNORED.iter().for_each(|signal| sys::ignore_signal(*signal));
    fs::write(cgroup.join("cgroup.procs"), "0").map_err(|e| KeeperError::Start("enter its cgroup", e))?;
    // Without it, containers lose their exit codes when memory runs out; not worth refusing to start.
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-999") {
        eprintln!("podbox: keeper: not protected from the OOM killer: {error}");
    }
    let before = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("read its limit of open files"))?;
    // Seven for each container; with a lower limit, starts fail with a clear error when it is reached.
    let wanted = (limits::CONTAINERS as rlim_t * 8).max(before.0);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(before.1)).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, before.1, before.1);
    }
    Ok(before)
}
