//! What the programs put into the rings. One struct per kind, each beginning with a [`Head`].

use crate::signal::Sent;
use crate::wire::wire;

/// A task's command name, as the kernel keeps it: ends at the first NUL.
pub type Comm = [u8; 16];

/// Kinds of events; the number is on the wire, and indexes the sequence counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A process ended: [`ExitEvent`].
    Exit = 0,
    /// The OOM killer marked a victim: [`OomEvent`].
    Oom = 1,
    /// A zombie that had lain there for [`ZOMBIE_AFTER_NS`](crate::ZOMBIE_AFTER_NS) was reaped: [`ReapEvent`].
    Reap = 2,
    /// A socket began or ended to listen: [`ListenEvent`].
    Listen = 3,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 4] = [Kind::Exit, Kind::Oom, Kind::Reap, Kind::Listen];
}

/// What every event begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// A [`Kind`].
    pub kind: u32,
    /// Process id in the host's namespace.
    pub tgid: u32,
    /// Number of this event among those of its kind, from 1. A gap is a lost event.
    pub seq: u64,
    /// When: nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// The container's cgroup.
    pub container: u64,
    /// The cgroup the process was in: the container's own or one below it.
    pub leaf: u64,
    /// Process id in the innermost namespace; 0 where unknown.
    pub ns_pid: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Command name.
    pub comm: Comm,
}

/// A process ended: its last thread exits. One that was not a container's first, and ended well, is told only where
/// somebody follows it ([`follower_slot`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExitEvent {
    /// Common part.
    pub head: Head,
    /// As `wait` reports it: exit code << 8, or the signal, plus 0x80 if a core was dumped.
    pub status: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Who sent the signal, if one ended it.
    pub sent: Sent,
}

/// How many slots the map has of who follows ordinary ends.
pub const FOLLOWER_SLOTS: u32 = 1024;

/// The slot of those who follow the ends in this container; a few others share it.
pub const fn follower_slot(container: u64) -> u32 {
    (container % FOLLOWER_SLOTS as u64) as u32
}

/// What the victim was to the kill, as far as the program can know it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRole {
    /// No `oom_kill_process` surrounds the mark: the victim was exiting already, or nobody watches
    /// `oom_kill_process` here. User space knows which.
    Unwatched = 0,
    /// The one the kernel picked.
    Chosen = 1,
    /// Killed with the picked one.
    Group = 2,
    /// Picked, but it was on its way out already.
    Exiting = 3,
    /// Killed because it shares its memory with another victim. The kernel marks no such process, and counts none.
    Sharing = 4,
}

impl RawRole {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Whose limit was hit, seen from the victim's container.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawLimit {
    /// The decision was not watched, or there was none.
    Unknown = 0,
    /// No cgroup's: the node ran out.
    Node = 1,
    /// That of a cgroup below the container's.
    Inner = 2,
    /// The container's.
    Container = 3,
    /// The pod's.
    Pod = 4,
    /// The quality of service class's.
    Qos = 5,
    /// That of a cgroup above podbox's classes.
    Above = 6,
    /// That of a cgroup that the victim is not in: it shares its memory with one that is.
    Elsewhere = 7,
}

impl RawLimit {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// By the level of the cgroup: class, pod and container are one each.
    pub const fn at(level: u32, container_level: u32) -> RawLimit {
        if level > container_level {
            RawLimit::Inner
        } else if level == container_level {
            RawLimit::Container
        } else if level + 1 == container_level {
            RawLimit::Pod
        } else if level + 2 == container_level {
            RawLimit::Qos
        } else {
            RawLimit::Above
        }
    }
}

/// [`OomEvent::limit`] when no cgroup's limit was hit: the node ran out.
pub const NO_LIMIT: u64 = 0;

/// The OOM killer marked a victim. This very struct is the value of the map of victims too.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomEvent {
    /// Common part, of the victim.
    pub head: Head,
    /// A [`RawRole`].
    pub role: u32,
    /// A [`RawLimit`].
    pub limit_kind: u32,
    /// The cgroup whose limit was hit; [`NO_LIMIT`] for the node.
    pub limit: u64,
    /// Pages under that limit.
    pub limit_pages: u64,
    /// Pages of memory that were in use under it; 0 for the node.
    pub used_pages: u64,
    /// The victim's address space, in pages.
    pub total_vm_pages: u64,
    /// Its pages in memory, as nearly as the kernel counts them.
    pub rss_pages: u64,
    /// When the killer had chosen; the same for all who die by one decision. 0 where that is not watched.
    pub kill_ns: u64,
    /// Process that allocated when memory ran out.
    pub trigger_tgid: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Its command name.
    pub trigger_comm: Comm,
    /// Its container's cgroup; 0 if it is in none at that level.
    pub trigger_container: u64,
}

/// A zombie was reaped.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ReapEvent {
    /// Common part, of the dead one; `at_ns` is when it was reaped.
    pub head: Head,
    /// When it had died.
    pub died_ns: u64,
    /// Process that reaped it; 0 if unknown.
    pub reaper_tgid: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
    /// Its command name.
    pub reaper_comm: Comm,
}

/// A TCP socket began or ended to listen.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ListenEvent {
    /// Common part, of whoever called `listen` or closed the socket.
    pub head: Head,
    /// The port; 0 where the kernel was yet to choose one.
    pub port: u16,
    /// The kernel's AF_INET or AF_INET6.
    pub family: u16,
    /// 1 if it listens from now on, 0 if no more.
    pub listening: u32,
}

wire! {
    Head {
        kind: u32, tgid: u32, seq: u64, at_ns: u64, container: u64, leaf: u64, ns_pid: u32, reserved: u32, comm: Comm,
    }
    ExitEvent { head: Head, status: u32, reserved: u32, sent: Sent }
    OomEvent {
        head: Head, role: u32, limit_kind: u32, limit: u64, limit_pages: u64, used_pages: u64, total_vm_pages: u64,
        rss_pages: u64, kill_ns: u64, trigger_tgid: u32, reserved: u32, trigger_comm: Comm, trigger_container: u64,
    }
    ReapEvent { head: Head, died_ns: u64, reaper_tgid: u32, reserved: u32, reaper_comm: Comm }
    ListenEvent { head: Head, port: u16, family: u16, listening: u32 }
}
