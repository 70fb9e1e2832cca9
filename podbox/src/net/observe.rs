//! The host's network as it is: every link, IPv4 address and route of this namespace, in `net::diff`'s words.

use super::diff::{Link, LinkKind, Present, Range};
use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};

/// Asks the kernel for everything.
pub async fn observe(handle: &Handle, forwarding: bool) -> Result<Present, rtnetlink::Error> {
    let links: Vec<_> = handle.link().get().execute().try_collect().await?;
    let mut addresses = handle.address().get();
    addresses.message_mut().header.family = AddressFamily::Inet;
    let addresses: Vec<_> = addresses.execute().try_collect().await?;
    let every_route = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<_> = handle.route().get(every_route).execute().try_collect().await?;
    Ok(Present {
        links: links.into_iter().map(link).collect(),
        addresses: addresses.iter().filter_map(address).collect(),
        routes: routes.iter().filter_map(route).collect(),
        forwarding,
    })
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Plain,
        controller: None,
        hardware: Vec::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Address(bytes) => link.hardware = bytes,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(infos) => link.kind = kind(&infos),
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        None => LinkKind::Plain,
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::Veth) => LinkKind::Veth,
        Some(_) => LinkKind::Virtual,
    }
}

fn address(message: &AddressMessage) -> Option<Range> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })?;
    let net = Ipv4Net::new(address, message.header.prefix_len).ok()?;
    Some(Range { net, link: Some(message.header.index), metric: 0 })
}

/// A route to other hosts. The host's own addresses and broadcasts are in the local table: they say nothing that
/// the addresses do not.
fn route(message: &RouteMessage) -> Option<Range> {
    let header = &message.header;
    if header.table == libc::RT_TABLE_LOCAL || matches!(header.kind, RouteType::Local | RouteType::Broadcast)
    {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut link, mut metric) = (None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination, header.destination_prefix_length).ok()?;
    Some(Range { net, link, metric })
}
