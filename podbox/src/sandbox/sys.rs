//! The system calls that no crate of ours wraps: clone3 into a cgroup, the mount API of file
//! descriptors, a few prctls. Thin on purpose: each function is one call, and returns the kernel's own error.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

type Result<T> = nix::Result<T>;

/// `CLONE_INTO_CGROUP`; libc declares it too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_CLEAR_SIGHAND`: handlers of the parent do not reach the child.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Who returned from [`clone3`].
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the child's id and a pidfd for it.
    Parent(Pid, OwnedFd),
}

/// Argument of clone3, as `linux/sched.h` lays it out (88 bytes: with `cgroup`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks a child that starts in `cgroup`, or in the caller's, and in new namespaces by `flags` (`CLONE_NEW…`).
///
/// # Safety
/// The caller must have one thread only: the child is a copy of that thread alone, so a lock that another
/// one holds stays locked in it for ever.
pub unsafe fn clone3(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(flags.cast_unsigned())
            | cgroup.map_or(0, |_| CLONE_INTO_CGROUP)
            | CLONE_CLEAR_SIGHAND
            | u64::from(libc::CLONE_PIDFD.cast_unsigned()),
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        cgroup: cgroup.map_or(0, |cgroup| u64::from(cgroup.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is what the kernel expects, of the size given, and `pidfd` lives on this stack. No
    // CLONE_VM: the child has its own copy of the address space, and by this function's contract no thread
    // of the parent can be inside a lock.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: clone3 succeeded, so it stored a new descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(Pid::from_raw(pid as i32), pidfd))
        }
    }
}

/// `pidfd_open`.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `pidfd_send_signal`.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it as kill(2) does.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(done).map(drop)
}

/// `open_tree` with `OPEN_TREE_CLONE`: a detached copy of the mount at `path` below `dir`.
pub fn open_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    flags |= libc::AT_EMPTY_PATH.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: `path` is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `move_mount`: attaches the detached mount `tree` at what `target` leads to.
pub fn move_mount(tree: BorrowedFd<'_>, target: &CStr) -> Result<()> {
    // SAFETY: both paths are C strings that outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_SYMLINKS,
        )
    };
    Errno::result(done).map(drop)
}

/// Argument of `mount_setattr`.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `mount_setattr` on a detached tree: sets `attributes` (`MOUNT_ATTR_…`) and `propagation` (`MS_PRIVATE`, `MS_SLAVE`,
/// `MS_SHARED`, or 0 to leave it as it is).
pub fn mount_setattr(tree: BorrowedFd<'_>, attributes: u64, propagation: u64, recursive: bool) -> Result<()> {
    let attr = MountAttr { attr_set: attributes, attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` is what the kernel expects, of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// `pivot_root(".", ".")`: the working directory becomes the root, the old root lies on top of it.
pub fn pivot_here() -> Result<()> {
    // SAFETY: two constant C strings.
    let done = unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) };
    Errno::result(done).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: no pointers; only flags of descriptors change.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(done).map(drop)
}

/// `prctl` with one number for an argument.
pub fn prctl(option: i32, argument: u64) -> Result<i32> {
    // SAFETY: only options whose argument is a number are used with this function.
    let done = unsafe { libc::prctl(option, argument, 0u64, 0u64, 0u64) };
    Errno::result(done)
}

/// `capset` for the calling thread: effective and permitted; inheritable is none.
pub fn capset(set: u64) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let half = |bits: u64| Data { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let (header, data) = (Header { version: VERSION, pid: 0 }, [half(set), half(set >> 32)]);
    // SAFETY: header and data are laid out as version 3 wants them.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(done).map(drop)
}

/// Installs a seccomp filter for this thread; `flags` are `SECCOMP_FILTER_FLAG_…`.
pub fn seccomp(filter: &[libc::sock_filter], flags: u32) -> Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter` and does not write to them.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(done).map(drop)
}

/// `execve`; returns only when it failed.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| {
        let mut list: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both lists end with null and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Errno::last()
}

/// `execveat` of an open file; returns only when it failed.
pub fn execve_fd(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| {
        let mut list: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (args, env) = (pointers(args), pointers(env));
    let file = file.as_raw_fd();
    // SAFETY: both lists end with null and point to C strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file,
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Gives a signal its default disposition.
pub fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL runs no code of ours. Signals that cannot be changed (KILL, STOP) fail harmlessly.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Ends the process at once: no destructors, no buffers of the parent written twice.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Forks; true in the child.
///
/// # Safety
/// As for [`clone3`]: the caller must have one thread only.
pub unsafe fn fork() -> Result<bool> {
    // SAFETY: by this function's contract there is one thread only.
    Errno::result(unsafe { libc::fork() }).map(|pid| pid == 0)
}

/// Makes `fd` also be descriptor number `number`, open across exec. For 0, 1 and 2, and for another right before exec.
pub fn dup_onto(fd: impl AsFd, number: RawFd) -> Result<()> {
    if fd.as_fd().as_raw_fd() == number {
        // dup2 would do nothing, and leave it to be closed by exec.
        // SAFETY: no pointers; the descriptor is open.
        return Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: whoever held `number` as an owned descriptor loses what it named; stdin, stdout and stderr
    // are owned by nobody in the keeper and its children, and before exec nobody uses what it loses.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }).map(drop)
}

/// Lets the terminal of this pseudo terminal's other end be opened.
pub fn unlock_terminal(master: BorrowedFd<'_>) -> Result<()> {
    let no: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const no) }).map(drop)
}

/// Opens the terminal of this pseudo terminal's other end, whatever its name is.
pub fn terminal_of(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: no pointers.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a terminal that of the calling process's session.
pub fn controlling_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers; 0 asks not to take it from another session.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Tells a terminal how large its window is; its foreground processes get SIGWINCH.
pub fn resize_terminal(terminal: BorrowedFd<'_>, width: u16, height: u16) -> Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Leaves the inherited session keyring for a new, empty one.
pub fn new_session_keyring() -> Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN: i64 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, std::ptr::null::<libc::c_char>()) };
    Errno::result(done).map(drop)
}

/// Closes every descriptor above 2 but these.
///
/// # Safety
/// Nothing may use or drop what owns the others: only in a process that ends by exec or [`exit_now`].
pub unsafe fn close_others<'a>(kept: impl IntoIterator<Item = BorrowedFd<'a>>) -> Result<()> {
    let mut kept: Vec<u32> = kept.into_iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if first < number {
            // SAFETY: no pointers; ownership is this function's contract.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) })?;
        }
        first = first.max(number + 1);
    }
    // SAFETY: the same.
    unsafe { close_from(first) }
}

/// Closes a standard descriptor, which nobody owns.
pub fn close_standard(number: RawFd) {
    // SAFETY: no pointers; stdin, stdout and stderr are owned by nobody in the keeper and its children.
    unsafe { libc::close(number) };
}

/// Where this process' heap begins; `None` where the allocator has none.
pub fn heap_start() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[heap]"))?;
    usize::from_str_radix(line.split('-').next()?, 16).ok()
}

/// Empties the heap that begins there: reads as zeros from now on.
///
/// # Safety
/// Nothing on the heap may be used any more, nor anything be allocated or freed: only in a process that ends by
/// [`exit_now`].
pub unsafe fn empty_heap(start: Option<usize>) -> Result<()> {
    let Some(start) = start else { return Ok(()) };
    // SAFETY: asks where the heap ends, and moves nothing.
    let end = unsafe { libc::sbrk(0) }.addr();
    let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
    let length = end.saturating_sub(start.addr());
    // SAFETY: this process' own pages; that nobody uses them is this function's contract.
    Errno::result(unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) }).map(drop)
}

/// Waits for a signal that is blocked, so long at most; whether it came.
pub fn await_signal(signal: Signal, at_most: Duration) -> bool {
    let mut set = SigSet::empty();
    set.add(signal);
    let at_most = TimeSpec::from_duration(at_most);
    // SAFETY: the kernel reads a set and a time; a null siginfo asks for none.
    unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), at_most.as_ref()) >= 0 }
}

/// Closes every descriptor from `first` on.
///
/// # Safety
/// Nothing may own any of them: only at the start of a program.
pub unsafe fn close_from(first: u32) -> Result<()> {
    // SAFETY: no pointers; ownership is this function's contract.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Has glibc's allocator share at most this many arenas among all threads, instead of eight per processor: each keeps what
/// was freed in it, so that memory of a few pods grows with the threads that ever handled them. No effect elsewhere.
pub fn bound_arenas(count: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; glibc documents it as safe among threads, and what it refuses (0) changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::try_from(count).unwrap_or(i32::MAX));
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}
