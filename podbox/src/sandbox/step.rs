//! The steps that build a sandbox or a container, and what undoes each. Data: `plan` lists them, `apply`
//! does them.

use super::launch::{Launch, Pause};
use super::spec::{Forward, FsGroup, Sysctl, VolumeFile};
use crate::api::identity::ContainerRef;
use crate::api::startup::Stage;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Steps in different lanes do not need each other and run at the same time; within a lane they run in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Namespaces and the link: the slowest part.
    Network,
    /// Everything else.
    Ground,
    /// What needs both: once they are through.
    Last,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Makes a directory with this mode.
    MakeDirectory {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Mounts a tmpfs on a new directory.
    MountTmpfs {
        /// Where.
        target: PathBuf,
        /// Its size in bytes; half of memory without.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
        /// Programs in it may be executed.
        exec: bool,
        /// It may be written to swap; if not, it stays in memory where the kernel knows how (6.4 and later).
        swap: bool,
    },
    /// Writes a file, and makes the directories above it.
    WriteFile {
        /// Where.
        path: PathBuf,
        /// Content.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a volume consist of these files, all at once. Undone with the volume.
    FillVolume {
        /// The volume's directory.
        path: PathBuf,
        /// The files.
        files: Vec<VolumeFile>,
        /// Only on a tmpfs.
        memory: bool,
        /// Who may read them all.
        group: Option<u32>,
    },
    /// Gives a volume to a group. Not undone: the volume goes, or it stays with what was done to it.
    GiveGroup {
        /// The volume's directory.
        path: PathBuf,
        /// The group.
        group: FsGroup,
    },
    /// Makes a cgroup.
    MakeCgroup {
        /// Its directory.
        path: PathBuf,
        /// Files and what to write to them.
        settings: Vec<Setting>,
        /// Controllers to hand on to its children; empty where processes will live.
        delegate: Vec<String>,
    },
    /// Makes network, IPC and UTS namespaces and pins them.
    PinNamespaces {
        /// Where.
        dir: PathBuf,
        /// The host name.
        hostname: String,
        /// With a network namespace.
        network: bool,
        /// With an IPC namespace.
        ipc: bool,
    },
    /// Writes kernel settings in the namespaces just pinned. Undone by their end.
    SetSysctls {
        /// Where they are pinned.
        dir: PathBuf,
        /// What to set.
        settings: Vec<Sysctl>,
    },
    /// Links the namespace just pinned to the bridge.
    AttachLink {
        /// Name of the host's end.
        host_name: String,
        /// The pod's address.
        address: Ipv4Addr,
        /// Length of the node's pod range.
        prefix_len: u8,
        /// The default route.
        gateway: Ipv4Addr,
    },
    /// Lets ports of the node lead to the pod.
    ForwardPorts {
        /// The pod's address.
        target: Ipv4Addr,
        /// Which.
        forwards: Vec<Forward>,
    },
    /// Lets the keeper start the process that holds the PID namespace which the pod's containers share, or a container's own.
    Pause(Box<Pause>),
    /// Attaches the device policy to a cgroup. Undone by the cgroup's end.
    AllowDevices {
        /// Its directory.
        cgroup: PathBuf,
    },
    /// Says whose the cgroup is, before a process can be in it.
    Register {
        /// Its directory.
        cgroup: PathBuf,
        /// Whose.
        container: ContainerRef,
    },
    /// Lets the keeper start the container.
    Launch(Box<Launch>),
}

/// A file of a cgroup and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file's name.
    pub file: &'static str,
    /// What to write.
    pub value: String,
    /// Not every kernel has this file, and nothing is lost where it is missing.
    pub optional: bool,
}

/// What takes a step back. Undoing what is not there succeeds, so that teardown may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Removes a file or a directory with everything in it; never follows links.
    Remove(PathBuf),
    /// Unmounts, and removes the directory below.
    Unmount(PathBuf),
    /// Kills what lives in the cgroup, waits until it is empty, removes it and its children.
    RemoveCgroup(PathBuf),
    /// Unpins namespaces.
    Unpin(PathBuf),
    /// Removes a link by its host end's name.
    DetachLink(String),
    /// Lets ports of the node lead to a pod no more.
    ClosePorts {
        /// The pod's address.
        target: Ipv4Addr,
        /// Which.
        forwards: Vec<Forward>,
    },
    /// Says that the cgroup is nobody's.
    Unregister(PathBuf),
    /// Kills the container and lets the keeper forget it.
    Forget {
        /// The keeper's key.
        id: String,
        /// Its cgroup.
        cgroup: PathBuf,
    },
}

impl Step {
    /// Its name in metrics and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Step::MakeDirectory { .. } => "make-directory",
            Step::MountTmpfs { .. } => "mount-tmpfs",
            Step::WriteFile { .. } => "write-file",
            Step::FillVolume { .. } => "fill-volume",
            Step::GiveGroup { .. } => "give-group",
            Step::MakeCgroup { .. } => "make-cgroup",
            Step::PinNamespaces { .. } => "pin-namespaces",
            Step::SetSysctls { .. } => "set-sysctls",
            Step::AttachLink { .. } => "attach-link",
            Step::ForwardPorts { .. } => "forward-ports",
            Step::Pause(_) => "pause",
            Step::AllowDevices { .. } => "allow-devices",
            Step::Register { .. } => "register",
            Step::Launch(_) => "launch",
        }
    }

    /// What it works on, for errors.
    pub fn subject(&self) -> String {
        match self {
            Step::MakeDirectory { path, .. }
            | Step::WriteFile { path, .. }
            | Step::FillVolume { path, .. }
            | Step::GiveGroup { path, .. }
            | Step::MakeCgroup { path, .. } => path.display().to_string(),
            Step::MountTmpfs { target, .. } => target.display().to_string(),
            Step::PinNamespaces { dir, .. } | Step::SetSysctls { dir, .. } => dir.display().to_string(),
            Step::AttachLink { host_name, .. } => host_name.clone(),
            Step::AllowDevices { cgroup } | Step::Register { cgroup, .. } => cgroup.display().to_string(),
            Step::ForwardPorts { target, .. } => target.to_string(),
            Step::Pause(pause) => pause.id.clone(),
            Step::Launch(launch) => launch.id.clone(),
        }
    }

    /// The directory that it makes or fills, if that is what it does: a volume's, maybe.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Step::MakeDirectory { path, .. }
            | Step::FillVolume { path, .. }
            | Step::GiveGroup { path, .. }
            | Step::MountTmpfs { target: path, .. } => Some(path),
            _ => None,
        }
    }

    /// Where it runs.
    pub fn lane(&self) -> Lane {
        match self {
            Step::PinNamespaces { .. }
            | Step::SetSysctls { .. }
            | Step::AttachLink { .. }
            | Step::ForwardPorts { .. } => Lane::Network,
            Step::Pause(_) | Step::Launch(_) => Lane::Last,
            _ => Lane::Ground,
        }
    }

    /// The stage of a pod's way that it belongs to. What a container's first process does, the kernel tells.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Step::Pause(_) | Step::Launch(_) => None,
            Step::MakeCgroup { .. } | Step::AllowDevices { .. } | Step::Register { .. } => {
                Some(Stage::Cgroup)
            }
            _ if self.lane() == Lane::Network => Some(Stage::Network),
            _ => Some(Stage::Mounts),
        }
    }

    /// What takes it back; `None` where another step's inverse does.
    pub fn inverse(&self) -> Option<Undo> {
        Some(match self {
            Step::MakeDirectory { path, .. } | Step::WriteFile { path, .. } => Undo::Remove(path.clone()),
            Step::MountTmpfs { target, .. } => Undo::Unmount(target.clone()),
            Step::MakeCgroup { path, .. } => Undo::RemoveCgroup(path.clone()),
            Step::PinNamespaces { dir, .. } => Undo::Unpin(dir.clone()),
            Step::AttachLink { host_name, .. } => Undo::DetachLink(host_name.clone()),
            Step::FillVolume { .. }
            | Step::GiveGroup { .. }
            | Step::SetSysctls { .. }
            | Step::AllowDevices { .. } => return None,
            Step::Register { cgroup, .. } => Undo::Unregister(cgroup.clone()),
            Step::ForwardPorts { target, forwards } => {
                Undo::ClosePorts { target: *target, forwards: forwards.clone() }
            }
            Step::Pause(pause) => Undo::Forget { id: pause.id.clone(), cgroup: pause.cgroup.clone() },
            Step::Launch(launch) => Undo::Forget { id: launch.id.clone(), cgroup: launch.cgroup.clone() },
        })
    }
}
