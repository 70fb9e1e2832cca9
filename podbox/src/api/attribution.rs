//! How kernel events find their container: the sandbox engine tells which cgroup is whose before the
//! first process starts, and asks who was killed for memory once a process is gone.

use super::identity::ContainerRef;
use serde::{Deserialize, Serialize};

/// What an OOM victim was to the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomRole {
    /// The kernel picked this process.
    Chosen,
    /// It died with the chosen one: `memory.oom.group`.
    Group,
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
    /// What it was to the kill.
    pub role: OomRole,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
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
    /// Whether these are all: the cgroup was watched since its first process started, podbox running or not.
    fn watched(&self, cgroup_id: u64) -> bool;
    /// How many of this container's processes have been dead for over a second, and lie unreaped. Read from the map, too.
    fn zombies(&self, cgroup_id: u64) -> usize;
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
    fn watched(&self, _cgroup_id: u64) -> bool {
        false
    }
    fn zombies(&self, _cgroup_id: u64) -> usize {
        0
    }
}
