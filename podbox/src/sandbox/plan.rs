//! Decides what a sandbox and a container are made of: specs in, steps out. Pure: what the host offers
//! comes in as [`Facts`].
//!
//! It does not know how a step is done, and it never leaves a limit out silently: what this host cannot
//! enforce is in [`unenforced`].

mod facts;
mod limits;
mod volumes;

use super::caps::{CapSet, UnknownCapability};
use super::launch::{Bind, Filter, Launch, Pause, Pids, Process, Root, Stdio};
use super::spec::{
    ContainerSpec, MountSource, Network, PidNamespace, Propagation, ReadOnly, SandboxSpec, Seccomp,
};
use super::step::{Step, Undo};
use crate::api::identity::{ContainerRef, PodRef, QosClass};
use std::path::{Path, PathBuf};
use volumes::volumes;

pub use facts::Facts;
pub use limits::{enforced, kept, resized, unenforced};
pub use volumes::{plugins, refill};

/// A pod's `/dev/shm` has the size that Docker and containerd give it.
const SHM_BYTES: u64 = 64 << 20;
/// The host's shared memory.
const HOST_SHM: &str = "/dev/shm";
/// The cgroup that everything of podbox is in.
pub const SLICE: &str = "podbox.slice";

/// A spec that cannot be planned.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It would become a file name, and is none.
    #[error("{what} {name:?} cannot be a file name")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file of a volume would be outside of it.
    #[error("volume {volume:?}: {path:?} leads out of the volume")]
    Path {
        /// The volume.
        volume: String,
        /// The file.
        path: String,
    },
    /// A mount names a volume that the pod does not have.
    #[error("container {container:?} mounts volume {volume:?}, which its pod does not have")]
    Volume {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// A mount's target is relative.
    #[error("container {container:?}: {path:?} is not an absolute path")]
    Relative {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// A capability's name.
    #[error("container {container:?}")]
    Capability {
        /// The container.
        container: String,
        /// Which.
        #[source]
        source: UnknownCapability,
    },
    /// The container whose processes it is to see does not run.
    #[error("unable to find target container {target:?}: it does not run")]
    Target {
        /// That container.
        target: String,
    },
    /// Whoever wrote the spec has to read it.
    #[error("container {container:?}: the seccomp profile {name:?} was not read")]
    Profile {
        /// The container.
        container: String,
        /// The profile.
        name: String,
    },
    /// Without a command or layers there is nothing to run.
    #[error("container {0:?} has no command, and its image names none")]
    NoCommand(String),
    /// An image without layers.
    #[error("container {0:?}: its image has no layers")]
    NoLayers(String),
}

/// The keeper's key of a container.
pub fn launch_id(container: &ContainerRef) -> String {
    format!("{}/{}", container.pod.uid, container.key())
}

/// The keeper's key of the process that holds the PID namespace which a pod's containers share.
pub fn shared_pids_id(pod: &PodRef) -> String {
    // No container's: those end in the number of a run.
    format!("{}/pids", pod.uid)
}

/// The keeper's key of the process that is PID 1 for a container.
fn init_id(container: &ContainerRef) -> String {
    // No container's: those end in the number of a run.
    format!("{}.init", launch_id(container))
}

/// Steps that build a sandbox.
pub fn sandbox(spec: &SandboxSpec, facts: &Facts) -> Result<Vec<Step>, PlanError> {
    check_pod(&spec.pod)?;
    let (run, state) = (facts.pod_run(&spec.pod), facts.pod_state(&spec.pod));
    let mut steps = vec![
        pin(spec, facts),
        Step::MakeDirectory { path: run.clone(), mode: 0o711 },
        Step::MakeDirectory { path: state.clone(), mode: 0o711 },
        Step::MakeCgroup {
            path: facts.pod_cgroup(&spec.pod, spec.qos),
            settings: enforced(&spec.resources, facts),
            delegate: facts.controllers.iter().cloned().collect(),
        },
        Step::MountTmpfs {
            target: run.join("shm"),
            size: Some(SHM_BYTES),
            mode: 0o1777,
            exec: false,
            swap: true,
        },
        // Containers may write into them: on disk, where what they have is counted, not in the node's memory.
        file(state.join("hosts"), &spec.hosts),
        file(state.join("resolv.conf"), &spec.resolv_conf),
        file(state.join("hostname"), &format!("{}\n", spec.hostname)),
    ];
    if let Network::Pod { address, prefix_len, gateway } = spec.network {
        let host_name = spec.pod.link_name();
        steps.push(Step::AttachLink { host_name, address, prefix_len, gateway });
        if !spec.forwards.is_empty() {
            steps.push(Step::ForwardPorts { target: address, forwards: spec.forwards.clone() });
        }
    }
    if !spec.sysctls.is_empty() {
        // Some are the link's.
        let (dir, settings) = (facts.namespaces(&spec.pod), spec.sysctls.clone());
        steps.push(Step::SetSysctls { dir, settings });
    }
    for volume in volumes(spec, facts)? {
        steps.extend(volume.steps);
    }
    if spec.shared_pids {
        let pause = pause(spec, facts);
        steps.push(Step::MakeCgroup { path: pause.cgroup.clone(), settings: vec![], delegate: vec![] });
        steps.push(Step::Pause(Box::new(pause)));
    }
    Ok(steps)
}

/// The process that holds the PID namespace which a pod's containers share.
pub fn pause(spec: &SandboxSpec, facts: &Facts) -> Pause {
    Pause {
        id: shared_pids_id(&spec.pod),
        // No container's: those end in the number of a run.
        cgroup: facts.pod_cgroup(&spec.pod, spec.qos).join("pids"),
        join: joined(spec, facts),
        target: facts.root_target(),
        empty: facts.empty(),
        forwards: false,
    }
}

/// The process that is PID 1 for a container of this run.
fn init(spec: &ContainerSpec, sandbox: &SandboxSpec, facts: &Facts) -> Pause {
    Pause {
        id: init_id(&spec.container),
        cgroup: facts.init_cgroup(&spec.container, spec.qos),
        join: joined(sandbox, facts),
        target: facts.root_target(),
        empty: facts.empty(),
        forwards: true,
    }
}

fn pin(spec: &SandboxSpec, facts: &Facts) -> Step {
    Step::PinNamespaces {
        dir: facts.namespaces(&spec.pod),
        hostname: spec.hostname.clone(),
        network: matches!(spec.network, Network::Pod { .. }),
        ipc: !spec.host_ipc,
    }
}

fn file(path: PathBuf, text: &str) -> Step {
    Step::WriteFile { path, bytes: text.as_bytes().to_vec(), mode: 0o644 }
}

/// Steps that build and start a container of that sandbox; `label` is what the keeper hands back later, and `running`
/// says which run of another container of the pod runs now.
pub fn container(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    facts: &Facts,
    label: String,
    running: impl Fn(&str) -> Option<ContainerRef>,
) -> Result<Vec<Step>, PlanError> {
    check_container(spec)?;
    let state = container_state(&spec.container, facts);
    let cgroup = facts.container_cgroup(&spec.container, spec.qos);
    let launch = Launch { pids: pids(spec, running)?, ..launch(spec, sandbox, facts, label)? };
    let mut steps = vec![
        Step::MakeDirectory { path: state.clone(), mode: 0o700 },
        Step::MakeDirectory { path: state.join("upper"), mode: 0o755 },
        Step::MakeDirectory { path: state.join("work"), mode: 0o700 },
        // Processes live here, so its controllers are not handed on; the leaves of execs need none.
        Step::MakeCgroup {
            path: cgroup.clone(),
            settings: enforced(&spec.resources, facts),
            delegate: vec![],
        },
    ];
    if !spec.termination_path.is_empty() {
        let path = facts.termination_message(&spec.container);
        // Whoever the container runs as may write there.
        steps.push(Step::WriteFile { path, bytes: Vec::new(), mode: 0o666 });
    }
    if !spec.security.privileged {
        steps.push(Step::AllowDevices { cgroup: cgroup.clone() });
    }
    steps.push(Step::Register { cgroup, container: spec.container.clone() });
    if spec.pid == PidNamespace::Attended {
        let init = init(spec, sandbox, facts);
        steps.push(Step::MakeCgroup { path: init.cgroup.clone(), settings: vec![], delegate: vec![] });
        steps.push(Step::Pause(Box::new(init)));
    }
    steps.push(Step::Launch(Box::new(launch)));
    Ok(steps)
}

/// What takes a container away that an earlier daemon may have started: as its plan's inverses, in order.
pub fn container_teardown(container: &ContainerRef, qos: QosClass, facts: &Facts) -> Vec<Undo> {
    let cgroup = facts.container_cgroup(container, qos);
    vec![
        Undo::Forget { id: launch_id(container), cgroup: cgroup.clone() },
        Undo::Unregister(cgroup.clone()),
        Undo::RemoveCgroup(cgroup),
        Undo::Remove(container_state(container, facts)),
        Undo::Remove(facts.log_journal(container)),
    ]
}

/// What takes away what was PID 1 for a container.
pub fn init_teardown(container: &ContainerRef, qos: QosClass, facts: &Facts) -> Vec<Undo> {
    let cgroup = facts.init_cgroup(container, qos);
    vec![Undo::Forget { id: init_id(container), cgroup: cgroup.clone() }, Undo::RemoveCgroup(cgroup)]
}

fn pids(spec: &ContainerSpec, running: impl Fn(&str) -> Option<ContainerRef>) -> Result<Pids, PlanError> {
    Ok(match &spec.pid {
        PidNamespace::Own => Pids::New,
        PidNamespace::Attended => Pids::Of(init_id(&spec.container)),
        PidNamespace::Host => Pids::Host,
        PidNamespace::OfPod => Pids::Of(shared_pids_id(&spec.container.pod)),
        PidNamespace::OfContainer(target) => {
            let run = running(target).ok_or_else(|| PlanError::Target { target: target.clone() })?;
            Pids::Of(launch_id(&run))
        }
    })
}

fn container_state(container: &ContainerRef, facts: &Facts) -> PathBuf {
    facts.pod_state(&container.pod).join(container.key())
}

fn launch(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    facts: &Facts,
    label: String,
) -> Result<Launch, PlanError> {
    let state = container_state(&spec.container, facts);
    let security = &spec.security;
    Ok(Launch {
        id: launch_id(&spec.container),
        label,
        cgroup: facts.container_cgroup(&spec.container, spec.qos),
        join: joined(sandbox, facts),
        pids: Pids::default(),
        root: Root {
            target: facts.root_target(),
            layers: spec.layers.clone(),
            upper: state.join("upper"),
            work: state.join("work"),
            read_only: security.read_only_root,
            empty: facts.empty(),
        },
        binds: binds(spec, sandbox, facts)?,
        privileged: security.privileged,
        cwd: if spec.cwd.is_empty() { "/".into() } else { spec.cwd.clone() },
        process: Process {
            args: spec.args.clone(),
            env: spec.env.clone(),
            user: spec.user.clone(),
            caps: caps(spec)?,
            no_new_privs: security.no_new_privs,
            seccomp: filter(spec)?,
            oom_score_adj: spec.oom_score_adj,
        },
        stdio: match spec {
            ContainerSpec { tty: true, .. } => Stdio::Terminal,
            ContainerSpec { stdin: true, .. } => Stdio::Pipes,
            _ => Stdio::Output,
        },
    })
}

/// The pins of the namespaces that are the pod's own.
fn joined(sandbox: &SandboxSpec, facts: &Facts) -> Vec<PathBuf> {
    let own_network = matches!(sandbox.network, Network::Pod { .. });
    let own = [("net", own_network), ("ipc", !sandbox.host_ipc), ("uts", true)];
    let own = own.into_iter().filter(|(_, own)| *own);
    own.map(|(name, _)| facts.namespaces(&sandbox.pod).join(name)).collect()
}

fn filter(spec: &ContainerSpec) -> Result<Filter, PlanError> {
    match &spec.security.seccomp {
        _ if spec.security.privileged => Ok(Filter::None),
        Seccomp::Unconfined => Ok(Filter::None),
        Seccomp::RuntimeDefault => Ok(Filter::Standard),
        Seccomp::Compiled(program) => Ok(Filter::Program(program.clone())),
        Seccomp::Localhost(name) => {
            let container = spec.container.name.clone();
            Err(PlanError::Profile { container, name: name.clone() })
        }
    }
}

fn caps(spec: &ContainerSpec) -> Result<CapSet, PlanError> {
    if spec.security.privileged {
        return Ok(CapSet::ALL);
    }
    CapSet::resolve(&spec.security.capabilities_add, &spec.security.capabilities_drop)
        .map_err(|source| PlanError::Capability { container: spec.container.name.clone(), source })
}

/// What every container of a pod shares, and its own mounts, outermost first; one of those may replace one of these.
fn binds(spec: &ContainerSpec, sandbox: &SandboxSpec, facts: &Facts) -> Result<Vec<Bind>, PlanError> {
    let (run, state) = (facts.pod_run(&sandbox.pod), facts.pod_state(&sandbox.pod));
    let own = |dir: &Path, name: &str, target: &str| Bind {
        source: dir.join(name),
        sub_path: String::new(),
        target: target.into(),
        // They belong to the pod, but a container may edit its files, as under every kubelet.
        read_only: ReadOnly::No,
        propagation: Propagation::None,
    };
    let mut binds = vec![match sandbox.host_ipc {
        // Shared memory goes with the namespace, as under every runtime.
        true => Bind { source: HOST_SHM.into(), ..own(&run, "shm", HOST_SHM) },
        false => own(&run, "shm", "/dev/shm"),
    }];
    for name in ["hosts", "resolv.conf", "hostname"] {
        binds.push(own(&state, name, &format!("/etc/{name}")));
    }
    let volumes = volumes(sandbox, facts)?;
    for mount in &spec.mounts {
        let container = || spec.container.name.clone();
        if !mount.target.starts_with('/') {
            return Err(PlanError::Relative { container: container(), path: mount.target.clone() });
        }
        let source = match &mount.source {
            MountSource::Volume(name) => match volumes.iter().find(|volume| volume.name == name) {
                Some(volume) => volume.path.clone(),
                None => return Err(PlanError::Volume { container: container(), volume: name.clone() }),
            },
        };
        binds.retain(|bind| Path::new(&bind.target) != Path::new(&mount.target));
        let (sub_path, target) = (mount.sub_path.clone(), mount.target.clone());
        let (read_only, propagation) = (mount.read_only, mount.propagation);
        binds.push(Bind { source, sub_path, target, read_only, propagation });
    }
    let path = &spec.termination_path;
    if !path.is_empty() && !binds.iter().any(|bind| Path::new(&bind.target) == Path::new(path)) {
        let (source, sub_path) = (facts.termination_message(&spec.container), String::new());
        let (read_only, propagation) = (ReadOnly::No, Propagation::None);
        binds.push(Bind { source, sub_path, target: path.clone(), read_only, propagation });
    }
    // Mounts below others come after them, whoever asks for which: a volume on /etc does not hide the pod's hosts file.
    binds.sort_by_key(|bind| Path::new(&bind.target).components().count());
    Ok(binds)
}

fn check_pod(pod: &PodRef) -> Result<(), PlanError> {
    check_name("pod uid", &pod.uid)
}

fn check_container(spec: &ContainerSpec) -> Result<(), PlanError> {
    let name = &spec.container.name;
    check_pod(&spec.container.pod)?;
    check_name("container", name)?;
    match spec {
        _ if spec.args.is_empty() => Err(PlanError::NoCommand(name.clone())),
        _ if spec.layers.is_empty() => Err(PlanError::NoLayers(name.clone())),
        _ => Ok(()),
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), PlanError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 200 || !name.chars().all(plain) {
        return Err(PlanError::Name { what, name: name.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
