//! A pod, its image and what it refers to, made into what the sandbox engine builds. Pure: after this, no
//! Kubernetes word is left to resolve.

use super::naming::{self, HostAlias, Names};
use super::observed::StartFailure;
use super::resolver::{ClusterDns, Resolver};
use super::sources::{API_SERVICE, DEFAULT_NAMESPACE, Scope, Sources};
use super::{environ, mounts, resources, security, volumes};
use crate::api::ephemeral;
use crate::api::hostports;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::image::{Image, ImageConfig};
use crate::api::init;
use crate::api::oom::Rules;
use crate::limits;
use crate::sandbox::spec::{
    ContainerSpec, FileVolume, Network, PidNamespace, Resources, SandboxSpec, Seccomp, Sysctl,
};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// What pods are told of their node, and what their specs need of it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// The node's name.
    pub node_name: String,
    /// The node's own address.
    pub host_ip: IpAddr,
    /// The range of pod addresses, with the bridge's own as its address.
    pub pod_cidr: Ipv4Net,
    /// The cluster's DNS.
    pub cluster_dns: ClusterDns,
    /// Where container logs go.
    pub log_dir: PathBuf,
    /// The node's processors in thousandths.
    pub cpu_milli: u64,
    /// The node's memory in bytes.
    pub memory_bytes: u64,
    /// What of the node can be promised to pods.
    pub allocatable: Amounts,
    /// The seccomp profile of containers that ask for none.
    pub seccomp_default: Seccomp,
    /// What containers have requested of memory is kept for them, and they are slowed down before their limit.
    pub memory_qos: bool,
}

/// How the host finds others by their names: read anew for each sandbox, since a host may come to another network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames {
    /// What its `/etc/resolv.conf` has for pods.
    pub resolver: Resolver,
    /// Its `/etc/hosts`, for pods in its network.
    pub hosts: String,
}

impl NodeFacts {
    /// A container's cgroup settings here.
    pub fn container_resources(&self, pod: &Pod, container: &Container) -> Resources {
        let mut own = resources::of_container(container);
        // Who says what the end of one process means is not killed as a whole for it.
        own.oom_group = Rules::of(pod).container(&container.name).is_none();
        if self.memory_qos {
            resources::protect_container(&mut own, container, self.allocatable.memory);
        }
        own
    }

    /// A pod's.
    pub fn pod_resources(&self, pod: &Pod) -> Resources {
        let mut own = resources::of_pod(pod);
        if self.memory_qos {
            resources::protect_pod(&mut own, pod);
        }
        own
    }
}

/// Amounts of a node's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Processors in thousandths.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the disk for logs, writable layers and emptyDirs.
    pub disk: u64,
}

/// The handlers by which runtime classes mean podbox: none, its own name, and that of the usual default runtime, which
/// charts name.
pub const HANDLERS: [&str; 3] = ["", "podbox", "runc"];

/// What references are resolved against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its uid.
    pub uid: &'a str,
    /// ConfigMaps and Secrets of its namespace.
    pub scope: Scope<'a>,
    /// Its node.
    pub facts: &'a NodeFacts,
    /// Its address; `None` in the host's network.
    pub address: Option<Ipv4Addr>,
}

impl<'a> Context<'a> {
    fn new(
        pod: &'a Pod,
        sources: &'a Sources,
        facts: &'a NodeFacts,
        address: Option<Ipv4Addr>,
    ) -> Result<Context<'a>, StartFailure> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let uid = pod.metadata.uid.as_deref().filter(|uid| !uid.is_empty());
        let uid = uid.ok_or_else(|| failure("CreateContainerError", "the pod has no uid"))?;
        Ok(Context { pod, uid, scope: Scope::new(sources, namespace), facts, address })
    }

    fn spec(&self) -> Result<&'a PodSpec, StartFailure> {
        self.pod.spec.as_ref().ok_or_else(|| failure("CreateContainerError", "the pod has no spec"))
    }

    /// Whose processes the pod's containers see.
    fn pids(&self) -> PidNamespace {
        self.pod.spec.as_ref().map(pids).unwrap_or_default()
    }

    fn names(&self) -> Result<Names, StartFailure> {
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        let (node, domain) = (&self.facts.node_name, &self.facts.cluster_dns.domain);
        Names::of(self.spec()?, name, self.scope.namespace, node, domain)
            .map_err(|why| failure("CreateContainerError", why))
    }

    /// The pod's containers, init containers first.
    pub fn containers(&self) -> impl Iterator<Item = &'a Container> {
        let spec = self.pod.spec.iter();
        spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
    }

    /// A container by its name, and whose processes it sees.
    fn container(&self, name: &str) -> Option<(Cow<'a, Container>, PidNamespace)> {
        if let Some(lasting) = self.containers().find(|container| container.name == name) {
            return Some((Cow::Borrowed(lasting), self.pids()));
        }
        let one = ephemeral::of(self.pod).find(|container| container.name == name)?;
        let pid = match ephemeral::target(one) {
            Some(target) => PidNamespace::OfContainer(target.to_owned()),
            None => self.pids(),
        };
        Some((Cow::Owned(ephemeral::as_container(one)), pid))
    }
}

/// Upstream's reason where a volume cannot be had.
pub const FAILED_MOUNT: &str = "FailedMount";

fn failure(reason: &str, message: impl Into<String>) -> StartFailure {
    StartFailure { reason: reason.to_owned(), message: message.into() }
}

/// The configuration names what is not there.
pub(super) fn config_error(message: String) -> StartFailure {
    failure("CreateContainerConfigError", message)
}

fn mount_error(message: String) -> StartFailure {
    failure(FAILED_MOUNT, message)
}

/// The files of a running pod's volumes, as they should be now; for each volume that cannot be filled, why.
pub fn refreshed(
    pod: &Pod,
    sources: &Sources,
    facts: &NodeFacts,
    address: Option<Ipv4Addr>,
) -> Result<Vec<Result<FileVolume, String>>, StartFailure> {
    let context = Context::new(pod, sources, facts, address)?;
    let volumes = context.spec()?.volumes.as_deref().unwrap_or_default();
    Ok(volumes::file_volumes(volumes, &context))
}

/// A pod's sandbox. The pod must have its name and uid; `address` is `None` in the host's network.
pub fn sandbox(
    pod: &Pod,
    sources: &Sources,
    facts: &NodeFacts,
    host: &HostNames,
    address: Option<Ipv4Addr>,
) -> Result<SandboxSpec, StartFailure> {
    let context = Context::new(pod, sources, facts, address)?;
    let spec = context.spec()?;
    runtime_class(spec, &context)?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let names = context.names()?;
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let aliases = naming::aliases(spec).map_err(|why| failure("CreateContainerError", why))?;
    let resolver = Resolver::of_pod(spec, context.scope.namespace, &host.resolver, &facts.cluster_dns);
    let resources = facts.pod_resources(pod);
    let memory = resources.memory_max.unwrap_or(u64::MAX).min(facts.allocatable.memory);
    let file_volumes = volumes::file_volumes(volumes, &context).into_iter();
    Ok(SandboxSpec {
        pod: PodRef { namespace: context.scope.namespace.to_owned(), name, uid: context.uid.to_owned() },
        qos: resources::qos(pod),
        network: match address {
            None => Network::Host,
            Some(address) => Network::Pod {
                address,
                prefix_len: facts.pod_cidr.prefix_len(),
                gateway: gateway(facts.pod_cidr),
            },
        },
        resources,
        hosts: match address {
            Some(address) => names.hosts(address.into(), api_name(&context).as_ref(), &aliases),
            None => naming::host_network_hosts(&host.hosts, &aliases),
        },
        resolv_conf: resolver.text(),
        hostname: names.hostname,
        forwards: if address.is_some() { hostports::of_pod(pod) } else { Vec::new() },
        host_ipc: spec.host_ipc == Some(true),
        shared_pids: pids(spec) == PidNamespace::OfPod,
        sysctls: sysctls(spec),
        empty_dirs: volumes::empty_dirs(volumes, memory),
        file_volumes: file_volumes.collect::<Result<_, _>>().map_err(mount_error)?,
        host_volumes: volumes::host_volumes(volumes, &context).map_err(mount_error)?,
        fs_group: volumes::fs_group(spec),
    })
}

/// What tokens' issuer and programs in pods call the API, where no cluster DNS would tell them its address.
fn api_name(context: &Context<'_>) -> Option<HostAlias> {
    let dns = &context.facts.cluster_dns;
    let ip = context.scope.api().filter(|_| dns.servers.is_empty())?;
    let short = format!("{API_SERVICE}.{DEFAULT_NAMESPACE}");
    let hostnames = vec![format!("{short}.svc.{}", dns.domain), format!("{short}.svc"), short];
    Some(HostAlias { ip, hostnames })
}

/// The bridge has the first address of the range.
fn gateway(range: Ipv4Net) -> Ipv4Addr {
    range.hosts().next().unwrap_or(range.addr())
}

/// Whose processes a pod's containers see.
fn pids(spec: &PodSpec) -> PidNamespace {
    match (spec.host_pid == Some(true), spec.share_process_namespace == Some(true)) {
        (true, _) => PidNamespace::Host,
        (false, true) => PidNamespace::OfPod,
        (false, false) => PidNamespace::Own,
    }
}

/// There is one runtime; a class must mean it.
fn runtime_class(spec: &PodSpec, context: &Context<'_>) -> Result<(), StartFailure> {
    let Some(class) = spec.runtime_class_name.as_deref().filter(|class| !class.is_empty()) else {
        return Ok(());
    };
    let why = match context.scope.handler(class) {
        Some(handler) if HANDLERS.contains(&handler) => return Ok(()),
        Some(other) => {
            format!(
                "no runtime for {other:?} is configured: handlers of this node are \"podbox\" and \"runc\""
            )
        }
        None => format!("RuntimeClass {class:?} not found"),
    };
    Err(failure("CreateContainerError", format!("failed to get sandbox runtime: {why}")))
}

fn sysctls(spec: &PodSpec) -> Vec<Sysctl> {
    let given = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    given.map(|sysctl| Sysctl { name: sysctl.name.clone(), value: sysctl.value.clone() }).collect()
}

/// One run of a container.
pub fn container(
    pod: &Pod,
    sources: &Sources,
    facts: &NodeFacts,
    address: Option<Ipv4Addr>,
    run: &ContainerRef,
    image: &Image,
) -> Result<ContainerSpec, StartFailure> {
    let context = Context::new(pod, sources, facts, address)?;
    let spec = context.spec()?;
    let (container, pid) = context
        .container(&run.name)
        .ok_or_else(|| failure("CreateContainerError", format!("the pod has no container {}", run.name)))?;
    let container = &*container;
    let pid = match pid {
        PidNamespace::Own if init::attends(pod, &run.name) => PidNamespace::Attended,
        pid => pid,
    };
    let own = environ::own(container, &context).map_err(config_error)?;
    let args = arguments(container, &image.config, &own).map_err(config_error)?;
    if args.is_empty() {
        return Err(failure("CreateContainerError", "no command specified"));
    }
    let env = environment(&image.config, &own, &context.names()?.hostname);
    check_passable(&args, &env).map_err(|why| failure("CreateContainerError", why))?;
    security::app_armor(spec, container)?;
    let qos = resources::qos(pod);
    let image_dir = Some(image.config.working_dir.as_str()).filter(|dir| !dir.is_empty());
    let own_dir = container.working_dir.as_deref().filter(|dir| !dir.is_empty());
    Ok(ContainerSpec {
        container: run.clone(),
        qos,
        layers: image.layers.clone(),
        args,
        env,
        cwd: own_dir.or(image_dir).unwrap_or("/").to_owned(),
        user: security::user(&context, spec, container, &image.config)?,
        mounts: mounts::of_container(spec, container, &own)?,
        resources: facts.container_resources(pod, container),
        security: security::of_container(spec, container, &facts.seccomp_default),
        pid,
        oom_score_adj: resources::oom_score_adj(pod, container, facts.memory_bytes),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        log_path: log_path(facts, run),
        termination_path: container.termination_message_path.clone().unwrap_or_default(),
    })
}

/// Where the log of a run goes.
pub fn log_path(facts: &NodeFacts, run: &ContainerRef) -> PathBuf {
    let PodRef { namespace, name, uid } = &run.pod;
    let directory = facts.log_dir.join(format!("{namespace}_{name}_{uid}"));
    directory.join(&run.name).join(format!("{}.log", run.attempt))
}

/// `command` replaces the image's entrypoint and its arguments, `args` only the arguments.
fn arguments(
    container: &Container,
    image: &ImageConfig,
    own: &environ::Environment,
) -> Result<Vec<String>, String> {
    let mut bytes = 0;
    let mut given = |list: &Option<Vec<String>>| {
        let expand = |text: &String| -> Result<String, String> {
            let expanded = own.expand(text).map_err(|error| format!("an argument: {error}"))?;
            bytes += expanded.len();
            match bytes > limits::ARGUMENTS {
                true => Err(format!("the arguments: they are longer than {} bytes", limits::ARGUMENTS)),
                false => Ok(expanded),
            }
        };
        list.iter().flatten().map(expand).collect::<Result<Vec<_>, _>>()
    };
    let (command, args) = (given(&container.command)?, given(&container.args)?);
    Ok(match (command.is_empty(), args.is_empty()) {
        (false, _) => [command, args].concat(),
        (true, false) => [image.entrypoint.clone(), args].concat(),
        (true, true) => [image.entrypoint.clone(), image.cmd.clone()].concat(),
    })
}

/// No string with a NUL byte can be passed to a program. Which one it is, is told; what it says may be a secret.
fn check_passable(args: &[String], env: &[String]) -> Result<(), String> {
    if let Some(index) = args.iter().position(|text| text.contains('\0')) {
        return Err(format!("argument {index} has a NUL byte, which no program can be passed"));
    }
    let name = |line: &String| line.split_once('=').map_or_else(String::new, |(name, _)| name.to_owned());
    match env.iter().find(|line| line.contains('\0')).map(name) {
        Some(name) => Err(format!("variable {name:?} has a NUL byte, which no program can be passed")),
        None => Ok(()),
    }
}

/// The image's variables, then the container's, which replace them. `PATH` and `HOSTNAME` are always
/// there, as with other runtimes.
fn environment(image: &ImageConfig, own: &environ::Environment, hostname: &str) -> Vec<String> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut all = environ::Environment::default();
    all.set("PATH", PATH.to_owned());
    all.set("HOSTNAME", hostname.to_owned());
    for line in image.env.iter().cloned().chain(own.lines()) {
        let (name, value) = line.split_once('=').unwrap_or((&line, ""));
        all.set(name, value.to_owned());
    }
    all.lines()
}
