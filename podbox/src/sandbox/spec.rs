//! What to build: a pod's sandbox and its containers, with every Kubernetes word already resolved.
//! Nothing here knows of manifests, images by name, or the kernel.

use crate::api::identity::{ContainerRef, PodRef, QosClass};
use crate::api::plugin::Plugin;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A pod's sandbox: namespaces, address, cgroup, shared directories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Whose it is.
    pub pod: PodRef,
    /// The UTS namespace's host name.
    pub hostname: String,
    /// Chooses the parent cgroup.
    pub qos: QosClass,
    /// The pod's network.
    pub network: Network,
    /// The sum of the containers' limits, written to the pod's cgroup.
    pub resources: Resources,
    /// System V IPC and message queues are the host's: `hostIPC: true`.
    #[serde(default)]
    pub host_ipc: bool,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub forwards: Vec<Forward>,
    /// Its containers share a PID namespace: `shareProcessNamespace: true`.
    #[serde(default)]
    pub shared_pids: bool,
    /// Kernel settings of the pod's own namespaces.
    #[serde(default)]
    pub sysctls: Vec<Sysctl>,
    /// Content of `/etc/hosts` in each container.
    pub hosts: String,
    /// Content of `/etc/resolv.conf` in each container.
    pub resolv_conf: String,
    /// Directories that containers share, made with the sandbox and removed with it.
    pub empty_dirs: Vec<EmptyDir>,
    /// Directories of files that containers mount: configMap and secret volumes.
    pub file_volumes: Vec<FileVolume>,
    /// What containers mount of the host.
    #[serde(default)]
    pub host_volumes: Vec<HostVolume>,
    /// Whose group volumes are given to.
    #[serde(default)]
    pub fs_group: Option<FsGroup>,
}

/// Where a pod's packets go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Network {
    /// The host's own namespace: `hostNetwork: true`.
    Host,
    /// A namespace of its own, with a veth on the node's bridge.
    Pod {
        /// The pod's address.
        address: Ipv4Addr,
        /// Length of the node's pod range.
        prefix_len: u8,
        /// The bridge's address: the default route.
        gateway: Ipv4Addr,
    },
}

/// A port of the node that leads to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Of the node; unspecified for all of its addresses.
    pub address: Ipv4Addr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The node's.
    pub port: u16,
    /// The pod's.
    pub target_port: u16,
}

/// A kernel setting, by its name with dots or slashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// `net.ipv4.ip_local_port_range`.
    pub name: String,
    /// What to write.
    pub value: String,
}

/// An emptyDir volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmptyDir {
    /// The volume's name in the pod.
    pub name: String,
    /// A tmpfs, not a directory on disk.
    pub memory: bool,
    /// The tmpfs' size in bytes; a directory is measured now and then.
    pub size_limit: Option<u64>,
}

/// A file or directory of the host, for containers: a hostPath volume, or what a claim is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVolume {
    /// The volume's name in the pod.
    pub name: String,
    /// Where it is on the host.
    pub path: PathBuf,
    /// What has to be there.
    pub kind: HostKind,
    /// The pod's fsGroup gets it: claims, but no plain hostPath.
    pub owned: bool,
}

/// hostPath.type: what has to be at the path, and what is made if nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostKind {
    /// Anything; it is not looked at.
    Any,
    /// A directory, made if need be.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made if need be.
    FileOrCreate,
    /// A file.
    File,
    /// A unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// securityContext.fsGroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsGroup {
    /// The group.
    pub gid: u32,
    /// `fsGroupChangePolicy: OnRootMismatch`: what has it at its root is taken to have it everywhere.
    pub trust_root: bool,
}

/// A volume of files with their bytes: configMap, secret, downwardAPI, projected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileVolume {
    /// The volume's name in the pod.
    pub name: String,
    /// What fills it; nobody knows of one that an earlier podbox made.
    #[serde(default)]
    pub plugin: Option<Plugin>,
    /// On a tmpfs, so that it never reaches a disk: secrets.
    pub memory: bool,
    /// Path below the volume (no `..`, not absolute), content, permission bits.
    pub files: Vec<VolumeFile>,
}

/// One file of a [`FileVolume`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Relative path.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is; root's without.
    #[serde(default)]
    pub owner: Option<u32>,
}

impl SandboxSpec {
    /// What is kept of it once it is built: its files' names, but not what is in them, which may be secrets, and many.
    pub fn without_bytes(&self) -> SandboxSpec {
        let mut spec = self.clone();
        // Emptied ones would still hold their room.
        spec.file_volumes
            .iter_mut()
            .flat_map(|volume| &mut volume.files)
            .for_each(|file| file.bytes = Default::default());
        spec
    }
}

impl std::fmt::Debug for VolumeFile {
    // The bytes may be a secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VolumeFile({:?}, {} bytes, {:o})", self.path, self.bytes.len(), self.mode)
    }
}

/// cgroup v2 settings; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// cpu.max: quota in microseconds per period.
    pub cpu_max: Option<CpuMax>,
    /// cpu.weight: 1 to 10000.
    pub cpu_weight: Option<u64>,
    /// memory.max in bytes.
    pub memory_max: Option<u64>,
    /// memory.high in bytes.
    pub memory_high: Option<u64>,
    /// memory.min in bytes: what is not taken from it as long as it is used.
    #[serde(default)]
    pub memory_min: Option<u64>,
    /// memory.oom.group: an OOM kill takes every process of the cgroup.
    pub oom_group: bool,
    /// pids.max.
    pub pids_max: Option<u64>,
}

/// cpu.max.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuMax {
    /// Microseconds of CPU time per period.
    pub quota_us: u64,
    /// The period in microseconds.
    pub period_us: u64,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Whose it is.
    pub container: ContainerRef,
    /// Chooses the parent cgroup; the pod's.
    pub qos: QosClass,
    /// Unpacked image layers, the topmost first.
    pub layers: Vec<PathBuf>,
    /// argv; never empty.
    pub args: Vec<String>,
    /// Environment, each `NAME=VALUE`, in order.
    pub env: Vec<String>,
    /// Working directory; made if absent.
    pub cwd: String,
    /// `user[:group]` by name or number, resolved in the container's own root before exec.
    pub user: User,
    /// Volumes in the container.
    pub mounts: Vec<Mount>,
    /// cgroup limits.
    pub resources: Resources,
    /// What it may do.
    pub security: Security,
    /// Whose processes it sees.
    pub pid: PidNamespace,
    /// oom_score_adj, by QoS as the kubelet sets it.
    pub oom_score_adj: i32,
    /// Keep stdin open; otherwise it is /dev/null.
    pub stdin: bool,
    /// Close its stdin when the first client that was attached to it is gone.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Where its log file goes (CRI format): `…/NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log`.
    pub log_path: PathBuf,
    /// Absolute path in the container of the file that takes its last words; empty for none.
    #[serde(default)]
    pub termination_path: String,
}

/// Which PID namespace a container runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    /// One of its own: its program is PID 1 there, and everything in it ends with that.
    #[default]
    Own,
    /// One of its own, in which podbox's own process is PID 1, and reaps.
    Attended,
    /// The host's.
    Host,
    /// That of the pod's container of this name, which has to run.
    OfContainer(String),
    /// The one that the pod's containers share.
    OfPod,
}

/// Who a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The image's `User`, or empty for root; `uid` and `gid` go before it.
    pub image_user: String,
    /// securityContext.runAsUser.
    pub uid: Option<u32>,
    /// securityContext.runAsGroup.
    pub gid: Option<u32>,
    /// supplementalGroups and fsGroup.
    pub groups: Vec<u32>,
    /// supplementalGroupsPolicy Strict: what the image's `/etc/group` says of the user does not count.
    #[serde(default)]
    pub strict_groups: bool,
    /// runAsNonRoot: refuse uid 0.
    pub non_root: bool,
}

/// A bind mount into a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// Path below the source; empty for all of it.
    pub sub_path: String,
    /// Mounted read-only.
    pub read_only: ReadOnly,
    /// Which mounts made later pass through it.
    pub propagation: Propagation,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A volume of the sandbox, by name.
    Volume(String),
}

/// How much of a mount cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadOnly {
    /// Nothing.
    #[default]
    No,
    /// The mount; not what is mounted below it.
    Top,
    /// The mount and all that is mounted below it.
    Recursive,
}

/// Which mounts made later pass between the host and a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    None,
    /// The host's reach the container.
    HostToContainer,
    /// Those of either reach the other.
    Bidirectional,
}

/// Capabilities, seccomp and the rest of what confines a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Security {
    /// Everything: all capabilities, all devices, no seccomp, no masked paths.
    pub privileged: bool,
    /// Capabilities to add to the default set, without `CAP_`; `ALL` is every one.
    pub capabilities_add: Vec<String>,
    /// Capabilities to drop from it.
    pub capabilities_drop: Vec<String>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    /// readOnlyRootFilesystem.
    pub read_only_root: bool,
    /// Which system calls.
    pub seccomp: Seccomp,
}

/// The seccomp profile of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The default-deny profile.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A profile of this node's, by its path below the directory of profiles: not read yet.
    Localhost(String),
    /// A profile, compiled.
    Compiled(Program),
}

/// A classic BPF program, an instruction each: code, jumps and operand from the highest bits down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The instructions.
    pub code: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: u32,
}

impl Default for Security {
    fn default() -> Self {
        Security {
            privileged: false,
            capabilities_add: Vec::new(),
            capabilities_drop: Vec::new(),
            no_new_privs: false,
            read_only_root: false,
            seccomp: Seccomp::RuntimeDefault,
        }
    }
}
