//! Where a node keeps what, and its addresses. Rank 0: plain data, one default for each field.

use crate::api::allowed::Allowed;
use crate::api::pressure::{self, Threshold};
use crate::api::probe::TcpProbe;
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
    /// The seccomp profile of containers that ask for none.
    pub seccomp_default: SeccompDefault,
    /// How pods' `tcpSocket` probes are answered that don't say it themselves.
    pub probe_tcp: TcpProbe,
    /// How it looks after itself.
    pub duties: Duties,
}

/// The seccomp profile of containers that ask for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeccompDefault {
    /// The default-deny profile: stricter than a kubelet that is not told so.
    #[default]
    RuntimeDefault,
    /// None, as under a kubelet that is not told otherwise.
    Unconfined,
}

/// How a node looks after itself: the kubelet's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Duties {
    /// When pods are made to go: the hard thresholds, then the soft ones.
    pub thresholds: Vec<Threshold>,
    /// How long a condition of want stays after its last reason.
    pub transition: Duration,
    /// How long a pod has to go at most, if a soft threshold makes it.
    pub soft_grace: Duration,
    /// How full, in hundredths, a disk may be until images are removed.
    pub images_high: u8,
    /// How full it may be once they have been.
    pub images_low: u8,
    /// How long an image stays that nobody uses.
    pub image_age: Duration,
    /// Thousandths of a core that are kept for the host's own programs.
    pub reserved_cpu_milli: u64,
    /// Bytes of memory that are.
    pub reserved_memory: u64,
    /// Bytes of the disk that are.
    pub reserved_disk: u64,
    /// Requests of memory are kept for who made them: the kubelet's MemoryQoS.
    pub memory_qos: bool,
    /// Which labels and annotations of objects are told as metrics.
    pub told: Allowed,
}

/// The kubelet's hard thresholds.
pub const THRESHOLDS: &str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%";

impl Default for Duties {
    fn default() -> Self {
        Duties {
            thresholds: pressure::thresholds(THRESHOLDS).expect("a test has read it"),
            transition: Duration::from_secs(300),
            soft_grace: Duration::ZERO,
            images_high: 85,
            images_low: 80,
            image_age: Duration::from_secs(120),
            reserved_cpu_milli: 0,
            reserved_memory: 0,
            reserved_disk: 0,
            memory_qos: false,
            told: Allowed::default(),
        }
    }
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
            seccomp_default: SeccompDefault::default(),
            probe_tcp: TcpProbe::default(),
            duties: Duties::default(),
        }
    }
}
