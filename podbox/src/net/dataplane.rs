//! The node's side of the pod network: observe, `net::diff`, apply. A bridge with the pods' gateway address,
//! forwarding, and the masquerade table.
//!
//! A pod's own link is not made here but by `sandbox::link`: this runs at start and at the end, not per pod.
//!
//! The bridge has no IPv6: pods have none yet, and a pod must not be able to advertise itself as the host's router.

use super::diff::{self, Conflict, NetStep, Present, Wanted};
use super::masquerade::{self, NftError};
use super::observe::observe;
use crate::config::Config;
use crate::sandbox::link::hardware_address;
use crate::sandbox::spec::Forward;
use ipnet::Ipv4Net;
use rtnetlink::{Handle, LinkBridge, LinkUnspec};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Forwarding of IPv4 packets between links: of the calling thread's network namespace.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why the node has no pod network.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// No conversation with the kernel.
    #[error("opening a netlink connection failed")]
    Open(#[source] io::Error),
    /// What is there could not be read.
    #[error("reading the host's links, addresses and routes failed")]
    Observe(#[source] rtnetlink::Error),
    /// The host uses what podbox wants.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A link could not be changed.
    #[error("{action} the link {link} failed")]
    Link {
        /// What was tried.
        action: &'static str,
        /// On which.
        link: String,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
    /// The bridge could not be given its address.
    #[error("giving the bridge {bridge} the address {gateway} failed")]
    Gateway {
        /// The bridge.
        bridge: String,
        /// The address.
        gateway: Ipv4Net,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
    /// The bridge was there, and is not any more.
    #[error("the bridge {0} vanished while the pod network was made")]
    Vanished(String),
    /// A file could not be written.
    #[error("{action} {} failed", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No masquerade.
    #[error("masquerading the pods' traffic failed")]
    Masquerade(#[from] NftError),
}

/// The pod network, as it is once made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// The bridge's index, for pods' links.
    pub bridge_index: u32,
    /// Largest packet, for pods' links.
    pub mtu: u32,
}

/// Makes the pod network, or what is missing of it, and removes links of pods that are not among `pods` (by
/// [`link name`](crate::api::identity::PodRef::link_name)). Must run on a thread in the host's network namespace.
/// `forwards` are the node's ports that lead to them. When it fails, a bridge that it made is gone again.
pub async fn ensure(
    config: &Config,
    pods: BTreeSet<String>,
    forwards: Vec<(Ipv4Addr, Forward)>,
) -> Result<Dataplane, DataplaneError> {
    let network = Network { forwards, ..Network::open(config, pods)? };
    let before = network.observe().await?;
    let steps = diff::diff(&network.wanted, &before)?;
    let made = network.make(&steps).await;
    if made.is_err() && before.bridge(&network.wanted).is_none() {
        // The first error is the one to tell.
        for error in network.remove().await {
            if matches!(error, DataplaneError::Masquerade(NftError::Absent)) {
                // Without nft there is no table to remove, and the first error says it.
                continue;
            }
            tracing::warn!("undoing the pod network: {error}");
        }
    }
    made
}

/// Looks whether the host is in the way of the pod network. Changes nothing.
pub async fn check(config: &Config) -> Result<(), DataplaneError> {
    let network = Network::open(config, BTreeSet::new())?;
    diff::diff(&network.wanted, &network.observe().await?)?;
    Ok(())
}

/// Takes the pod network away: the bridge with the links on it, the table, and forwarding if podbox switched it on
/// and nobody else can have come to need it. Goes on after an error, and returns all.
pub async fn teardown(config: &Config) -> Result<(), Vec<DataplaneError>> {
    let network = Network::open(config, BTreeSet::new()).map_err(|error| vec![error])?;
    let errors = network.remove().await;
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

struct Network {
    handle: Handle,
    wanted: Wanted,
    /// The node's ports that lead to pods.
    forwards: Vec<(Ipv4Addr, Forward)>,
    /// Says that forwarding was off before podbox.
    forwarding_was_off: PathBuf,
}

impl Network {
    fn open(config: &Config, pods: BTreeSet<String>) -> Result<Network, DataplaneError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(DataplaneError::Open)?;
        // Ends with the last handle.
        tokio::spawn(connection);
        let gateway = config.gateway();
        let wanted = Wanted {
            bridge: config.bridge.clone(),
            hardware: hardware_address(gateway),
            gateway: Ipv4Net::new(gateway, config.pod_cidr.prefix_len())
                .expect("a range's own length is valid"),
            pods,
        };
        let forwarding_was_off = config.run_dir.join("forwarding-was-off");
        Ok(Network { handle, wanted, forwards: Vec::new(), forwarding_was_off })
    }

    async fn observe(&self) -> Result<Present, DataplaneError> {
        let forwarding = fs::read_to_string(FORWARDING)
            .map_err(|source| file_error("reading", Path::new(FORWARDING), source))?;
        observe(&self.handle, forwarding.trim() != "0").await.map_err(DataplaneError::Observe)
    }

    async fn make(&self, steps: &[NetStep]) -> Result<Dataplane, DataplaneError> {
        for step in steps {
            self.apply(step).await?;
        }
        let bridge = self.bridge().await?;
        // For what reaches a pod by a port of the node's loopback address.
        let file = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", self.wanted.bridge);
        fs::write(&file, "1").map_err(|source| file_error("writing", Path::new(&file), source))?;
        let file = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.wanted.bridge);
        match fs::write(&file, "1") {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|source| file_error("writing", Path::new(&file), source))?,
        }
        Ok(bridge)
    }

    async fn bridge(&self) -> Result<Dataplane, DataplaneError> {
        let present = self.observe().await?;
        let bridge = present.bridge(&self.wanted);
        let bridge = bridge.ok_or_else(|| DataplaneError::Vanished(self.wanted.bridge.clone()))?;
        Ok(Dataplane { bridge_index: bridge.index, mtu: bridge.mtu })
    }

    async fn apply(&self, step: &NetStep) -> Result<(), DataplaneError> {
        let Wanted { bridge, gateway, .. } = &self.wanted;
        match step {
            NetStep::MakeBridge { mtu } => {
                let hardware = self.wanted.hardware.to_vec();
                let link = LinkBridge::new(bridge).address(hardware).mtu(*mtu).build();
                self.link_error("making", bridge, self.handle.link().add(link).execute().await)
            }
            NetStep::BringUp => {
                let link = LinkUnspec::new_with_name(bridge).up().build();
                self.link_error("bringing up", bridge, self.handle.link().set(link).execute().await)
            }
            NetStep::AddGateway => {
                let index = self.bridge().await?.bridge_index;
                let add = self.handle.address().add(index, gateway.addr().into(), gateway.prefix_len());
                let failed =
                    |source| DataplaneError::Gateway { bridge: bridge.clone(), gateway: *gateway, source };
                add.execute().await.map_err(failed)
            }
            NetStep::Forward => self.forward(),
            NetStep::Masquerade => {
                // Milliseconds, at start: not worth a thread.
                Ok(masquerade::apply(&masquerade::table(bridge, *gateway, &self.forwards))?)
            }
            NetStep::RemoveLink { index, name } => self.remove_link(*index, name).await,
        }
    }

    /// Notes first that it was off, so that a crash in between cannot lose it.
    fn forward(&self) -> Result<(), DataplaneError> {
        let note = &self.forwarding_was_off;
        fs::write(note, "").map_err(|source| file_error("writing", note, source))?;
        fs::write(FORWARDING, "1").map_err(|source| file_error("writing", Path::new(FORWARDING), source))
    }

    async fn remove(&self) -> Vec<DataplaneError> {
        let mut errors = Vec::new();
        errors.extend(masquerade::apply(masquerade::REMOVE).err().map(DataplaneError::from));
        match self.observe().await {
            Err(error) => errors.push(error),
            Ok(present) => {
                for step in diff::leftovers(&self.wanted, &present) {
                    errors.extend(self.apply(&step).await.err());
                }
                if let Some(bridge) = present.bridge(&self.wanted) {
                    errors.extend(self.remove_link(bridge.index, &bridge.name).await.err());
                }
                errors.extend(self.stop_forwarding(&present).err());
            }
        }
        errors
    }

    fn stop_forwarding(&self, present: &Present) -> Result<(), DataplaneError> {
        let note = &self.forwarding_was_off;
        if !note.exists() {
            return Ok(());
        }
        if let Some(user) = diff::forwarding_user(&self.wanted, present) {
            tracing::info!("leaving IPv4 forwarding on: {user} may need it");
        } else {
            fs::write(FORWARDING, "0")
                .map_err(|source| file_error("writing", Path::new(FORWARDING), source))?;
        }
        fs::remove_file(note).map_err(|source| file_error("removing", note, source))
    }

    async fn remove_link(&self, index: u32, name: &str) -> Result<(), DataplaneError> {
        match self.handle.link().del(index).execute().await {
            // Gone meanwhile, with its other end.
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(()),
            other => self.link_error("removing", name, other),
        }
    }

    fn link_error(
        &self,
        action: &'static str,
        link: &str,
        result: Result<(), rtnetlink::Error>,
    ) -> Result<(), DataplaneError> {
        result.map_err(|source| DataplaneError::Link { action, link: link.to_owned(), source })
    }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> DataplaneError {
    DataplaneError::File { action, path: path.to_owned(), source }
}
