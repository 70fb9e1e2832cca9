//! What pods are told of this node: what stays, read from the host once at start, and how it finds others by name
//! ([`host_names`]), read for each sandbox.

use super::register::capacity;
use crate::config::{Config, SeccompDefault};
use crate::pod::compose::{HostNames, NodeFacts};
use crate::pod::resolver::{ClusterDns, Resolver};
use crate::sandbox::spec::Seccomp;
use nix::sys::sysinfo::sysinfo;
use nix::unistd::gethostname;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;

/// The facts now. What the host does not say is left empty: a pod that needs it says so when it starts.
pub fn of_host(config: &Config) -> NodeFacts {
    let cpu_milli = thread::available_parallelism().map_or(1000, |cpus| cpus.get() as u64 * 1000);
    let memory_bytes = sysinfo().map(|info| info.ram_total()).unwrap_or_default();
    NodeFacts {
        node_name: gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        host_ip: host_ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        pod_cidr: config.pod_cidr,
        cluster_dns: ClusterDns {
            servers: config.cluster_dns.clone(),
            domain: config.cluster_domain.clone(),
        },
        log_dir: config.log_dir.clone(),
        cpu_milli,
        memory_bytes,
        memory_qos: config.duties.memory_qos,
        allocatable: capacity::allocatable(cpu_milli, memory_bytes, config),
        seccomp_default: match config.seccomp_default {
            SeccompDefault::RuntimeDefault => Seccomp::RuntimeDefault,
            SeccompDefault::Unconfined => Seccomp::Unconfined,
        },
    }
}

/// How the host finds others by name now. Blocking.
pub fn host_names() -> HostNames {
    let resolver = host_resolver().unwrap_or_else(|error| {
        tracing::warn!(%error, "a pod gets no name servers of the host: reading them failed");
        Resolver::default()
    });
    HostNames { resolver, hosts: fs::read_to_string("/etc/hosts").unwrap_or_default() }
}

/// The host's resolver configuration, as it serves pods: systemd-resolved's servers when it has only loopback
/// ones.
fn host_resolver() -> io::Result<Resolver> {
    let host = match fs::read_to_string("/etc/resolv.conf") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let own = Resolver::of_host(&host);
    if !own.servers.is_empty() {
        return Ok(own);
    }
    // Absent: no systemd-resolved. The host's own is then all there is.
    let resolved = fs::read_to_string("/run/systemd/resolve/resolv.conf");
    Ok(resolved.map_or(own, |text| Resolver::of_host(&text)))
}

/// The address this host sends from by its default route. Connecting a datagram socket sends nothing.
fn host_ip() -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // An address of the documentation range: only the route to it matters.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

/// How deep containers' cgroups lie below the hierarchy's own root, which BPF programs count from: podbox's
/// tree has them four levels below its root, and that may be a cgroup inside of the hierarchy.
pub fn container_level(cgroup_root: &Path) -> u32 {
    const BELOW_ROOT: u32 = 4;
    let above = cgroup_root.ancestors().skip(1).take_while(|dir| dir.join("cgroup.procs").exists());
    BELOW_ROOT + above.count() as u32
}
