//! Where a node keeps what, and its addresses. Rank 0: plain data, one default for each field.

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A node's directories and addresses.
#[derive(Clone, Debug)]
pub struct Config {
    /// What outlives a reboot: images, leases, container roots. Must be able to carry overlayfs upper layers.
    pub state_dir: PathBuf,
    /// What a reboot may take: namespaces, sockets, locks.
    pub run_dir: PathBuf,
    /// Container logs, as the CRI lays them out.
    pub log_dir: PathBuf,
    /// Where cgroup v2 is mounted.
    pub cgroup_root: PathBuf,
    /// The range pod addresses come from; the first one is the bridge's own.
    pub pod_cidr: Ipv4Net,
    /// The bridge that pods are attached to.
    pub bridge: String,
    /// Where metrics are served.
    pub metrics_addr: SocketAddr,
    /// Where the Kubernetes API is served.
    pub api_addr: SocketAddr,
    /// The longest wait before a container that keeps ending is started again.
    pub restart_backoff_max: Duration,
    /// The cluster's name servers, which pods ask by their `dnsPolicy`; none where there are none.
    pub cluster_dns: Vec<IpAddr>,
    /// What all names in the cluster end with.
    pub cluster_domain: String,
    /// Kernel settings beyond the safe ones that pods may ask for; one that ends with `*` stands for all that begin so.
    pub allowed_unsafe_sysctls: Vec<String>,
}

impl Config {
    /// The bridge's own address, and the pods' default route: the first of the pod range.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_cidr.network()).saturating_add(1))
    }

    /// Where pods' own seccomp profiles are.
    pub fn seccomp_dir(&self) -> PathBuf {
        self.state_dir.join("seccomp")
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            state_dir: "/var/lib/podbox".into(),
            run_dir: "/run/podbox".into(),
            log_dir: "/var/log/pods".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 85, 0, 0), 16),
            bridge: "podbox0".into(),
            metrics_addr: SocketAddr::from(([127, 0, 0, 1], 9810)),
            api_addr: SocketAddr::from(([127, 0, 0, 1], 6443)),
            restart_backoff_max: Duration::from_secs(300),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            allowed_unsafe_sysctls: Vec::new(),
        }
    }
}
