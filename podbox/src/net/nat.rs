//! Packets to the node's own addresses that are for somebody else: pods' `hostPort`s, and the Service of the API. They are
//! elements of maps in podbox's one nftables table, which `masquerade` writes; here they are added and removed.
//!
//! Like the table they go to the kernel by `nft`: a few milliseconds for a pod with such ports, nothing for any other.

use super::masquerade::{self, NftError};
use crate::sandbox::spec::Forward;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Ports of all of the node's addresses.
pub const PORTS: &str = "ports";
/// Ports of one address.
pub const ADDRESSED: &str = "addressed";
/// Services, whose addresses are no node's: no pod gets into this one.
pub const SERVICES: &str = "services";

/// Sends what comes to these ports on to `target`. Blocking. All or none.
pub fn add(target: Ipv4Addr, forwards: &[Forward]) -> Result<(), NftError> {
    masquerade::apply(&commands("add", target, forwards))
}

/// Does so no more. Blocking. What is not there is removed.
pub fn remove(target: Ipv4Addr, forwards: &[Forward]) -> Result<(), NftError> {
    forwards.iter().try_for_each(|forward| {
        match masquerade::apply(&commands("delete", target, std::slice::from_ref(forward))) {
            Err(NftError::Refused(why)) if why.contains("No such file or directory") => Ok(()),
            done => done,
        }
    })
}

/// Sends what this node and its pods have for a Service by TCP on to `target`. Blocking.
pub fn lead(service: SocketAddrV4, target: SocketAddrV4) -> Result<(), NftError> {
    let at = |place: SocketAddrV4, between: &str| format!("{}{between} . {}", place.ip(), place.port());
    let element = format!("{} : {}", at(service, " . tcp"), at(target, ""));
    masquerade::apply(&format!("add element inet podbox {SERVICES} {{ {element} }}\n"))
}

fn commands(verb: &str, target: Ipv4Addr, forwards: &[Forward]) -> String {
    forwards.iter().fold(String::new(), |mut text, forward| {
        let _ =
            writeln!(text, "{verb} element inet podbox {} {{ {} }}", map(forward), element(target, forward));
        text
    })
}

/// Which map a port is in.
pub fn map(forward: &Forward) -> &'static str {
    if forward.address.is_unspecified() { PORTS } else { ADDRESSED }
}

/// As an element of its map.
pub fn element(target: Ipv4Addr, forward: &Forward) -> String {
    let Forward { address, protocol, port, target_port } = forward;
    let protocol = protocol.to_lowercase();
    let key = match address.is_unspecified() {
        true => format!("{protocol} . {port}"),
        false => format!("{address} . {protocol} . {port}"),
    };
    format!("{key} : {target} . {target_port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_elements_of_the_map_for_their_address() {
        let forward = |address: [u8; 4]| Forward {
            address: address.into(),
            protocol: "TCP".into(),
            port: 8080,
            target_port: 80,
        };
        let text = commands("add", [10, 85, 0, 2].into(), &[forward([0; 4]), forward([127, 0, 0, 1])]);
        assert_eq!(
            text,
            "add element inet podbox ports { tcp . 8080 : 10.85.0.2 . 80 }\n\
             add element inet podbox addressed { 127.0.0.1 . tcp . 8080 : 10.85.0.2 . 80 }\n"
        );
    }
}
