//! What the kernel has counted for a cgroup since it was made, and the seam to the node that reads it. Pure.
//!
//! It is read when somebody asks for it and kept nowhere: [`stats`](super::stats) has the few numbers that podbox itself looks at
//! again and again. What this kernel does not count (no controller, no pressure) is none, never zero.

use super::identity::{ContainerRef, PodRef};
use super::stats::{HostUsage, Memory, Traffic};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A cgroup's account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Processors.
    pub cpu: Cpu,
    /// Memory that it holds.
    pub memory: Memory,
    /// What the memory controller says beside.
    pub charge: Option<Charge>,
    /// Its processes, and threads where they are counted.
    pub processes: u64,
    /// Its threads.
    pub threads: Option<u64>,
    /// How many it may have; none if it may have as many as there can be.
    pub threads_limit: Option<u64>,
    /// What it read and wrote, by device: `8:0`.
    pub disks: BTreeMap<String, DiskTraffic>,
    /// How long it waited for processors, memory and disks.
    pub pressure: Pressures,
}

/// Time on processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub usage: Duration,
    /// In its own code.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// What its limit kept it from, where it can have one.
    pub throttling: Option<Throttling>,
    /// Its limit: so long in each period.
    pub limit: Option<(Duration, Duration)>,
    /// Its share when processors are short, 1 to 10,000.
    pub weight: Option<u64>,
}

/// What a limit kept a group from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which it had work.
    pub periods: u64,
    /// Those in which it had more than its limit allows.
    pub throttled_periods: u64,
    /// Time in which it had to wait.
    pub time: Duration,
}

/// Memory, as its controller counts it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Caches of files.
    pub cache: u64,
    /// Files that are mapped.
    pub mapped: u64,
    /// What the kernel holds for it.
    pub kernel: u64,
    /// Files that were read lately.
    pub active_file: u64,
    /// Files that nobody read for a while.
    pub inactive_file: u64,
    /// What was swapped out; none where nothing can be.
    pub swap: Option<u64>,
    /// The most that was charged at once; none where the kernel does not remember.
    pub peak: Option<u64>,
    /// What it may hold; none if it may hold all.
    pub limit: Option<u64>,
    /// The same of swap.
    pub swap_limit: Option<u64>,
    /// What is kept for it.
    pub reserved: u64,
    /// How often it ran against its limit.
    pub failures: u64,
    /// Processes of it that were killed for want of memory, by the group's own count.
    pub oom_kills: u64,
}

/// What went to and from a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTraffic {
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// How long a group waited for something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some of it waited.
    pub some: Duration,
    /// All of it did.
    pub full: Duration,
}

/// For everything that it can wait for, where the kernel measures it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// Processors.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// Disks.
    pub io: Option<Pressure>,
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerAccount {
    /// Which it is.
    pub container: ContainerRef,
    /// When it was started.
    pub started: SystemTime,
    /// Its cgroup, from the hierarchy's root.
    pub group: String,
    /// What was counted for it.
    pub account: Account,
}

/// A pod of which something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAccount {
    /// Its cgroup, from the hierarchy's root.
    pub group: String,
    /// What was counted for all of it.
    pub account: Account,
    /// Its containers that run.
    pub containers: Vec<ContainerAccount>,
}

/// A container as its pod's status has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The image it was asked to be made from.
    pub image: String,
    /// Its id, as clients see it.
    pub id: String,
}

/// Everything on a node, as of now.
#[derive(Clone, Debug)]
pub struct Books {
    /// The host.
    pub host: HostUsage,
    /// How many processors it has.
    pub processors: usize,
    /// What went through its links, but those that lead to pods.
    pub links: BTreeMap<String, Traffic>,
    /// How long its processes waited.
    pub pressure: Pressures,
    /// The pods of which something runs, and what went through their links; none of those that have the host's.
    pub pods: BTreeMap<PodRef, (PodAccount, Option<Traffic>)>,
    /// What pods' statuses say of their containers.
    pub known: BTreeMap<PodRef, BTreeMap<String, Known>>,
    /// Processes that were killed for want of memory, by namespace, pod and container, over all its runs; none where nobody
    /// watches.
    pub oom_kills: Option<BTreeMap<(String, String, String), u64>>,
    /// Names of disks, by number: `8:0`.
    pub devices: BTreeMap<String, String>,
}

impl Books {
    /// The account of the host, as of a group that everything is in.
    pub fn of_host(&self) -> Account {
        let sample = &self.host.usage.sample;
        let mut account = Account { memory: sample.memory, pressure: self.pressure, ..Account::default() };
        account.cpu.usage = Duration::from_nanos(sample.cpu_nanos);
        account.processes = sample.processes;
        account
    }
}

/// Opens the books of a node.
pub trait Accounts: Send + Sync {
    /// As of now; why they cannot be read, for people.
    fn open(&self) -> BoxFuture<'static, Result<Books, String>>;
}
