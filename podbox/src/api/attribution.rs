//! How kernel events find their container: the sandbox engine tells which cgroup is whose before the
//! first process starts, and asks who was killed for memory once a process is gone.

use super::event::Oom;
use super::identity::ContainerRef;
use super::sender::Sender;
use super::startup::Firsts;
use super::zombie::Unreaped;
use serde::{Deserialize, Serialize};

/// What an OOM victim was to the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomRole {
    /// The kernel picked this process.
    Chosen,
    /// It died with the chosen one: `memory.oom.group`.
    Group,
    /// Killed because it shares its memory with another victim; the kernel neither marks nor counts such a process.
    Sharing,
    /// It was already on its way out; the kernel only let it use the reserves.
    Exiting,
    /// This kernel does not let us watch the killer decide: only that it was marked is known.
    Unknown,
}

/// One victim of one OOM kill, as the kernel marked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomVictim {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// When the killer had chosen: the same for all who died by one decision; absent where that is not watched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kill_ns: Option<u64>,
    /// What it was to the kill, whose limit was hit, and whose allocation started it.
    pub oom: Oom,
}

impl OomVictim {
    /// It was killed for want of memory. One that was on its way out already was not.
    pub fn was_killed(&self) -> bool {
        self.oom.role != OomRole::Exiting
    }
}

/// How the kernel saw a container's first process end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// As `wait` reports it.
    pub status: u32,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// Who sent the signal that ended it; `None` where no signal did, or nobody saw it sent.
    pub sender: Option<Sender>,
}

/// A process of podbox's own, whose signals are podbox's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRole {
    /// The one that decides.
    Daemon,
    /// The one that holds containers.
    Keeper,
}

/// The register of cgroups that are containers. Kept by the tracer; `Untraced` where BPF is absent.
pub trait Attribution: Send + Sync {
    /// Says that the cgroup (by inode number) is this container. Must return before its first process starts.
    fn register(&self, cgroup_id: u64, container: &ContainerRef);
    /// Says that the container is gone. Its entry stays as a tombstone for late events.
    fn forget(&self, cgroup_id: u64);
    /// The OOM victims the kernel marked in this container's cgroup so far, oldest first. Read from the
    /// BPF map, not from events: complete as soon as the victim's pidfd is readable.
    fn oom_victims(&self, cgroup_id: u64) -> Vec<OomVictim>;
    /// The decision that the kernel's OOM killer is carrying out, as [`OomVictim::kill_ns`] has it: there may be more victims.
    fn oom_under_way(&self) -> Option<u64>;
    /// How a container's first process, or a command that podbox ran in it, ended. Complete as soon as its pidfd is
    /// readable, like the victims.
    fn end(&self, cgroup_id: u64, pid: u32) -> Option<Witnessed>;
    /// What this process sends is podbox's doing.
    fn own(&self, role: OwnRole, pid: u32);
    /// Whether these are all: the cgroup was watched since its first process started, podbox running or not.
    fn watched(&self, cgroup_id: u64) -> bool;
    /// What the container did for the first time, and when; `None` where it is not watched, or not any more. Read from the
    /// map, also of what happened while no podbox ran.
    fn firsts(&self, cgroup_id: u64) -> Option<Firsts>;
    /// Those of this container's processes that have been dead for over a second, and lie unreaped. Read from the map, too.
    fn unreaped(&self, cgroup_id: u64) -> Unreaped;
}

/// No tracing: nothing is attributed, nothing is known.
#[derive(Debug)]
pub struct Untraced;

impl Attribution for Untraced {
    fn register(&self, _cgroup_id: u64, _container: &ContainerRef) {}
    fn forget(&self, _cgroup_id: u64) {}
    fn oom_victims(&self, _cgroup_id: u64) -> Vec<OomVictim> {
        Vec::new()
    }
    fn oom_under_way(&self) -> Option<u64> {
        None
    }
    fn end(&self, _cgroup_id: u64, _pid: u32) -> Option<Witnessed> {
        None
    }
    fn own(&self, _role: OwnRole, _pid: u32) {}
    fn watched(&self, _cgroup_id: u64) -> bool {
        false
    }
    fn firsts(&self, _cgroup_id: u64) -> Option<Firsts> {
        None
    }
    fn unreaped(&self, _cgroup_id: u64) -> Unreaped {
        Unreaped::default()
    }
}
