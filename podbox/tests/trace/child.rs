//! Children of this process that do the least a process can, for what takes a program too long or is not in its power.

use super::cgroup::Container;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use podbox::clock::boot;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

const STACK: usize = 32 << 10;

/// How a child ends.
#[derive(Clone, Copy)]
pub enum End {
    Exit(u8),
    /// By a signal that it sends to itself.
    Signal(u32),
}

/// What a child works on, in this process's memory.
struct Work {
    procs: i32,
    end: End,
    joined: bool,
    last: libc::timespec,
}

/// Joins the cgroup, looks at the clock and ends: only system calls, for it has the memory of a process that waits for it.
extern "C" fn work(work: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the one that waits has handed over what is its own.
    unsafe {
        let work = &mut *work.cast::<Work>();
        work.joined = libc::write(work.procs, b"0".as_ptr().cast(), 1) == 1;
        match work.end {
            End::Exit(code) => {
                libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut work.last);
                code.into()
            }
            End::Signal(signal) => {
                libc::signal(signal as i32, libc::SIG_DFL);
                libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut work.last);
                libc::kill(libc::getpid(), signal as i32);
                0
            }
        }
    }
}

/// A child that is dead, and waits for its parent to take it away.
pub struct Dead {
    pid: u32,
    /// Since boot: when it last looked at the clock, and when it was seen dead.
    last: Duration,
    seen: Duration,
}

impl Dead {
    /// Until its end it borrows this process's memory, so that nothing is left to do between its last look at the clock and
    /// its death.
    pub fn in_container(container: &Container, end: End) -> Dead {
        let procs = File::options().write(true).open(container.dir.join("cgroup.procs")).unwrap();
        let last = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut given = Work { procs: procs.as_raw_fd(), end, joined: false, last };
        let mut stack = vec![0_u8; STACK];
        // SAFETY: the end of the stack, which grows down, aligned as calls want it. The child has it, and what it works on,
        // for as long as this waits here.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(STACK);
            let top = top.wrapping_sub(top.addr() % 16);
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(work, top.cast(), flags, (&raw mut given).cast())
        };
        assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
        let id = Id::Pid(nix::unistd::Pid::from_raw(pid));
        waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let seen = boot();
        assert!(given.joined, "{} takes no process", container.dir.display());
        let last = Duration::new(given.last.tv_sec as u64, given.last.tv_nsec as u32);
        Dead { pid: pid as u32, last, seen }
    }

    /// Takes it away.
    pub fn reap(self) -> Reaped {
        let begun = boot();
        let id = Id::Pid(nix::unistd::Pid::from_raw(self.pid as i32));
        waitid(id, WaitPidFlag::WEXITED).unwrap();
        let done = boot();
        let lain = (begun.saturating_sub(self.seen), done - self.last);
        Reaped { pid: self.pid, at_least: lain.0, at_most: lain.1 }
    }
}

/// One that was taken away, and how long it can have lain there.
pub struct Reaped {
    pub pid: u32,
    pub at_least: Duration,
    pub at_most: Duration,
}

/// A copy of this process, born in a container with the id that it is given, which ends at once; the status of its end.
/// `None` where somebody has that id.
pub fn with_id(pid: u32, container: &Container, code: u8) -> Option<u32> {
    let dir = File::open(&container.dir).unwrap();
    let ids = [pid as libc::pid_t];
    // SAFETY: all zeroes ask for nothing. The kernel reads the arguments before it returns; the copy makes one system call.
    let made = unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        // Of the kernel's interface, wider than the flags of old calls.
        args.flags = 1 << 33;
        args.exit_signal = libc::SIGCHLD as u64;
        args.set_tid = ids.as_ptr().addr() as u64;
        args.set_tid_size = 1;
        args.cgroup = dir.as_raw_fd() as u64;
        let made = libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>());
        if made == 0 {
            libc::_exit(code.into());
        }
        made
    };
    if made < 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST), "clone3: {error}");
        return None;
    }
    assert_eq!(made, i64::from(pid));
    let mut status = 0;
    // SAFETY: a pointer to a local.
    assert_eq!(unsafe { libc::waitpid(ids[0], &raw mut status, 0) }, ids[0]);
    Some(status as u32)
}
