//! Who sent a process the signal that ended it, and how a container's first process ended.

use crate::event::Comm;
use crate::wire::wire;

/// Where a signal came from.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody saw it sent.
    Unknown = 0,
    /// The process itself, as by abort.
    Itself = 1,
    /// Another process of its container.
    Inside = 2,
    /// A process of another container.
    Beside = 3,
    /// A process outside all containers.
    Host = 4,
    /// podbox, or its keeper.
    Podbox = 5,
    /// The kernel: a fault, a broken pipe, a timer, a resource limit.
    Kernel = 6,
    /// The kernel's OOM killer.
    Oom = 7,
    /// The end of the first process of its PID namespace.
    Namespace = 8,
}

impl Origin {
    /// All of them, in the order of their numbers.
    pub const ALL: [Origin; 9] = [
        Origin::Unknown,
        Origin::Itself,
        Origin::Inside,
        Origin::Beside,
        Origin::Host,
        Origin::Podbox,
        Origin::Kernel,
        Origin::Oom,
        Origin::Namespace,
    ];
}

/// A signal on its way to a process that it may end. All 0: nobody saw one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// When: nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// The sender's container's cgroup; 0 if it is in none.
    pub container: u64,
    /// The address of a fault, or the system call that was refused.
    pub detail: u64,
    /// The sending process; 0 for the kernel.
    pub tgid: u32,
    /// The signal's number.
    pub signal: u32,
    /// The kernel's `si_code`.
    pub code: i32,
    /// An [`Origin`].
    pub origin: u32,
    /// The sending process's command name.
    pub comm: Comm,
}

/// A signal on its way to a process: which process, which signal.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentKey {
    /// Process id in the host's namespace.
    pub tgid: u64,
    /// The kernel's `start_boottime`.
    pub start_ns: u64,
    /// The signal's number.
    pub signal: u64,
}

/// A process of podbox's own. What /proc says of its start is all that user space knows of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnProcess {
    /// Process id in the host's namespace.
    pub tgid: u64,
    /// When it started, in units of [`TICK_NS`] since boot.
    pub start_ticks: u64,
}

/// The unit of times in /proc: a hundredth of a second on every machine.
pub const TICK_NS: u64 = 10_000_000;

/// A process whose parent is in no container: a container's first one, or a command that podbox ran in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndKey {
    /// The container's cgroup.
    pub container: u64,
    /// Process id in the host's namespace.
    pub tgid: u64,
}

/// How it ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EndRecord {
    /// When: nanoseconds of CLOCK_BOOTTIME.
    pub died_ns: u64,
    /// As `wait` reports it.
    pub status: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Who sent the signal that ended it.
    pub sent: Sent,
}

wire! {
    Sent {
        at_ns: u64, container: u64, detail: u64, tgid: u32, signal: u32, code: i32, origin: u32, comm: Comm,
    }
    SentKey { tgid: u64, start_ns: u64, signal: u64 }
    OwnProcess { tgid: u64, start_ticks: u64 }
    EndKey { container: u64, tgid: u64 }
    EndRecord { died_ns: u64, status: u32, reserved: u32, sent: Sent }
}
