//! The pause process of a pod with `shareProcessNamespace: true`: PID 1 of the namespace that the pod's containers
//! share, where it reaps what loses its parent. It is this program, started by the keeper, and does nothing else.
//!
//! Containers can see it, and signal it. So before any of them can be there it gives up all that a program of the host's
//! has: its root is an empty directory, it is nobody without capabilities, it can neither gain any nor be looked into,
//! and it may make no system call but those by which it waits. Signals from the namespace do not reach its PID 1, which
//! handles none: only the keeper ends it.

use super::message::{Context, Failure};
use super::seccomp;
use super::sys;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::wait;
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

type Result<T> = std::result::Result<T, Failure>;

/// Gives up what it must not have, and waits. Does not return.
pub fn main(target: &OsStr, empty: &OsStr) -> ! {
    // SAFETY: the keeper put its pipe there, and this program has opened nothing yet.
    let report = unsafe { OwnedFd::from_raw_fd(REPORT) };
    match give_up(target, empty, report) {
        Ok(()) => reap(),
        Err(()) => sys::exit_now(127),
    }
}

fn give_up(target: &OsStr, empty: &OsStr, report: OwnedFd) -> std::result::Result<(), ()> {
    let Err(failure) = prepare(target, empty) else {
        // The last thing that it does but wait: the keeper lets containers in from here on. Not by dropping it: a debug
        // build would look at it first, which its filter does not allow.
        return close(report).map_err(drop);
    };
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    // Nobody is left to tell when this fails too; the keeper sees an empty pipe and an exit code.
    let _ = File::from(report).write_all(&text);
    Err(())
}

fn prepare(target: &OsStr, empty: &OsStr) -> Result<()> {
    not_dumpable()?;
    // Blocked, so that one that comes between two waits is not lost.
    only_child().thread_block().at("block", "SIGCHLD")?;
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
    // This clears the capabilities.
    setresuid(uid, uid, uid).at("become", format!("uid {uid}"))?;
    not_dumpable()?;
    sys::seccomp(&seccomp::waiting(), 0).at("install", "seccomp filter")
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
