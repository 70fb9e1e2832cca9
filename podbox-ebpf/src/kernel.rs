//! The kernel's structures, as far as the programs read them: pointers with accessors.
//!
//! Two ways to read. `direct` compiles to one load; the verifier knows the pointer's BTF type and the
//! offset (read-only globals are constants to it), so this is for what every process of the host, or of a pod, comes
//! by: [`Typed`]. `probe` calls a helper, which takes ten times as long: for everything else.

use crate::offsets::*;
use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use podbox_common::{Comm, Connection, mapped};

/// SIGNAL_GROUP_EXIT of the kernel's `signal->flags`: the whole group ends with `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// PF_EXITING of the kernel's `task->flags`.
const PF_EXITING: u32 = 4;
/// What a signal's handler is that nobody has set.
const SIG_DFL: u64 = 0;
/// The kernel's MM_FILEPAGES, MM_ANONPAGES and MM_SHMEMPAGES: what counts as resident.
const RESIDENT: [u64; 3] = [0, 1, 3];
/// The size of `struct upid`: a number and a pointer.
const UPID_BYTES: u64 = 16;

#[inline(always)]
fn at<T>(base: u64, offset: &Global<u32>) -> *const T {
    (base + u64::from(offset.load())) as *const T
}

/// A field of a structure whose type the verifier knows.
#[inline(always)]
unsafe fn direct<T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    // SAFETY: the verifier checks type, offset and size, and makes a fault read as zero.
    unsafe { base.add(offset.load() as usize).cast::<T>().read_volatile() }
}

/// A field of any structure; zero if it cannot be read.
#[inline(always)]
fn probe<T: Copy + Default>(base: u64, offset: &Global<u32>) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(at::<T>(base, offset)) }.unwrap_or_default()
}

/// `struct task_struct`.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// From a program's argument.
    #[inline(always)]
    pub fn trusted(pointer: *const u8) -> Task {
        Task(pointer)
    }

    /// The current thread.
    #[inline(always)]
    pub fn current() -> Task {
        // SAFETY: a helper without pointers.
        Task::untrusted(unsafe { bpf_get_current_task() })
    }

    fn untrusted(address: u64) -> Task {
        Task(address as *const u8)
    }

    fn addr(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        probe(self.addr(), &TASK_STRUCT__START_BOOTTIME)
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        probe(self.addr(), &TASK_STRUCT__TGID)
    }

    /// The thread group's leader, whose ids and name are the process's.
    #[inline(always)]
    pub fn leader(self) -> Task {
        Task::untrusted(probe(self.addr(), &TASK_STRUCT__GROUP_LEADER))
    }

    /// Whose child it is, if it is not adopted.
    #[inline(always)]
    pub fn parent(self) -> Task {
        Task::untrusted(probe(self.addr(), &TASK_STRUCT__REAL_PARENT))
    }

    #[inline(always)]
    pub fn comm(self) -> Comm {
        probe(self.addr(), &TASK_STRUCT__COMM)
    }

    /// It is on its way out.
    #[inline(always)]
    pub fn is_exiting(self) -> bool {
        probe::<u32>(self.addr(), &TASK_STRUCT__FLAGS) & PF_EXITING != 0
    }

    /// It neither handles nor ignores this signal.
    #[inline(always)]
    pub fn leaves_to_kernel(self, signal: u32) -> bool {
        let sighand: u64 = probe(self.addr(), &TASK_STRUCT__SIGHAND);
        // The handler is the first member of both structures that are in one another there.
        let action = u64::from(signal - 1) * u64::from(K_SIGACTION__SIZE.load());
        probe::<u64>(sighand + action, &SIGHAND_STRUCT__ACTION) == SIG_DFL
    }

    /// What the kernel's `task_will_free_mem` looks at first: nothing needs to be killed.
    #[inline(always)]
    pub fn exiting(self) -> bool {
        let signal: u64 = probe(self.addr(), &TASK_STRUCT__SIGNAL);
        if probe::<u32>(signal, &SIGNAL_STRUCT__FLAGS) & SIGNAL_GROUP_EXIT != 0 {
            return true;
        }
        probe::<u32>(self.addr(), &TASK_STRUCT__FLAGS) & PF_EXITING != 0
            && probe::<u32>(signal, &SIGNAL_STRUCT__NR_THREADS) <= 1
    }

    /// Its id in the innermost pid namespace; 0 if it has none any more.
    #[inline(always)]
    pub fn ns_pid(self) -> u32 {
        let pid: u64 = probe(self.addr(), &TASK_STRUCT__THREAD_PID);
        if pid == 0 {
            return 0;
        }
        let level: u32 = probe(pid, &PID__LEVEL);
        let upid = pid + u64::from(level) * UPID_BYTES;
        probe(upid, &PID__NUMBERS)
    }

    /// Its cgroup in the v2 hierarchy.
    #[inline(always)]
    pub fn cgroup(self) -> Cgroup {
        let css_set: u64 = probe(self.addr(), &TASK_STRUCT__CGROUPS);
        Cgroup(probe(css_set, &CSS_SET__DFL_CGRP))
    }

    /// Its container's cgroup by direct loads, but for the last: for trusted tasks only. `None` above that level.
    #[inline(always)]
    pub fn cgroup_direct(self) -> Cgroup {
        // SAFETY: see `direct`; the verifier follows the types from a task to its cgroup.
        unsafe {
            let css_set: *const u8 = direct(self.0, &TASK_STRUCT__CGROUPS);
            Cgroup(direct(css_set, &CSS_SET__DFL_CGRP))
        }
    }

    /// The address of its memory's description; 0 if it has none any more.
    #[inline(always)]
    pub fn mm(self) -> u64 {
        probe(self.addr(), &TASK_STRUCT__MM)
    }

    #[inline(always)]
    pub fn total_vm_pages(self) -> u64 {
        match self.mm() {
            0 => 0,
            mm => probe(mm, &MM_STRUCT__TOTAL_VM),
        }
    }

    /// Its pages in memory.
    #[inline(always)]
    pub fn rss_pages(self) -> u64 {
        let mm = self.mm();
        if mm == 0 {
            return 0;
        }
        let first = mm + u64::from(RSS_COUNTER__COUNT.load());
        let size = u64::from(RSS_COUNTER__SIZE.load());
        let mut sum: i64 = 0;
        for counter in RESIDENT {
            sum += probe::<i64>(first + counter * size, &MM_STRUCT__RSS_STAT);
        }
        // A counter's own part may be below zero for a moment.
        if sum < 0 { 0 } else { sum as u64 }
    }
}

/// A task whose type the verifier knows: a program's argument, or what one leads to. Read by direct loads.
#[derive(Clone, Copy)]
pub struct Typed(*const u8);

impl Typed {
    /// From a program's argument.
    #[inline(always)]
    pub fn argument(pointer: *const u8) -> Typed {
        Typed(pointer)
    }

    /// For what is not read by direct loads.
    #[inline(always)]
    pub fn task(self) -> Task {
        Task(self.0)
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: &Global<u32>) -> T {
        // SAFETY: see `direct`.
        unsafe { direct(self.0, offset) }
    }

    /// A member of its `struct signal_struct`.
    #[inline(always)]
    fn of_signal(self, offset: &Global<u32>) -> u32 {
        // SAFETY: see `direct`; the verifier follows the types.
        unsafe { direct(self.load(&TASK_STRUCT__SIGNAL), offset) }
    }

    /// Thread id and process id.
    #[inline(always)]
    pub fn ids(self) -> (u32, u32) {
        (self.load(&TASK_STRUCT__PID), self.load(&TASK_STRUCT__TGID))
    }

    /// When it started: nanoseconds of CLOCK_BOOTTIME.
    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        self.load(&TASK_STRUCT__START_BOOTTIME)
    }

    /// The thread group's leader, whose ids and name are the process's.
    #[inline(always)]
    pub fn leader(self) -> Typed {
        Typed(self.load(&TASK_STRUCT__GROUP_LEADER))
    }

    /// Whose child it is, if it is not adopted.
    #[inline(always)]
    pub fn parent(self) -> Typed {
        Typed(self.load(&TASK_STRUCT__REAL_PARENT))
    }

    /// Its id in the innermost pid namespace; 0 if it has none any more.
    #[inline(always)]
    pub fn ns_pid(self) -> u32 {
        let pid: *const u8 = self.load(&TASK_STRUCT__THREAD_PID);
        // SAFETY: see `direct`. A null pointer reads as zero.
        let level: u32 = unsafe { direct(pid, &PID__LEVEL) };
        // Which of the numbers it is the verifier cannot know.
        probe(pid as u64 + u64::from(level) * UPID_BYTES, &PID__NUMBERS)
    }

    #[inline(always)]
    pub fn comm(self) -> Comm {
        let words: [u64; 2] = [0, 8].map(|at| {
            let word = self.0.wrapping_add(TASK_STRUCT__COMM.load() as usize + at);
            // SAFETY: see `direct`.
            unsafe { word.cast::<u64>().read_volatile() }
        });
        // SAFETY: the same bytes.
        unsafe { core::mem::transmute(words) }
    }

    /// `signal->live == 0`: all threads are on their way out.
    #[inline(always)]
    pub fn group_dead(self) -> bool {
        self.of_signal(&SIGNAL_STRUCT__LIVE) == 0
    }

    /// The status that `wait` will report for the process.
    #[inline(always)]
    pub fn wait_status(self) -> u32 {
        if self.of_signal(&SIGNAL_STRUCT__FLAGS) & SIGNAL_GROUP_EXIT != 0 {
            self.of_signal(&SIGNAL_STRUCT__GROUP_EXIT_CODE)
        } else {
            self.leader().load(&TASK_STRUCT__EXIT_CODE)
        }
    }

    /// Whether it is in the same cgroups as another one; if not by the same `struct css_set`, this does not tell.
    #[inline(always)]
    pub fn is_beside(self, other: Typed) -> bool {
        let sets: (u64, u64) = (self.load(&TASK_STRUCT__CGROUPS), other.load(&TASK_STRUCT__CGROUPS));
        sets.0 == sets.1
    }
}

/// `struct kernel_siginfo`, or one of the two numbers that stand for none.
#[derive(Clone, Copy)]
pub struct SigInfo(u64);

impl SigInfo {
    pub fn new(pointer: *const u8) -> SigInfo {
        SigInfo(pointer as u64)
    }

    /// SEND_SIG_NOINFO: as if the current process had sent it.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// SEND_SIG_PRIV: from the kernel.
    #[inline(always)]
    pub fn is_kernels(self) -> bool {
        self.0 == 1
    }

    #[inline(always)]
    pub fn code(self) -> i32 {
        probe(self.0, &KERNEL_SIGINFO__SI_CODE)
    }

    /// The address of a fault.
    #[inline(always)]
    pub fn address(self) -> u64 {
        probe(self.0, &KERNEL_SIGINFO___SIFIELDS)
    }

    /// The number of the system call that was refused: behind its address.
    #[inline(always)]
    pub fn syscall(self) -> u32 {
        probe(self.0 + 8, &KERNEL_SIGINFO___SIFIELDS)
    }
}

/// `struct cgroup`.
#[derive(Clone, Copy)]
pub struct Cgroup(u64);

impl Cgroup {
    /// The inode number of its directory.
    #[inline(always)]
    pub fn id(self) -> u64 {
        let kn: u64 = probe(self.0, &CGROUP__KN);
        probe(kn, &KERNFS_NODE__ID)
    }

    #[inline(always)]
    pub fn level(self) -> u32 {
        probe(self.0, &CGROUP__LEVEL)
    }

    /// Its ancestor (or itself) at a level; `None` if it is above that.
    #[inline(always)]
    pub fn ancestor(self, level: u32) -> Option<Cgroup> {
        if self.level() < level {
            return None;
        }
        Some(Cgroup(probe(self.0 + u64::from(level) * 8, &CGROUP__ANCESTORS)))
    }
}

/// `struct oom_control`.
#[derive(Clone, Copy)]
pub struct OomControl(u64);

impl OomControl {
    pub fn new(pointer: *const u8) -> OomControl {
        OomControl(pointer as u64)
    }

    #[inline(always)]
    pub fn chosen(self) -> Task {
        Task::untrusted(probe(self.0, &OOM_CONTROL__CHOSEN))
    }

    #[inline(always)]
    pub fn total_pages(self) -> u64 {
        probe(self.0, &OOM_CONTROL__TOTALPAGES)
    }

    /// Pages in use below the cgroup whose limit was hit.
    #[inline(always)]
    pub fn used_pages(self) -> u64 {
        match probe::<u64>(self.0, &OOM_CONTROL__MEMCG) {
            0 => 0,
            memcg => probe(memcg + u64::from(MEM_CGROUP__MEMORY.load()), &PAGE_COUNTER__USAGE),
        }
    }

    /// The cgroup whose limit was hit; `None` when the node ran out.
    #[inline(always)]
    pub fn limit(self) -> Option<Cgroup> {
        match probe::<u64>(self.0, &OOM_CONTROL__MEMCG) {
            0 => None,
            memcg => {
                let css = memcg + u64::from(MEM_CGROUP__CSS.load());
                Some(Cgroup(probe(css, &CGROUP_SUBSYS_STATE__CGROUP)))
            }
        }
    }
}

/// `struct sock`, which begins with a `struct sock_common`, and which an `inet_sock` begins with.
#[derive(Clone, Copy)]
pub struct Sock(u64);

impl Sock {
    pub fn new(pointer: *const u8) -> Sock {
        Sock(pointer as u64)
    }

    #[inline(always)]
    pub fn protocol(self) -> u16 {
        probe(self.0, &SOCK__SK_PROTOCOL)
    }

    /// The cgroup of whoever made it, or the socket that it came from; `None` in a kernel that does not keep it.
    #[inline(always)]
    pub fn cgroup(self) -> Option<Cgroup> {
        match SOCK__SK_CGRP_DATA.load() {
            0 => None,
            // The pointer is the first member of what is there.
            _ => Some(Cgroup(probe(self.0, &SOCK__SK_CGRP_DATA))),
        }
    }

    /// AF_INET or AF_INET6.
    #[inline(always)]
    pub fn family(self) -> u16 {
        probe(self.0, &SOCK_COMMON__SKC_FAMILY)
    }

    /// The connection of a server's socket to a client. A kernel that knows IPv6 keeps both ends as IPv6 addresses too,
    /// whatever the socket's family.
    #[inline(always)]
    pub fn connection(self) -> Connection {
        let (server, client) = match SOCK_COMMON__SKC_V6_DADDR.load() {
            0 => (
                mapped(probe(self.0, &SOCK_COMMON__SKC_RCV_SADDR)),
                mapped(probe(self.0, &SOCK_COMMON__SKC_DADDR)),
            ),
            _ => (probe(self.0, &SOCK_COMMON__SKC_V6_RCV_SADDR), probe(self.0, &SOCK_COMMON__SKC_V6_DADDR)),
        };
        Connection {
            server,
            client,
            server_port: self.port(),
            client_port: u16::from_be(probe(self.0, &SOCK_COMMON__SKC_DPORT)),
            reserved: 0,
        }
    }

    /// Its own port; 0 where it has none yet. One that the kernel chose is in the second place only when it has been given
    /// back, which comes before the socket is told to listen no more.
    #[inline(always)]
    pub fn port(self) -> u16 {
        match probe(self.0, &SOCK_COMMON__SKC_NUM) {
            0 => u16::from_be(probe(self.0, &INET_SOCK__INET_SPORT)),
            port => port,
        }
    }
}
