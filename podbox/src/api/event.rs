//! Kernel events as the rest of podbox sees them, and as `podbox events -o json` prints them: decoded,
//! attributed to pod and container, flat, with stable field names.
//!
//! They are hints: what they say is re-observed before anything is decided on it.

use super::attribution::OomRole;
use super::identity::{ContainerRef, PodRef};
use super::sender::Sender;
use super::zombie::{Fault, Zombie};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelEvent {
    /// Number among the events of its kind, from 1; a gap is a lost event.
    pub seq: u64,
    /// When it happened, in the kernel's own clock brought to wall time.
    pub time: jiff::Timestamp,
    /// Whose it is; absent when the container was forgotten before its event came.
    #[serde(flatten)]
    pub subject: Option<Subject>,
    /// The cgroup of the process, by inode number: the container's or one below it.
    pub cgroup: u64,
    /// Process id on the host.
    pub pid: u32,
    /// Process id as the container sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ns_pid: Option<u32>,
    /// Command name, at most 15 bytes.
    pub command: String,
    /// What happened.
    #[serde(flatten)]
    pub detail: Detail,
}

impl KernelEvent {
    /// What happened to whom; some of it is about no process.
    pub fn text(&self) -> String {
        match self.pid {
            0 => self.detail.to_string(),
            pid => format!("{} ({pid}) {}", self.command, self.detail),
        }
    }
}

/// A container, with flat names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// How many runs of it came before.
    pub attempt: u32,
}

impl From<&ContainerRef> for Subject {
    fn from(container: &ContainerRef) -> Subject {
        Subject {
            namespace: container.pod.namespace.clone(),
            pod: container.pod.name.clone(),
            uid: container.pod.uid.clone(),
            container: container.name.clone(),
            attempt: container.attempt,
        }
    }
}

impl From<&Subject> for ContainerRef {
    fn from(subject: &Subject) -> ContainerRef {
        let Subject { namespace, pod, uid, container, attempt } = subject.clone();
        let pod = PodRef { namespace, name: pod, uid };
        ContainerRef { pod, name: container, attempt }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}#{}", self.namespace, self.pod, self.container, self.attempt)
    }
}

/// What happened; `kind` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Detail {
    /// A process ended.
    Exit(Exit),
    /// The OOM killer marked a victim.
    Oom(Oom),
    /// A dead process has lain unreaped for over a second.
    Zombie(Zombie),
    /// Such a zombie was reaped.
    Reap(Reap),
    /// A TCP socket began to listen, or ended it.
    Listen(Listen),
    /// A container's process ids run out.
    PidsShort(PidsShort),
}

/// How long a container's process ids last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PidsShort {
    /// Ids that it has now, those of zombies and threads among them.
    pub current: u64,
    /// As many as it may have.
    pub max: u64,
    /// How long until it has all of them, if it goes on as lately.
    pub seconds: f64,
    /// How many of them the dead have that nobody reaps.
    #[serde(default)]
    pub unreaped: u64,
    /// Whose fault most of those are, if it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
}

impl PidsShort {
    /// From what was seen.
    pub fn new(current: u64, max: u64, until: Duration) -> PidsShort {
        PidsShort { current, max, seconds: until.as_secs_f64(), unreaped: 0, fault: None }
    }

    /// It is time to say so: it has half of them, and the others do not last.
    pub fn is_urgent(&self) -> bool {
        self.current >= self.max / 2 && self.seconds < limits::PIDS_URGENT.as_secs_f64()
    }
}

impl fmt::Display for PidsShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PidsShort { current, max, seconds, unreaped, fault } = self;
        write!(f, "{current} of {max} process ids in use; at this rate none is left in {seconds:.0} s")?;
        if *unreaped == 0 {
            return Ok(());
        }
        write!(f, "; {unreaped} are of processes that have ended and that nobody reaps")?;
        fault.as_ref().and_then(Fault::culprit).map_or(Ok(()), |culprit| write!(f, ": {culprit}"))
    }
}

/// How a process ended: exactly one of `code` and `signal` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<u8>,
    /// The number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<u8>,
    /// Whether a core was dumped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub core_dumped: bool,
    /// Who sent the signal; absent where no signal ended it, or nobody saw it sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<Sender>,
}

/// An OOM kill, from its victim's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oom {
    /// What the victim was to the kill.
    pub role: OomRole,
    /// Whose limit was hit; absent where this host cannot tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<OomLimit>,
    /// Why `limit` is absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_unknown: Option<String>,
    /// The cgroup whose limit was hit, by inode number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_cgroup: Option<u64>,
    /// How much was allowed there, memory and swap.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_bytes: Option<u64>,
    /// How much of memory was in use there; absent for the node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub used_bytes: Option<u64>,
    /// The victim's address space (not what it had resident).
    pub vm_bytes: u64,
    /// What it had resident, as nearly as the kernel counts that.
    #[serde(default)]
    pub rss_bytes: u64,
    /// The process whose allocation started the kill.
    pub trigger_pid: u32,
    /// Its command name.
    pub trigger_command: String,
    /// Its container; absent if it is in none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trigger_container: Option<String>,
}

/// At which level of podbox's tree the limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomLimit {
    /// A cgroup below the container's, made inside it.
    Inner,
    /// The container's.
    Container,
    /// The pod's.
    Pod,
    /// The quality of service class's.
    Qos,
    /// A cgroup above podbox's classes.
    Above,
    /// That of a cgroup that the victim is not in: it shares its memory with a victim that is.
    Elsewhere,
    /// No cgroup's: the node is out of memory.
    Node,
}

impl OomLimit {
    /// As metrics have it; `None`: nobody knows.
    pub fn word(limit: Option<OomLimit>) -> &'static str {
        match limit {
            Some(OomLimit::Inner) => "inner",
            Some(OomLimit::Container) => "container",
            Some(OomLimit::Pod) => "pod",
            Some(OomLimit::Qos) => "qos",
            Some(OomLimit::Above) => "above",
            Some(OomLimit::Elsewhere) => "elsewhere",
            Some(OomLimit::Node) => "node",
            None => "unknown",
        }
    }
}

/// A zombie's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reap {
    /// How long it had been dead.
    pub lifetime_ms: u64,
    /// Process that reaped it; absent where this host cannot tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reaper_pid: Option<u32>,
    /// Its command name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reaper_command: Option<String>,
}

/// A TCP socket that listens. A connection may be refused for another moment, and another socket may listen on the same
/// port: whoever wants to know tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// The port; 0 where the kernel was yet to choose one.
    pub port: u16,
    /// It listens no more.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub ended: bool,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::Exit(Exit { signal: Some(signal), core_dumped, sender, .. }) => {
                write!(f, "ended by {}", signal_name(*signal))?;
                f.write_str(if *core_dumped { ", core dumped" } else { "" })?;
                sender.as_ref().map_or(Ok(()), |sender| write!(f, ", sent {sender}"))
            }
            Detail::Exit(exit) => write!(f, "exited with {}", exit.code.unwrap_or(0)),
            Detail::Oom(oom) => write!(f, "{oom}"),
            Detail::Zombie(zombie) => write!(f, "{zombie}"),
            Detail::PidsShort(short) => write!(f, "{short}"),
            Detail::Reap(reap) => {
                write!(f, "reaped after {} ms", reap.lifetime_ms)?;
                match (&reap.reaper_command, reap.reaper_pid) {
                    (Some(command), Some(pid)) => write!(f, " by {command} ({pid})"),
                    _ => Ok(()),
                }
            }
            Detail::Listen(Listen { port, ended: false }) => write!(f, "listens on port {port}"),
            Detail::Listen(Listen { port, ended: true }) => write!(f, "listens on port {port} no more"),
        }
    }
}

impl fmt::Display for Oom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.limit {
            Some(OomLimit::Node) => "the node ran out".to_owned(),
            Some(OomLimit::Inner) => "limit of a cgroup inside the container".to_owned(),
            Some(OomLimit::Container) => "the container's limit".to_owned(),
            Some(OomLimit::Pod) => "the pod's limit".to_owned(),
            Some(OomLimit::Qos) => "its class's limit".to_owned(),
            Some(OomLimit::Above) => "limit of a cgroup above podbox's".to_owned(),
            Some(OomLimit::Elsewhere) => "limit of a cgroup that it is not in".to_owned(),
            None => "limit unknown".to_owned(),
        };
        let role = match self.role {
            OomRole::Chosen => "chosen",
            OomRole::Group => "in the chosen one's group",
            OomRole::Sharing => "sharing another victim's memory",
            OomRole::Exiting => "already exiting",
            OomRole::Unknown => "role unknown",
        };
        write!(
            f,
            "OOM victim ({role}; {limit}), triggered by {} ({})",
            self.trigger_command, self.trigger_pid
        )?;
        self.trigger_container.as_ref().map_or(Ok(()), |container| write!(f, " of {container}"))
    }
}

const SIGNALS: [&str; 32] = [
    "0",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// A signal's name; real-time ones and unknown ones by number.
pub fn signal_name(signal: u8) -> Cow<'static, str> {
    match SIGNALS.get(signal as usize) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("signal {signal}")),
    }
}
