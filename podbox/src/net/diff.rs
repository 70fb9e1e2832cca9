//! What to do so that the node's network is as it should be. Pure: wanted and present in, steps out.
//!
//! It decides what is podbox's: a bridge of the wanted name *with the hardware address that follows from the pod
//! range*, and veth links on that bridge with a pod's kind of name. Anything else is the host's: it is never
//! changed, and where it is in the way that is a [`Conflict`].

use crate::api::identity::LINK_PREFIX;
use ipnet::Ipv4Net;
use std::collections::BTreeSet;

/// The largest packet where no default route says otherwise.
const DEFAULT_MTU: u32 = 1500;

/// The network as it should be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The bridge's name.
    pub bridge: String,
    /// The bridge's hardware address: its mark, and constant while pods' ends come and go.
    pub hardware: [u8; 6],
    /// The bridge's address, with the length of the pod range.
    pub gateway: Ipv4Net,
    /// Links of the pods that there are: [`crate::api::identity::PodRef::link_name`].
    pub pods: BTreeSet<String>,
}

/// What a link is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// Another virtual link, such as a tunnel.
    Virtual,
    /// Hardware, or the loopback.
    Plain,
}

/// A link of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// The bridge it is on.
    pub controller: Option<u32>,
    /// Its hardware address.
    pub hardware: Vec<u8>,
    /// Its largest packet.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
}

/// An address, or a route's destination, and the link it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The addresses.
    pub net: Ipv4Net,
    /// The link's index, unless it is a route to nowhere.
    pub link: Option<u32>,
    /// A route's preference, the smaller the better; 0 for an address.
    pub metric: u32,
}

/// The network as it is.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Every link.
    pub links: Vec<Link>,
    /// Every IPv4 address.
    pub addresses: Vec<Range>,
    /// Every IPv4 route to other hosts.
    pub routes: Vec<Range>,
    /// Packets are forwarded between links.
    pub forwarding: bool,
}

/// One change to the host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetStep {
    /// Make the bridge, and bring it up.
    MakeBridge {
        /// Its largest packet: that of the way out.
        mtu: u32,
    },
    /// Bring the bridge up that is there.
    BringUp,
    /// Give the bridge its address.
    AddGateway,
    /// Let packets pass between links.
    Forward,
    /// Write the masquerade table, whatever was in it.
    Masquerade,
    /// Remove a pod's link that has no pod.
    RemoveLink {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
}

/// Something of the host's is where podbox wants to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The bridge's name is taken.
    #[error(
        "the link {0} is there already and is not this node's bridge for {1}: choose another name (--bridge), or \
         remove it if an earlier podbox left it (ip link delete {0})"
    )]
    Bridge(String, Ipv4Net),
    /// The addresses are in use.
    #[error("the pod range {cidr} overlaps {other}, which is on {link}: choose another range (--pod-cidr)")]
    Range {
        /// The pod range.
        cidr: Ipv4Net,
        /// The address or route.
        other: Ipv4Net,
        /// Its link.
        link: String,
    },
}

impl Present {
    /// The wanted bridge, if it is there and podbox's.
    pub fn bridge(&self, wanted: &Wanted) -> Option<&Link> {
        self.named(wanted).filter(|link| link.kind == LinkKind::Bridge && link.hardware == wanted.hardware)
    }

    /// The largest packet on the way out, by the best default route.
    pub fn uplink_mtu(&self) -> u32 {
        let defaults = self.routes.iter().filter(|route| route.net.prefix_len() == 0);
        let best = defaults.min_by_key(|route| route.metric);
        let link = best.and_then(|route| self.links.iter().find(|link| Some(link.index) == route.link));
        link.map_or(DEFAULT_MTU, |link| link.mtu)
    }

    fn named(&self, wanted: &Wanted) -> Option<&Link> {
        self.links.iter().find(|link| link.name == wanted.bridge)
    }

    fn link_name(&self, index: Option<u32>) -> String {
        let link = self.links.iter().find(|link| Some(link.index) == index);
        link.map_or_else(|| "no link".to_owned(), |link| link.name.clone())
    }
}

/// The steps that lead from what is to what should be; none if all is well but the masquerade table, which is
/// cheaper written than compared.
pub fn diff(wanted: &Wanted, present: &Present) -> Result<Vec<NetStep>, Conflict> {
    let bridge = present.bridge(wanted);
    if bridge.is_none() && present.named(wanted).is_some() {
        return Err(Conflict::Bridge(wanted.bridge.clone(), wanted.gateway.trunc()));
    }
    check_range(wanted, present, bridge)?;
    let mut steps = Vec::new();
    match bridge {
        None => steps.push(NetStep::MakeBridge { mtu: present.uplink_mtu() }),
        Some(bridge) if !bridge.up => steps.push(NetStep::BringUp),
        Some(_) => {}
    }
    let index = bridge.map(|bridge| bridge.index);
    let has_gateway = |range: &Range| range.link == index && range.net == wanted.gateway;
    if index.is_none() || !present.addresses.iter().any(has_gateway) {
        steps.push(NetStep::AddGateway);
    }
    if !present.forwarding {
        steps.push(NetStep::Forward);
    }
    steps.push(NetStep::Masquerade);
    steps.extend(leftovers(wanted, present));
    Ok(steps)
}

/// Links of podbox's that belong to no pod.
pub fn leftovers(wanted: &Wanted, present: &Present) -> Vec<NetStep> {
    let Some(bridge) = present.bridge(wanted) else { return Vec::new() };
    let ours = |link: &&Link| {
        link.kind == LinkKind::Veth
            && link.controller == Some(bridge.index)
            && link.name.starts_with(LINK_PREFIX)
            && !wanted.pods.contains(&link.name)
    };
    let remove = |link: &Link| NetStep::RemoveLink { index: link.index, name: link.name.clone() };
    present.links.iter().filter(ours).map(remove).collect()
}

/// A link, other than the bridge, whose owner may count on forwarding by now: a reason to leave it on.
pub fn forwarding_user<'a>(wanted: &Wanted, present: &'a Present) -> Option<&'a str> {
    let user = |link: &&Link| matches!(link.kind, LinkKind::Bridge | LinkKind::Virtual) && link.up;
    let mut users = present.links.iter().filter(user).filter(|link| link.name != wanted.bridge);
    users.next().map(|link| link.name.as_str())
}

fn check_range(wanted: &Wanted, present: &Present, bridge: Option<&Link>) -> Result<(), Conflict> {
    let cidr = wanted.gateway.trunc();
    let on_bridge = |range: &&Range| bridge.is_some_and(|bridge| range.link == Some(bridge.index));
    // A default route covers everything, and says nothing about who uses it.
    let covers = |range: &&Range| {
        range.net.prefix_len() > 0 && (range.net.contains(&cidr) || cidr.contains(&range.net.trunc()))
    };
    let others = present.addresses.iter().chain(&present.routes);
    match others.filter(covers).find(|range| !on_bridge(range)) {
        Some(range) => Err(Conflict::Range { cidr, other: range.net, link: present.link_name(range.link) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARDWARE: [u8; 6] = [0x0a, 0x58, 10, 85, 0, 1];

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn wanted(pods: &[&str]) -> Wanted {
        let pods = pods.iter().map(|&name| name.to_owned()).collect();
        Wanted { bridge: "podbox0".into(), hardware: HARDWARE, gateway: net("10.85.0.1/16"), pods }
    }

    fn link(index: u32, name: &str, kind: LinkKind, controller: Option<u32>) -> Link {
        Link { index, name: name.into(), kind, controller, hardware: vec![2; 6], mtu: 1500, up: true }
    }

    fn range(text: &str, link: u32) -> Range {
        Range { net: net(text), link: Some(link), metric: 0 }
    }

    /// A host with one link to the world.
    fn host() -> Present {
        Present {
            links: vec![link(1, "lo", LinkKind::Plain, None), link(2, "eth0", LinkKind::Plain, None)],
            addresses: vec![range("127.0.0.1/8", 1), range("192.0.2.9/24", 2)],
            routes: vec![range("0.0.0.0/0", 2), range("192.0.2.0/24", 2)],
            forwarding: false,
        }
    }

    /// The same with podbox's bridge and a pod on it.
    fn running() -> Present {
        let mut present = host();
        let bridge = link(3, "podbox0", LinkKind::Bridge, None);
        present.links.push(Link { hardware: HARDWARE.into(), ..bridge });
        present.links.push(link(4, "pbone", LinkKind::Veth, Some(3)));
        present.addresses.push(range("10.85.0.1/16", 3));
        present.routes.push(range("10.85.0.0/16", 3));
        present.forwarding = true;
        present
    }

    #[test]
    fn a_fresh_host_gets_everything() {
        let mut present = host();
        present.links[1].mtu = 1400;
        let steps = diff(&wanted(&[]), &present).unwrap();
        let expected =
            [NetStep::MakeBridge { mtu: 1400 }, NetStep::AddGateway, NetStep::Forward, NetStep::Masquerade];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_running_node_gets_its_table_again_and_no_more() {
        assert_eq!(diff(&wanted(&["pbone"]), &running()), Ok(vec![NetStep::Masquerade]));
    }

    #[test]
    fn a_half_made_bridge_is_completed() {
        let mut present = running();
        present.links[2].up = false;
        present.addresses.pop();
        let steps = diff(&wanted(&["pbone"]), &present).unwrap();
        assert_eq!(steps, [NetStep::BringUp, NetStep::AddGateway, NetStep::Masquerade]);
    }

    #[test]
    fn only_our_own_links_without_a_pod_are_leftovers() {
        let mut present = running();
        present.links.push(link(5, "pbtwo", LinkKind::Veth, Some(3)));
        present.links.push(link(6, "pbthree", LinkKind::Veth, Some(9)));
        present.links.push(link(7, "veth123", LinkKind::Veth, Some(3)));
        present.links.push(link(8, "pbond0", LinkKind::Plain, Some(3)));
        let expected = [NetStep::RemoveLink { index: 5, name: "pbtwo".into() }];
        assert_eq!(leftovers(&wanted(&["pbone"]), &present), expected);
    }

    #[test]
    fn a_foreign_link_of_the_name_is_a_conflict() {
        for kind in [LinkKind::Bridge, LinkKind::Veth, LinkKind::Plain] {
            let mut present = host();
            present.links.push(link(3, "podbox0", kind, None));
            let told = diff(&wanted(&[]), &present).unwrap_err().to_string();
            assert!(told.contains("podbox0") && told.contains("--bridge"), "{told}");
        }
    }

    #[test]
    fn an_overlapping_address_or_route_is_a_conflict() {
        for other in ["10.85.3.1/24", "10.0.0.5/8", "10.85.255.255/32", "10.85.0.1/16"] {
            let mut present = host();
            present.addresses.push(range(other, 2));
            let told = diff(&wanted(&[]), &present).unwrap_err().to_string();
            assert!(told.contains(other) && told.contains("eth0") && told.contains("--pod-cidr"), "{told}");
        }
        let mut present = host();
        present.routes.push(Range { net: net("10.85.7.0/24"), link: None, metric: 0 });
        assert!(matches!(diff(&wanted(&[]), &present), Err(Conflict::Range { .. })));
    }

    #[test]
    fn the_best_default_route_tells_the_mtu() {
        let mut present = host();
        assert_eq!(present.uplink_mtu(), 1500);
        let tunnel = link(3, "wg0", LinkKind::Virtual, None);
        present.links.push(Link { mtu: 1420, ..tunnel });
        present.routes.push(range("0.0.0.0/0", 3));
        present.routes[0].metric = 100;
        assert_eq!(present.uplink_mtu(), 1420);
        present.routes.clear();
        assert_eq!(present.uplink_mtu(), DEFAULT_MTU);
    }

    #[test]
    fn forwarding_stays_on_where_another_may_need_it() {
        assert_eq!(forwarding_user(&wanted(&[]), &running()), None);
        let mut present = running();
        present.links.push(link(5, "docker0", LinkKind::Bridge, None));
        assert_eq!(forwarding_user(&wanted(&[]), &present), Some("docker0"));
    }
}
