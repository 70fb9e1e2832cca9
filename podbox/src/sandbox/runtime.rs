//! The seam between what a pod needs and the hands that do it. The engine (`sandbox::engine`) is the real
//! one; the simulation brings its own.

use super::spec::{ContainerSpec, FileVolume, Resources, SandboxSpec};
use crate::api::account::PodAccount;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::startup::Lap;
use crate::api::stats::Sample;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called exit.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// As shells and Kubernetes number it: a signal is 128 above its number.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

/// A container that was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Its first process, in the host's pid namespace.
    pub pid: u32,
    /// Its cgroup's id: the inode number of the directory.
    pub cgroup_id: u64,
    /// When exec succeeded.
    pub at: SystemTime,
    /// As whom; unknown of one that an older podbox started.
    #[serde(default)]
    pub user: Option<ProcessUser>,
    /// What was done for it before, by whoever started it.
    #[serde(skip)]
    pub laps: Vec<Lap>,
}

/// As whom a container's first process is executed; what it becomes later is its own affair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUser {
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its supplementary groups, sorted.
    pub groups: Vec<u32>,
}

/// A container that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    /// How.
    pub status: ExitStatus,
    /// When the keeper saw it.
    pub at: SystemTime,
}

/// What one container is at, as the keeper knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which.
    pub container: ContainerRef,
    /// Its start.
    pub started: Started,
    /// Its end, once it ended.
    pub exited: Option<Exited>,
}

/// What the name of a command's cgroup, which lies in its container's, begins with.
pub const COMMAND: &str = "exec-";
/// The same of one of which nothing is to be left, also not by a daemon that ended meanwhile.
pub const ALONE: &str = "probe-";

/// A command to run in a container that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// argv.
    pub args: Vec<String>,
    /// Ends the whole process tree when it passes.
    pub timeout: Option<Duration>,
    /// Bytes of stdout and of stderr to keep; the rest is read and thrown away.
    pub output_limit: usize,
    /// Nothing that it starts outlives it.
    pub alone: bool,
}

/// What an exec came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecResult {
    /// How its first process ended.
    pub status: ExitStatus,
    /// The timeout ended it.
    pub timed_out: bool,
    /// First bytes of stdout.
    pub stdout: Vec<u8>,
    /// First bytes of stderr.
    pub stderr: Vec<u8>,
}

/// What a container that runs uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerReading {
    /// Which.
    pub container: ContainerRef,
    /// When it was started.
    pub started: SystemTime,
    /// What it uses.
    pub sample: Sample,
}

/// What a pod uses.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReading {
    /// What all of it uses.
    pub sample: Sample,
    /// Its containers that run.
    pub containers: Vec<ContainerReading>,
}

/// A limit that was asked for and that this host cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforced {
    /// The file it would be written to.
    pub setting: &'static str,
    /// The controller that is missing.
    pub controller: &'static str,
}

/// What was in the way of a container's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A part of a volume is not to be had for the mount on this path.
    SubPath(String),
    /// All of the container was made, and its program cannot be executed, or not where it is to work.
    Program,
    /// Something before that: there was nothing that could be called a run.
    Creation,
}

/// Builds sandboxes and runs containers in them. Every method leaves nothing behind when it fails.
pub trait Runtime: Send + Sync + 'static {
    /// Its failures.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Limits among these that this host cannot enforce: to be told, since they are not refused.
    fn unenforced(&self, resources: &Resources) -> Vec<Unenforced>;
    /// Builds a pod's sandbox; says what of that took how long.
    fn create_sandbox(
        &self,
        spec: &SandboxSpec,
    ) -> impl Future<Output = Result<Vec<Lap>, Self::Error>> + Send;
    /// Ends what runs in it and takes everything of it away. Removing what is not there succeeds.
    fn remove_sandbox(&self, pod: &PodRef) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Gives volumes of a pod's sandbox other files, each volume's all at once. Those that have them stay as they are.
    fn refill(
        &self,
        pod: &PodRef,
        volumes: Vec<FileVolume>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Starts a container; returns once its program runs. A command that is not there is an error.
    fn start(&self, spec: &ContainerSpec) -> impl Future<Output = Result<Started, Self::Error>> + Send;
    /// What was in the way of a start that failed.
    fn obstacle(error: &Self::Error) -> Obstacle;
    /// Waits for a started container's end, with its log complete on disk. Safe to drop and call again.
    fn wait(&self, container: &ContainerRef) -> impl Future<Output = Result<Exited, Self::Error>> + Send;
    /// Whether the kernel says that it killed every process of a container at once for want of memory: its word where
    /// nobody watched.
    fn group_oom(&self, container: &ContainerRef) -> bool;
    /// The last bytes, so many at most, of what a container that has ended left in its termination message file.
    fn termination_message(
        &self,
        container: &ContainerRef,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;
    /// Signals its first process. One that is gone already is no error.
    fn signal(
        &self,
        container: &ContainerRef,
        signal: i32,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Kills every process in its cgroup.
    fn kill(&self, container: &ContainerRef) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Changes what a running container may use, and with it its pod as a whole. What was changed when it fails stays so: it
    /// may be asked for again.
    fn resize(
        &self,
        container: &ContainerRef,
        resources: &Resources,
        pod: &Resources,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Takes an ended container's cgroup and root away; its log stays.
    fn remove(&self, container: &ContainerRef) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Runs a command in a running container.
    fn exec(
        &self,
        container: &ContainerRef,
        spec: &ExecSpec,
    ) -> impl Future<Output = Result<ExecResult, Self::Error>> + Send;
    /// Whether a socket of a pod listens there and has room in its accept queue. The kernel's own look-up says so; no
    /// connection is made, and no packet sent.
    fn listens(
        &self,
        pod: &PodRef,
        server: SocketAddrV4,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;
    /// All that the kernel has counted for them.
    fn accounts(&self) -> impl Future<Output = Result<BTreeMap<PodRef, PodAccount>, Self::Error>> + Send;
    /// What the pods of which something runs use now.
    fn measure(&self) -> impl Future<Output = Result<BTreeMap<PodRef, PodReading>, Self::Error>> + Send;
    /// Every container the keeper holds, also those of an earlier daemon.
    fn list(&self) -> impl Future<Output = Result<Vec<ContainerStatus>, Self::Error>> + Send;
}
