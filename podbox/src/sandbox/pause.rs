//! The pause process of a pod with `shareProcessNamespace: true`: PID 1 of the namespace that the pod's containers
//! share, where it reaps what loses its parent. And the init of a container that asks for one: the same in the container's own
//! namespace, where it also hands on what is sent to PID 1 (`kill 1` in a preStop hook) to the container's program. It is this
//! program, started by the keeper, and does nothing else.
//!
//! The container's program stays a child of the keeper's, which joins the namespace for it: so its end, its log, what kills it
//! and what stops it are the same with an init and without.
//!
//! Containers can see it, and signal it. So before any of them can be there it gives up all that a program of the host's
//! has: its root is an empty directory, it is nobody without capabilities, it can neither gain any nor be looked into,
//! and it may make no system call but those by which it waits. Signals from the namespace do not end its PID 1, which
//! handles none: only the keeper does. An init keeps one capability, to signal whom it may see, and may signal one process.

use super::message::{Context, Failure};
use super::seccomp;
use super::sys;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, wait, waitpid};
use nix::unistd::{Gid, Uid, chdir, close, setgroups, setresgid, setresuid};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How the keeper calls it: `podbox pause TARGET EMPTY`.
pub const COMMAND: &CStr = c"pause";
/// The keeper's pipe: closed once all is given up, or written to in case of failure.
pub const REPORT: RawFd = 3;
/// Nobody: as the image of upstream's pause container has it.
const NOBODY: u32 = 65_535;

/// The option of an init.
pub const FORWARD: &CStr = c"--forward";
/// The container's program: the first that comes into the namespace after its PID 1.
const PROGRAM: i32 = seccomp::FORWARDED_TO as i32;
/// CAP_KILL, by its bit.
const KILL: u64 = 1 << 5;

type Result<T> = std::result::Result<T, Failure>;

/// Gives up what it must not have, and waits. Does not return.
pub fn main(target: &OsStr, empty: &OsStr, forward: bool) -> ! {
    // SAFETY: the keeper put its pipe there, and this program has opened nothing yet.
    let report = unsafe { OwnedFd::from_raw_fd(REPORT) };
    match give_up(target, empty, forward, report) {
        Ok(()) if forward => attend(),
        Ok(()) => reap(),
        Err(()) => sys::exit_now(127),
    }
}

fn give_up(target: &OsStr, empty: &OsStr, forward: bool, report: OwnedFd) -> std::result::Result<(), ()> {
    let Err(failure) = prepare(target, empty, forward) else {
        // The last thing that it does but wait: the keeper lets containers in from here on. Not by dropping it: a debug
        // build would look at it first, which its filter does not allow.
        return close(report).map_err(drop);
    };
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    // Nobody is left to tell when this fails too; the keeper sees an empty pipe and an exit code.
    let _ = File::from(report).write_all(&text);
    Err(())
}

fn prepare(target: &OsStr, empty: &OsStr, forward: bool) -> Result<()> {
    not_dumpable()?;
    // Blocked, so that one that comes between two waits is not lost.
    let awaited = if forward { SigSet::all() } else { only_child() };
    awaited.thread_block().at("block", "signals")?;
    if forward {
        // As others are told of it who are sent a signal.
        // SAFETY: a name that ends.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_NAME, c"podbox-init".as_ptr()) })
            .map(drop)
            .at("set", "its name")?;
        sys::prctl(libc::PR_SET_KEEPCAPS, 1).map(drop).at("keep", "CAP_KILL")?;
    }
    empty_root(Path::new(target), empty)?;
    for capability in 0..64u64 {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability) {
            // Past the kernel's last one.
            Err(Errno::EINVAL) => break,
            done => done.map(drop).at("drop from the bounding set", format!("capability {capability}"))?,
        }
    }
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).at("set", "no_new_privs")?;
    setgroups(&[]).at("set groups of", "the pause process")?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setresgid(gid, gid, gid).at("become", format!("gid {gid}"))?;
    // This clears the capabilities, or those in effect.
    setresuid(uid, uid, uid).at("become", format!("uid {uid}"))?;
    sys::capset(if forward { KILL } else { 0 }).at("set", "capabilities")?;
    not_dumpable()?;
    sys::seccomp(&seccomp::waiting(forward), 0).at("install", "seccomp filter")
}

/// Others cannot trace it then, nor follow the links that lead from its directory in `/proc` to what it has open.
fn not_dumpable() -> Result<()> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map(drop).at("set", "dumpable")
}

/// Leaves the host's files for an empty directory.
fn empty_root(target: &Path, empty: &OsStr) -> Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).at("make private", "/")?;
    let subject = target.display().to_string();
    let path = |path: &OsStr| std::ffi::CString::new(path.as_bytes()).at("bind", subject.clone());
    let tree = sys::open_tree(AT_FDCWD, &path(empty)?, false).at("bind", subject.clone())?;
    let inert =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(tree.as_fd(), inert, libc::MS_PRIVATE, false)
        .at("set attributes of", subject.clone())?;
    sys::move_mount(tree.as_fd(), &path(target.as_os_str())?).at("bind on", subject.clone())?;
    chdir(target).at("chdir", subject.clone())?;
    sys::pivot_here().at("pivot_root", subject.clone())?;
    umount2(".", MntFlags::MNT_DETACH).at("detach the host's root from", subject)?;
    chdir("/").at("chdir", "/")
}

fn only_child() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

/// Takes away each process that ended and has no other parent, for ever.
fn reap() -> ! {
    loop {
        if let Err(Errno::ECHILD) = wait() {
            // Nobody to wait for; whoever comes tells of its end.
            let _ = only_child().wait();
        }
    }
}

/// The same, and hands every other signal to the container's program, for ever.
fn attend() -> ! {
    let all = SigSet::all();
    loop {
        let mut signal = 0;
        // SAFETY: both are there for as long as the call is.
        match unsafe { libc::sigwait(all.as_ref(), &raw mut signal) } {
            0 if signal == libc::SIGCHLD => {
                // Many ends may be one signal.
                while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
                {
                }
            }
            0 => {
                // One that has ended needs none, and all of the namespace is about to end.
                // SAFETY: takes no pointers.
                let _ = unsafe { libc::kill(PROGRAM, signal) };
            }
            _ => {}
        }
    }
}
