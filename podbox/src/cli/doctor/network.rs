//! The pod network: everything that a pod's link takes, made in network and mount namespaces that end with it.

use super::aside;
use super::report::Finding;
use crate::config::Config;
use crate::net::{dataplane, masquerade};
use crate::sandbox::link::{self, LinkSpec};
use crate::sandbox::netlink::{CREATE, Netlink, NetlinkError};
use crate::sandbox::netns::{self, PinSpec, Pinned};
use ipnet::Ipv4Net;
use netlink_packet_route::RouteNetlinkMessage;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkBridge;
use std::net::Ipv4Addr;
use std::path::Path;

/// Where the trial's files are: under a tmpfs that only the trial's mount namespace has.
const TRIAL_DIR: &str = "/run";
const BRIDGE: &str = "podbox-try";
const NAMESPACES: &str = "namespaces";
const NO_PODS: (&str, &str) = ("pods, but for those with hostNetwork: true", "");

pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = aside(|| match enter() {
        Ok(()) => in_trial(),
        Err(errno) => {
            let mend = "run as root; see user.max_net_namespaces and user.max_mnt_namespaces";
            vec![Finding::missing(NAMESPACES, errno.to_string(), "sandboxes", mend)]
        }
    });
    findings.push(range(config));
    findings
}

/// Leaves the host's namespaces for good: only on a thread that ends soon.
fn enter() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("podbox-try"), TRIAL_DIR, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
}

fn in_trial() -> Vec<Finding> {
    let pinned = netns::ensure_dir(Path::new(TRIAL_DIR)).and_then(|pins| {
        netns::pin(&pins.join("pod"), &PinSpec { hostname: "podbox-try".into(), network: true, ipc: true })
    });
    let mend = ("sandboxes", "run as root; see user.max_net_namespaces");
    let linked = pinned.as_ref().map(linked);
    let seen = |_: &Pinned| "network, IPC and UTS, pinned without a process".to_owned();
    let mut findings = vec![Finding::tried(NAMESPACES, pinned.as_ref(), seen, mend)];
    findings.extend(linked.into_iter().flatten());
    findings.push(masquerade());
    findings
}

fn linked(pod: &Pinned) -> Vec<Finding> {
    let bridge = bridge();
    let mend = (NO_PODS.0, "modprobe bridge");
    let mut findings = vec![Finding::tried("bridge", bridge.as_ref(), |_| "made by netlink".into(), mend)];
    if let (Ok(bridge_index), Some(net)) = (bridge, &pod.net) {
        let spec = LinkSpec {
            host_name: "podbox-try0".into(),
            bridge_index,
            address: Ipv4Addr::new(192, 0, 2, 2),
            prefix_len: 24,
            gateway: Ipv4Addr::new(192, 0, 2, 1),
            mtu: 1500,
        };
        let mend = (NO_PODS.0, "modprobe veth");
        findings.push(Finding::tried(
            "veth",
            link::attach(net, &spec),
            |()| "linked a pod to it".into(),
            mend,
        ));
    }
    findings
}

fn bridge() -> Result<u32, NetlinkError> {
    let netlink = Netlink::open()?;
    netlink.change([(RouteNetlinkMessage::NewLink(LinkBridge::new(BRIDGE).build()), CREATE)])?;
    netlink.link_index(BRIDGE)
}

fn masquerade() -> Finding {
    let config = Config::default();
    let gateway = Ipv4Net::new(config.gateway(), config.pod_cidr.prefix_len()).unwrap_or(config.pod_cidr);
    let mend = "apt-get install nftables; modprobe nft_masq nft_chain_nat";
    let applied = masquerade::apply(&masquerade::table(BRIDGE, gateway, &[]));
    Finding::tried("nftables", applied, |()| "masquerade".into(), (NO_PODS.0, mend))
}

/// Looks only: whether the configured bridge and range are free on the host itself.
fn range(config: &Config) -> Finding {
    let name = "pod range";
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::missing(name, error.to_string(), NO_PODS.0, ""),
    };
    let seen = |()| format!("{} on {}", config.pod_cidr, config.bridge);
    Finding::tried(name, runtime.block_on(dataplane::check(config)), seen, NO_PODS)
}
