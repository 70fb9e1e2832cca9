//! Keys and values of the maps, and what bounds them.

use crate::event::{Comm, RawLimit, RawRole};
use crate::signal::Origin;
use crate::wire::wire;

/// Signals are numbered 1 to 64; index 0 stays empty.
pub const SIGNALS: usize = 65;
/// A dead process is called a zombie once it has waited this long for its parent.
pub const ZOMBIE_AFTER_NS: u64 = 1_000_000_000;
/// The last this many OOM victims of a container are kept by name; all are counted.
pub const VICTIMS_KEPT: u64 = 1024;
/// Upper bounds of the buckets of zombies' lifetimes; one more bucket takes what is above.
pub const LIFETIME_BOUNDS_NS: [u64; 12] = [
    100_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
    600_000_000_000,
];

/// What is counted per container, in the kernel, before any ring is tried.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerStats {
    /// Processes that exited with code 0.
    pub exits_success: u64,
    /// Processes that exited with another code.
    pub exits_error: u64,
    /// Processes ended by each signal.
    pub exits_signal: [u64; SIGNALS],
    /// OOM victims by [`RawRole`].
    pub oom_victims: [u64; RawRole::COUNT],
    /// The same by [`RawLimit`].
    pub oom_limits: [u64; RawLimit::COUNT],
    /// Processes that a signal ended, by its [`Origin`].
    pub signalled_by: [u64; Origin::ALL.len()],
    /// Number of the next victim's record: all victims so far.
    pub next_victim: u64,
    /// Dead processes that were reaped.
    pub reaped: u64,
    /// The sum of how long these had been dead.
    pub lifetime_sum_ns: u64,
    /// How many of them per bucket.
    pub lifetime_buckets: [u64; LIFETIME_BOUNDS_NS.len() + 1],
}

impl ContainerStats {
    /// Nothing has happened yet.
    pub const ZERO: ContainerStats = ContainerStats {
        exits_success: 0,
        exits_error: 0,
        exits_signal: [0; SIGNALS],
        oom_victims: [0; RawRole::COUNT],
        oom_limits: [0; RawLimit::COUNT],
        signalled_by: [0; Origin::ALL.len()],
        next_victim: 0,
        reaped: 0,
        lifetime_sum_ns: 0,
        lifetime_buckets: [0; LIFETIME_BOUNDS_NS.len() + 1],
    };
}

/// Which process: ids are reused, ids with a start time are not.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Process id in the host's namespace.
    pub tgid: u64,
    /// The kernel's `start_boottime`.
    pub start_ns: u64,
}

/// A process that is dead and not yet reaped.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    /// Its container's cgroup.
    pub container: u64,
    /// The cgroup it was in.
    pub leaf: u64,
    /// When it died: nanoseconds of CLOCK_BOOTTIME.
    pub died_ns: u64,
    /// Process id in the innermost namespace; 0 where unknown.
    pub ns_pid: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Command name.
    pub comm: Comm,
}

/// Where a victim's record is: the container's victims are numbered from 0, modulo [`VICTIMS_KEPT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VictimKey {
    /// The container's cgroup.
    pub container: u64,
    /// Number modulo [`VICTIMS_KEPT`].
    pub slot: u64,
}

/// The OOM kill that is under way. One is enough: the kernel's `oom_lock` lets only one run at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomContext {
    /// Thread that runs the killer, as pid_tgid; 0 when no kill is under way.
    pub allocator: u64,
    /// The cgroup whose limit was hit; 0 for the node.
    pub limit: u64,
    /// Pages under that limit.
    pub limit_pages: u64,
    /// Pages of memory in use under it; 0 for the node.
    pub used_pages: u64,
    /// When it began: nanoseconds of CLOCK_BOOTTIME.
    pub began_ns: u64,
    /// Level of that cgroup.
    pub limit_level: u32,
    /// Process that was picked.
    pub chosen_tgid: u32,
    /// 1 if the picked one was exiting before the kill.
    pub chosen_exiting: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
}

/// The latest victim that was marked: who shares its memory is killed next, and not marked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LastMark {
    /// Thread that ran the killer, as pid_tgid.
    pub allocator: u64,
    /// The victim's memory: the address of its `mm_struct`.
    pub mm: u64,
    /// The victim.
    pub tgid: u64,
}

/// What may get lost, and is counted then, per CPU; the number indexes the map of losses.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// An exit event: its ring was full.
    ExitEvent = 0,
    /// An OOM event: its ring was full. The map of victims still has the victim.
    OomEvent = 1,
    /// A reap event: its ring was full.
    ReapEvent = 2,
    /// A victim's record: the map of victims was full.
    VictimRecord = 3,
    /// A dead process's entry: the map of the dead was full, so its reaping will not be seen.
    DeadRecord = 4,
    /// An event of a socket that listens: its ring was full.
    ListenEvent = 5,
    /// How a container's first process ended: the map of ends was full.
    EndRecord = 6,
    /// Who sent a signal: the map of signals on their way was full.
    SentRecord = 7,
}

impl Loss {
    /// All of them, in the order of their numbers.
    pub const ALL: [Loss; 8] = [
        Loss::ExitEvent,
        Loss::OomEvent,
        Loss::ReapEvent,
        Loss::VictimRecord,
        Loss::DeadRecord,
        Loss::ListenEvent,
        Loss::EndRecord,
        Loss::SentRecord,
    ];
}

wire! {
    ContainerStats {
        exits_success: u64, exits_error: u64, exits_signal: [u64; SIGNALS], oom_victims: [u64; RawRole::COUNT],
        oom_limits: [u64; RawLimit::COUNT], signalled_by: [u64; Origin::ALL.len()], next_victim: u64, reaped: u64, lifetime_sum_ns: u64,
        lifetime_buckets: [u64; LIFETIME_BOUNDS_NS.len() + 1],
    }
    ProcessKey { tgid: u64, start_ns: u64 }
    Dead { container: u64, leaf: u64, died_ns: u64, ns_pid: u32, reserved: u32, comm: Comm }
    VictimKey { container: u64, slot: u64 }
    OomContext {
        allocator: u64, limit: u64, limit_pages: u64, used_pages: u64, began_ns: u64, limit_level: u32,
        chosen_tgid: u32, chosen_exiting: u32, reserved: u32,
    }
    LastMark { allocator: u64, mm: u64, tgid: u64 }
}
