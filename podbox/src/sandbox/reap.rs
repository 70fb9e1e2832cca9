//! The parent of a command that is to leave nothing behind, in the container's PID namespace: it takes the ends of whatever
//! the command started and left, which a container's own first process may never do.
//!
//! ```text
//!   keeper ──clone──▶ this, in the keeper's cgroup ──clone──▶ the command, in its leaf
//!                       │ the command has ended: what is left in the leaf is killed
//!                       ▼ nobody is left: it ends as the command did
//! ```
//!
//! In the keeper's cgroup it neither freezes nor starves with the container, and counts for none of its limits. It executes
//! nothing, for that would cost more than most commands. Yet the container sees it, and one that may trace processes could
//! look into it: so it keeps nothing of the keeper's. Invariant: by the time it waits it has the container's root, one
//! descriptor, which can do nothing but end the leaf, and an empty heap.

use super::message::{Context, Failure};
use super::sys;
use crate::{clock, limits};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// Where the command goes.
#[derive(Debug)]
pub struct Leaf {
    /// The cgroup.
    dir: File,
    /// Its `cgroup.kill`.
    kill: File,
    /// Where this process' heap begins.
    heap: Option<usize>,
}

impl Leaf {
    /// Opens the cgroup.
    pub fn open(path: &Path, heap: Option<usize>) -> Result<Leaf, Failure> {
        let subject = || path.display().to_string();
        let dir = File::open(path).at("open cgroup", subject())?;
        let kill = File::options().write(true).open(path.join("cgroup.kill"));
        Ok(Leaf { dir, kill: kill.at("open cgroup.kill of", subject())?, heap })
    }
}

/// Clones the process that goes on as the command, and returns in it; the caller ends with it. To be called by one that is in
/// the container's namespaces already, but for the cgroups': from inside that one, no process can be cloned out of it.
pub fn attend(leaf: &Leaf) -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).at("become", "the parent of orphans")?;
    // SAFETY: this is a copy of the keeper, which has one thread.
    match unsafe { sys::clone3(0, Some(leaf.dir.as_fd())) }.at("clone", "the command")? {
        sys::Cloned::Child => nix::unistd::setsid().map(drop).at("start", "session"),
        sys::Cloned::Parent(command, _pidfd) => sys::exit_now(outlive(command, leaf)),
    }
}

/// Waits until the command has ended and nothing of it is left; its exit code, as a shell has it.
fn outlive(command: Pid, leaf: &Leaf) -> i32 {
    // A command may signal all that it sees.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    for standard in 0..3 {
        sys::close_standard(standard);
    }
    // SAFETY: this process ends by `exit_now`, and uses nothing of what is closed or emptied.
    let shed = unsafe { sys::close_others([leaf.kill.as_fd()]).and_then(|()| sys::empty_heap(leaf.heap)) };
    if shed.is_err() {
        // The command goes on without a parent rather than with one that could be looked into.
        return KILLED;
    }
    let code = ended(command);
    let _ = nix::unistd::write(&leaf.kill, b"1");
    take_orphans();
    code
}

/// What a shell says of one that SIGKILL ended.
const KILLED: i32 = 128 + libc::SIGKILL;

/// Waits for the command, and takes whoever ends before it.
fn ended(command: Pid) -> i32 {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => return code,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => return 128 + signal as i32,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return KILLED,
        }
    }
}

/// Takes those that were killed. One that the kernel does not let die goes to the container's first process after a while.
fn take_orphans() {
    let until = clock::instant() + limits::ORPHANS_END;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                let left = until.saturating_duration_since(clock::instant());
                if left.is_zero() || !sys::await_signal(Signal::SIGCHLD, left) {
                    return;
                }
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
    }
}
