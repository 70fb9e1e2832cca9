//! Clones containers and commands.

use super::KeeperError;
use super::process::{Child, Kind, Phase};
use super::stdio;
use crate::clock;
use crate::sandbox::caps::CapSet;
use crate::sandbox::init::{self, Inherited};
use crate::sandbox::launch::{ExecLaunch, Filter, Launch, Pause, Pids, Process, Stdio};
use crate::sandbox::message::{Context, Failure};
use crate::sandbox::reap::Leaf;
use crate::sandbox::{seccomp, sys};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::rlim_t;
use nix::unistd::pipe2;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Different capability sets with a filter compiled; past it, they are compiled anew each time.
const FILTERS: usize = 64;

/// Why a start did not come to a process.
#[derive(Debug)]
pub enum SpawnError {
    /// Nothing happened; the daemon is told.
    Refused(Failure),
    /// The keeper cannot go on.
    Fatal(KeeperError),
}

impl From<Failure> for SpawnError {
    fn from(failure: Failure) -> Self {
        SpawnError::Refused(failure)
    }
}

/// What every clone needs, made once.
#[derive(Debug)]
pub struct Spawner {
    null: File,
    own_pids: File,
    /// This program, as pause processes run it.
    program: nix::Result<OwnedFd>,
    last_cap: u32,
    permitted: u64,
    nofile: (rlim_t, rlim_t),
    filters: BTreeMap<CapSet, Vec<libc::sock_filter>>,
    /// Where the keeper's heap begins, for copies of it that go on without.
    heap: Option<usize>,
}

impl Spawner {
    /// Finds out what this kernel has.
    pub fn new(nofile: (rlim_t, rlim_t)) -> Result<Spawner, KeeperError> {
        let open = |path: &str| File::options().read(true).write(path == "/dev/null").open(path);
        let null = open("/dev/null").map_err(|e| KeeperError::Start("open /dev/null", e))?;
        let own_pids =
            open("/proc/self/ns/pid").map_err(|e| KeeperError::Start("open its pid namespace", e))?;
        let known = |cap: &u32| sys::prctl(libc::PR_CAPBSET_READ, (*cap).into()).is_ok();
        let last_cap = (0..64).take_while(known).last().unwrap_or(0);
        let permitted = permitted().map_err(|e| KeeperError::Start("read its capabilities", e))?;
        let program = own_program();
        let (filters, heap) = (BTreeMap::new(), sys::heap_start());
        Ok(Spawner { null, own_pids, program, last_cap, permitted, nofile, filters, heap })
    }

    /// Clones a container's first process; `beside` is the one whose PID namespace it shares.
    pub fn container(
        &mut self,
        launch: Launch,
        beside: Option<&Child>,
        asked: (u64, u64),
    ) -> Result<Child, SpawnError> {
        let (ours, theirs) = stdio::make(launch.stdio)?;
        let filter = self.filter(&launch.process);
        let cgroup = open_cgroup(&launch.cgroup)?;
        let (report, told) = report_pipe()?;
        let flags = match launch.pids {
            Pids::New => libc::CLONE_NEWPID | libc::CLONE_NEWNS,
            Pids::Host | Pids::Of(_) => libc::CLONE_NEWNS,
        };
        let beside = beside.map(|child| child.pidfd.as_fd());
        match self.clone(&launch.id, beside, flags, Some(cgroup.as_fd()))? {
            sys::Cloned::Child => {
                let stdin = theirs.stdin.as_ref().map_or(self.null.as_fd(), AsFd::as_fd);
                let stdio = [stdin, theirs.stdout.as_fd(), theirs.stderr.as_fd()];
                let console = theirs.console.as_ref().map(AsFd::as_fd);
                let inherited = self.inherited(stdio, told.as_fd(), console, &filter);
                let inherited = Inherited { tells_user: true, ..inherited };
                init::report(&init::container(&launch, &inherited), told)
            }
            sys::Cloned::Parent(pid, pidfd) => {
                let kind = Kind::Container { stdio: ours, process: launch.process, cwd: launch.cwd };
                Ok(starting(pid, pidfd, launch.label, kind, report, asked))
            }
        }
    }

    /// Clones a pod's pause process.
    pub fn pause(&mut self, pause: &Pause, asked: (u64, u64)) -> Result<Child, SpawnError> {
        let program = self.program.as_ref().map_err(|errno| *errno).at("open", "podbox's own program")?;
        let cgroup = open_cgroup(&pause.cgroup)?;
        let (report, told) = report_pipe()?;
        let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
        match self.clone(&pause.id, None, flags, Some(cgroup.as_fd()))? {
            sys::Cloned::Child => {
                let null = self.null.as_fd();
                let inherited = self.inherited([null, null, null], told.as_fd(), None, &None);
                let failure = init::pause(pause, program.as_fd(), &inherited);
                init::report(&failure, told)
            }
            sys::Cloned::Parent(pid, pidfd) => {
                Ok(starting(pid, pidfd, String::new(), Kind::Pause, report, asked))
            }
        }
    }

    /// Clones a command into a container.
    pub fn command(
        &mut self,
        launch: &ExecLaunch,
        container: &Child,
        fds: &[OwnedFd],
        asked: (u64, u64),
    ) -> Result<Child, SpawnError> {
        let Kind::Container { process, cwd, .. } = &container.kind else {
            return Err(Failure::text("exec in", launch.container.clone(), "it is not a container").into());
        };
        let filter = self.filter(process);
        let null = self.null.as_fd();
        let (stdio, console) = match (launch.stdio, fds) {
            (Stdio::Output, [stdout, stderr]) => ([null, stdout.as_fd(), stderr.as_fd()], None),
            (Stdio::Pipes, [stdout, stderr, stdin]) => {
                ([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], None)
            }
            (Stdio::Terminal, [console]) => ([null; 3], Some(console.as_fd())),
            (stdio, fds) => {
                let text = format!("{} descriptors came along, which is not what {stdio:?} takes", fds.len());
                return Err(Failure::text("exec in", launch.container.clone(), text).into());
            }
        };
        // Either the command is cloned into its leaf, or what clones it there.
        let (cgroup, leaf) = match launch.alone {
            true => (None, Some(Leaf::open(&launch.cgroup, self.heap)?)),
            false => (Some(open_cgroup(&launch.cgroup)?), None),
        };
        let (report, told) = report_pipe()?;
        let (beside, cgroup) = (container.pidfd.as_fd(), cgroup.as_ref().map(AsFd::as_fd));
        match self.clone(&launch.id, Some(beside), 0, cgroup)? {
            sys::Cloned::Child => {
                let inherited = self.inherited(stdio, told.as_fd(), console, &filter);
                let (args, leaf) = (&launch.args, leaf.as_ref());
                let failure = init::exec(beside, leaf, process, args, cwd, &inherited);
                init::report(&failure, told)
            }
            sys::Cloned::Parent(pid, pidfd) => {
                Ok(starting(pid, pidfd, String::new(), Kind::Command, report, asked))
            }
        }
    }

    /// Clones, into the PID namespace of the process `beside` if there is one.
    fn clone(
        &self,
        id: &str,
        beside: Option<BorrowedFd<'_>>,
        flags: i32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<sys::Cloned, SpawnError> {
        if let Some(process) = beside {
            // Such a namespace is entered by children only, so the keeper steps in, clones, and steps out: this saves
            // the second clone that every other way of joining costs.
            setns(process, CloneFlags::CLONE_NEWPID).at("join", "the container's pid namespace")?;
        }
        // SAFETY: the keeper has one thread.
        let cloned = unsafe { sys::clone3(flags, cgroup) };
        if beside.is_some() && !matches!(cloned, Ok(sys::Cloned::Child)) {
            let home = setns(&self.own_pids, CloneFlags::CLONE_NEWPID);
            home.map_err(|error| SpawnError::Fatal(KeeperError::Astray(error)))?;
        }
        Ok(cloned.at("clone", id)?)
    }

    fn inherited<'a>(
        &self,
        stdio: [BorrowedFd<'a>; 3],
        told: BorrowedFd<'a>,
        console: Option<BorrowedFd<'a>>,
        filter: &'a Option<(Vec<libc::sock_filter>, u32)>,
    ) -> Inherited<'a> {
        let (last_cap, permitted, nofile) = (self.last_cap, self.permitted, self.nofile);
        let filter_flags = filter.as_ref().map_or(0, |(_, flags)| *flags);
        let filter = filter.as_ref().map(|(code, _)| &code[..]);
        Inherited {
            stdio,
            told,
            tells_user: false,
            console,
            filter,
            filter_flags,
            last_cap,
            permitted,
            nofile,
        }
    }

    /// A process's filter, and how the kernel installs it.
    fn filter(&mut self, process: &Process) -> Option<(Vec<libc::sock_filter>, u32)> {
        match &process.seccomp {
            Filter::None => None,
            Filter::Program(program) => Some((seccomp::unpacked(&program.code), program.flags)),
            Filter::Standard => {
                let known = self.filters.get(&process.caps).cloned();
                let filter = known.unwrap_or_else(|| seccomp::compile(process.caps));
                if self.filters.len() < FILTERS {
                    self.filters.insert(process.caps, filter.clone());
                }
                Some((filter, 0))
            }
        }
    }
}

/// The capabilities of this process.
fn permitted() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.ok_or_else(|| std::io::Error::other("/proc/self/status has no CapPrm"))
}

/// This program by a mount of its own, read-only and attached nowhere: a container that may look at its pod's pause
/// process finds the program behind it, but can never write to the host's file.
fn own_program() -> nix::Result<OwnedFd> {
    let tree = sys::open_tree(AT_FDCWD, c"/proc/self/exe", false)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_setattr(tree.as_fd(), attributes, libc::MS_PRIVATE, false)?;
    Ok(tree)
}

fn starting(
    pid: nix::unistd::Pid,
    pidfd: OwnedFd,
    label: String,
    kind: Kind,
    report: File,
    asked: (u64, u64),
) -> Child {
    let phase = Phase::Starting { report, told: Vec::new(), asked };
    Child { pid, pidfd, label, kind, phase, started: clock::wall(), user: None, polled: Vec::new() }
}

fn report_pipe() -> Result<(File, OwnedFd), Failure> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).at("make", "report pipe")?;
    Ok((File::from(read), write))
}

fn open_cgroup(path: &Path) -> Result<File, Failure> {
    File::open(path).at("open cgroup", path.display().to_string())
}
