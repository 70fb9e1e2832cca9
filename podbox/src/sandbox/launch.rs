//! What the keeper is handed to start a container or an exec: every decision already made, every path
//! absolute on the host unless it says otherwise. Data only; `plan` writes it, `init` carries it out.

use super::caps::CapSet;
use super::spec::{Program, Propagation, ReadOnly, User};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a process has for stdin, stdout and stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// `/dev/null` and two pipes.
    #[default]
    Output,
    /// Three pipes.
    Pipes,
    /// A terminal.
    Terminal,
}

/// Where a container's processes have their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pids {
    /// In a new namespace.
    #[default]
    New,
    /// In the keeper's, which is the host's.
    Host,
    /// In that of something the keeper holds, by its key.
    Of(String),
}

/// A container for the keeper to clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The keeper's key for it: `POD-UID/CONTAINER-ATTEMPT`.
    pub id: String,
    /// Kept by the keeper and handed back as it is: how a restarted daemon knows what the container is.
    pub label: String,
    /// Its cgroup's directory; the process is cloned into it.
    pub cgroup: PathBuf,
    /// Pinned namespaces it joins.
    pub join: Vec<PathBuf>,
    /// Its PID namespace.
    pub pids: Pids,
    /// Its root file system.
    pub root: Root,
    /// Bind mounts, in this order.
    pub binds: Vec<Bind>,
    /// `/proc` and `/sys` are fully visible and writable.
    pub privileged: bool,
    /// Working directory in the container; made if absent.
    pub cwd: String,
    /// What to execute, and as whom.
    pub process: Process,
    /// Its stdin, stdout and stderr.
    pub stdio: Stdio,
}

/// An overlay of image layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// An empty directory of the host: the mount point, in the container's own mount namespace only.
    pub target: PathBuf,
    /// Lower directories, the topmost first.
    pub layers: Vec<PathBuf>,
    /// What the container writes.
    pub upper: PathBuf,
    /// overlayfs' scratch directory beside it.
    pub work: PathBuf,
    /// Mounted read-only once everything is in place.
    pub read_only: bool,
    /// An empty directory that covers what containers shall not see.
    pub empty: PathBuf,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// File or directory of the host.
    pub source: PathBuf,
    /// Path below the source, resolved so that no symbolic link leads out of it; empty for all of it.
    pub sub_path: String,
    /// Absolute path in the container; made if absent.
    pub target: String,
    /// How much of it cannot be written.
    pub read_only: ReadOnly,
    /// Which mounts made later pass through it.
    pub propagation: Propagation,
}

/// What filters system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// Nothing.
    #[default]
    None,
    /// The default-deny profile, as it is for the process's capabilities.
    Standard,
    /// A program.
    Program(Program),
}

/// A program and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// argv; never empty.
    pub args: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// As whom.
    pub user: User,
    /// Capabilities of uid 0, and the bound for everybody else.
    pub caps: CapSet,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// What filters its system calls.
    pub seccomp: Filter,
    /// oom_score_adj.
    pub oom_score_adj: i32,
}

/// A process for the keeper to clone that does nothing but be PID 1 of a namespace: of one which a pod's containers share, or
/// of a container's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// The keeper's key for it.
    pub id: String,
    /// Its cgroup's directory.
    pub cgroup: PathBuf,
    /// Pinned namespaces it joins.
    pub join: Vec<PathBuf>,
    /// An empty directory of the host: the mount point of its root, in its own mount namespace only.
    pub target: PathBuf,
    /// An empty directory of the host: its root.
    pub empty: PathBuf,
    /// Signals that it is sent from inside go to the next process that comes into the namespace.
    #[serde(default)]
    pub forwards: bool,
}

/// A command for a container that runs; user, capabilities and the rest are the container's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecLaunch {
    /// The keeper's key of the exec.
    pub id: String,
    /// The container's.
    pub container: String,
    /// A leaf cgroup below the container's.
    pub cgroup: PathBuf,
    /// argv; never empty.
    pub args: Vec<String>,
    /// Its stdin, stdout and stderr. The other ends come along as descriptors: stdout, stderr, and stdin if it is a
    /// pipe; or the socket that takes the terminal's other end.
    pub stdio: Stdio,
    /// Nothing of it is left when it has ended, not even an orphan that the container's first process does not reap.
    #[serde(default)]
    pub alone: bool,
}
