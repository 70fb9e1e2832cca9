//! A pod's link: a veth pair with one end on the node's bridge and the other, `eth0`, in the pod's namespace.
//!
//! Three exchanges with the kernel. The first makes both ends where they belong, named and with their hardware
//! addresses, the host's end up and on the bridge: the kernel does all of that or nothing. The second asks for
//! `eth0`'s index, the third brings it up and gives it its address and the default route.
//!
//! The pod's hardware address follows from its IP address, so that neighbours' caches stay right when an address
//! goes on to another pod.
//!
//! It does not know about bridges beyond an index, nor about who owns which address.

use super::netlink::{CHANGE, CREATE, Netlink, NetlinkError};
use super::netns::PodNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

/// The link's name inside the pod, as every network plugin has it.
pub const POD_LINK: &str = "eth0";

/// A link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name of the host's end: [`crate::api::identity::PodRef::link_name`].
    pub host_name: String,
    /// The bridge's index.
    pub bridge_index: u32,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Length of the node's pod range.
    pub prefix_len: u8,
    /// The default route.
    pub gateway: Ipv4Addr,
    /// Largest packet, as the bridge has it.
    pub mtu: u32,
}

/// Why a pod has no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No socket in the host's namespace.
    #[error("opening a netlink socket failed")]
    Open(#[source] NetlinkError),
    /// The veth pair could not be made.
    #[error("making the veth pair {name:?} on the bridge with index {bridge_index} failed")]
    Create {
        /// The host's end.
        name: String,
        /// Where it should have been.
        bridge_index: u32,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The pair is there, but not to be found in the pod.
    #[error("finding {POD_LINK} in the pod's network namespace failed")]
    Find(#[source] NetlinkError),
    /// The pod's end stayed down.
    #[error("bringing {POD_LINK} up failed")]
    Up(#[source] NetlinkError),
    /// The pod's end could not be given its address.
    #[error("giving {POD_LINK} the address {address}/{prefix_len} failed")]
    Address {
        /// The pod's address.
        address: Ipv4Addr,
        /// Length of the node's pod range.
        prefix_len: u8,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The pod could not be given its default route.
    #[error("adding the pod's default route by {gateway} failed")]
    Route {
        /// The bridge's address.
        gateway: Ipv4Addr,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The link could not be taken away.
    #[error("removing the link {name:?} failed")]
    Delete {
        /// The host's end.
        name: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

/// Makes the link. Blocking, well below a millisecond; the calling thread must be in the host's network
/// namespace. A failure leaves nothing.
pub fn attach(pod: &PodNet, spec: &LinkSpec) -> Result<(), LinkError> {
    let host = Netlink::open().map_err(LinkError::Open)?;
    create(&host, pod, spec)?;
    configure(pod.netlink(), spec).inspect_err(|_| {
        // The first error is the one to tell; a link that stays is found at the next start (`net::diff`).
        let _ = delete(&host, &spec.host_name);
    })
}

/// Takes a link away, by its host end; the pod's end goes with it. One that is not there is no error.
pub fn detach(host_name: &str) -> Result<(), LinkError> {
    let host = Netlink::open().map_err(LinkError::Open)?;
    delete(&host, host_name)
}

/// The hardware address that goes with a pod's or the bridge's address: locally administered, unicast.
pub fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn create(host: &Netlink, pod: &PodNet, spec: &LinkSpec) -> Result<(), LinkError> {
    let pod_end = LinkMessageBuilder::<LinkUnspec>::new()
        .name(POD_LINK)
        .address(hardware_address(spec.address).to_vec())
        .mtu(spec.mtu)
        .setns_by_fd(pod.fd().as_raw_fd())
        // Not up: the kernel opens this end before it knows its peer, and refuses with ENOTCONN.
        .build();
    let pair = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
        .name(&spec.host_name)
        .mtu(spec.mtu)
        .controller(spec.bridge_index)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(pod_end)))
        .up()
        .build();
    host.change([(RouteNetlinkMessage::NewLink(pair), CREATE)]).map_err(|source| LinkError::Create {
        name: spec.host_name.clone(),
        bridge_index: spec.bridge_index,
        source,
    })
}

fn configure(pod: &Netlink, spec: &LinkSpec) -> Result<(), LinkError> {
    let index = pod.link_index(POD_LINK).map_err(LinkError::Find)?;
    let up = LinkUnspec::new_with_index(index).up().build();
    let address =
        AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(spec.address, spec.prefix_len).build();
    let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(spec.gateway).build();
    pod.change([
        (RouteNetlinkMessage::SetLink(up), CHANGE),
        (RouteNetlinkMessage::NewAddress(address), CREATE),
        (RouteNetlinkMessage::NewRoute(route), CREATE),
    ])
    .map_err(|source| match source.request() {
        0 => LinkError::Up(source),
        1 => LinkError::Address { address: spec.address, prefix_len: spec.prefix_len, source },
        _ => LinkError::Route { gateway: spec.gateway, source },
    })
}

fn delete(host: &Netlink, name: &str) -> Result<(), LinkError> {
    let link = LinkMessageBuilder::<LinkUnspec>::new().name(name).build();
    match host.change([(RouteNetlinkMessage::DelLink(link), CHANGE)]) {
        Err(error) if error.is_absent() => Ok(()),
        other => other.map_err(|source| LinkError::Delete { name: name.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_local_unicast_and_differ() {
        let mac = hardware_address(Ipv4Addr::new(10, 85, 3, 7));
        assert_eq!(mac, [0x0a, 0x58, 10, 85, 3, 7]);
        assert_eq!(mac[0] & 0b11, 0b10, "locally administered, unicast");
    }
}
