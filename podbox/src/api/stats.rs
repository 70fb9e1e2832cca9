//! What a node, its pods and their containers use: the numbers, and the seam to the node that has them. Pure.
//!
//! A rate is always of two samples of the same thing; what has been looked at only once has none.

use super::identity::PodRef;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What something used up to a moment, and holds at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The moment.
    pub at: SystemTime,
    /// CPU time that it used in its life, in nanoseconds.
    pub cpu_nanos: u64,
    /// What it holds of the memory.
    pub memory: Memory,
    /// Its processes.
    pub processes: u64,
}

/// What something holds of the memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is charged to it, caches of files included.
    pub usage: u64,
    /// What it cannot easily give back: usage without files that nobody read for a while.
    pub working_set: u64,
    /// What is in no file.
    pub rss: u64,
    /// Pages that it had to wait for, cheap and dear ones.
    pub page_faults: u64,
    /// Those of them that came from a disk.
    pub major_page_faults: u64,
}

/// How fast CPU time was used lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In which span, up to the newest sample.
    pub window: Duration,
    /// In billionths of a core.
    pub nano_cores: u64,
}

/// The rate between two samples; none if no time lies between them, or if they are of two things.
pub fn rate(before: &Sample, after: &Sample) -> Option<Rate> {
    let window = after.at.duration_since(before.at).ok().filter(|window| !window.is_zero())?;
    let used = after.cpu_nanos.checked_sub(before.cpu_nanos)?;
    let nano_cores = u128::from(used) * 1_000_000_000 / window.as_nanos();
    Some(Rate { window, nano_cores: u64::try_from(nano_cores).ok()? })
}

/// What something uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The newest sample.
    pub sample: Sample,
    /// Its rate, once there are two.
    pub rate: Option<Rate>,
}

/// What went through a link since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in.
    pub rx_packets: u64,
    /// Packets that came in damaged.
    pub rx_errors: u64,
    /// Packets that came in and found no room.
    pub rx_dropped: u64,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Packets that could not go out.
    pub tx_errors: u64,
    /// Packets that were to go out and found no room.
    pub tx_dropped: u64,
}

impl Traffic {
    /// What the link's other end sees of the same.
    pub fn from_other_end(self) -> Traffic {
        Traffic {
            rx_bytes: self.tx_bytes,
            rx_packets: self.tx_packets,
            rx_errors: self.tx_errors,
            rx_dropped: self.tx_dropped,
            tx_bytes: self.rx_bytes,
            tx_packets: self.rx_packets,
            tx_errors: self.rx_errors,
            tx_dropped: self.rx_dropped,
        }
    }
}

/// A container that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// When it was started.
    pub started: SystemTime,
    /// What it uses.
    pub usage: Usage,
}

/// A pod of which something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// What all of it uses.
    pub usage: Usage,
    /// What went through its link; none if it has the host's.
    pub traffic: Option<Traffic>,
    /// Its containers that run, by name.
    pub containers: BTreeMap<String, ContainerUsage>,
}

/// The whole host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostUsage {
    /// When it was started.
    pub booted: SystemTime,
    /// What everything on it uses.
    pub usage: Usage,
    /// Bytes of memory that it has.
    pub memory_bytes: u64,
    /// How many processes and threads there can be.
    pub processes_limit: u64,
}

impl HostUsage {
    /// Bytes that could be had without taking them from anyone, as the kubelet counts them.
    pub fn memory_available(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.usage.sample.memory.working_set)
    }
}

/// Everything at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The host.
    pub host: HostUsage,
    /// The link that leads to the world, and what went through it.
    pub network: Option<(String, Traffic)>,
    /// The pods of which something runs.
    pub pods: BTreeMap<PodRef, PodUsage>,
}

/// Room on a disk that something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// In bytes.
    pub bytes: u64,
    /// In files and directories.
    pub inodes: u64,
}

impl Space {
    /// This and another one.
    pub fn and(self, other: Space) -> Space {
        Space {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Bytes that it has room for.
    pub capacity_bytes: u64,
    /// Bytes that can still be written.
    pub available_bytes: u64,
    /// The same, with those that are kept for root.
    pub free_bytes: u64,
    /// Files that it has room for; 0 where it does not count them.
    pub inodes: u64,
    /// Files that can still be made.
    pub inodes_free: u64,
}

impl Filesystem {
    /// What is taken of it.
    pub fn used(&self) -> Space {
        Space {
            bytes: self.capacity_bytes.saturating_sub(self.free_bytes),
            inodes: self.inodes.saturating_sub(self.inodes_free),
        }
    }
}

/// What a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerDisk {
    /// What it wrote into its root.
    pub root: Space,
    /// Its logs.
    pub logs: Space,
}

/// What a pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDisk {
    /// Its containers, by name.
    pub containers: BTreeMap<String, ContainerDisk>,
    /// Its volumes on the node's disk, by name.
    pub volumes: BTreeMap<String, Space>,
    /// Files that every pod has: `/etc/hosts` and its like.
    pub own: Space,
}

impl PodDisk {
    /// All of it.
    pub fn total(&self) -> Space {
        let containers = self.containers.values().map(|one| one.root.and(one.logs));
        containers.chain(self.volumes.values().copied()).fold(self.own, Space::and)
    }
}

/// What is on the node's disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// When it was looked at.
    pub at: SystemTime,
    /// Where pods are.
    pub node: Filesystem,
    /// Where images are.
    pub images: Filesystem,
    /// Bytes that images take.
    pub image_bytes: u64,
    /// Pods, by uid.
    pub pods: BTreeMap<String, PodDisk>,
}

/// Has the numbers of a node.
pub trait Stats: Send + Sync {
    /// The newest; none right after the start.
    fn latest(&self) -> Option<Arc<Snapshot>>;
    /// What is on the disks, looked at lately; why it could not be, for people.
    fn disk(&self) -> BoxFuture<'static, Result<Arc<Disk>, String>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, cpu_nanos: u64) -> Sample {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Sample { at, cpu_nanos, memory: Memory::default(), processes: 1 }
    }

    #[test]
    fn a_rate_is_of_two_samples_of_one_thing() {
        let check = |before: (u64, u64), after: (u64, u64), expected: Option<u64>| {
            let found = rate(&sample(before.0, before.1), &sample(after.0, after.1));
            assert_eq!(found.map(|rate| rate.nano_cores), expected, "{before:?} {after:?}");
        };
        check((10, 1_000_000_000), (20, 6_000_000_000), Some(500_000_000));
        check((10, 5), (20, 5), Some(0));
        // The clock stood still, or was set back.
        check((10, 5), (10, 6), None);
        check((20, 5), (10, 6), None);
        // Another one took its place.
        check((10, 6), (20, 5), None);
        check((10, 0), (11, u64::MAX), Some(u64::MAX));
    }
}
