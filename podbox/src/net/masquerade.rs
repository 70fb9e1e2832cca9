//! Masquerade: what pods send out of the node carries the node's address. One nftables table of podbox's own, which also
//! has the maps of ports that lead to pods (`nat`).
//!
//! What reaches a pod by one of the node's ports and comes from a pod, or from the node's own loopback, gets the bridge's
//! address: the answer would not come back the same way otherwise. Loopback addresses are let past the bridge for that, and
//! a guard sees to it that nobody but this node sends to one, pods and neighbours on its network alike: ports would be
//! translated before the kernel looks for such senders. Another guard keeps the bridge's own address for this node and its pods.
//!
//! Invariants: a pod's port takes nothing that is not for an address of the node, whatever address the pod names; and the
//! Service of the API, which has none of those, is led to for this node and its pods only.
//!
//! The table goes to the kernel by `nft -f -`, once at start, as one transaction that replaces whatever an earlier
//! run left. By netlink directly it would be a few hundred lines of expressions in bytes; as text it is what
//! `nft list table inet podbox` shows, and what an administrator can read. Nothing per pod is in it but ports of the
//! node: starting any other pod runs no program.

use super::nat;
use crate::sandbox::spec::Forward;
use ipnet::Ipv4Net;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Removes the table, there or not.
pub const REMOVE: &str = "table inet podbox\ndelete table inet podbox\n";

/// Why the table was not written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no program to write it with.
    #[error("the program nft is not on the PATH: install it (apt-get install nftables)")]
    Absent,
    /// It could not be run.
    #[error("running nft failed")]
    Run(#[source] io::Error),
    /// It, or the kernel, refused.
    #[error("nft refused a change to podbox's table: {0}")]
    Refused(String),
}

/// The table for a pod range, with these ports of the node, each by the pod's address. Traffic among pods, and to multicast
/// groups, keeps its source.
pub fn table(bridge: &str, gateway: Ipv4Net, forwards: &[(Ipv4Addr, Forward)]) -> String {
    let (cidr, own) = (gateway.trunc(), gateway.addr());
    let ports = map(nat::PORTS, "inet_proto . inet_service", forwards);
    let addressed = map(nat::ADDRESSED, "ipv4_addr . inet_proto . inet_service", forwards);
    let services = map(nat::SERVICES, "ipv4_addr . inet_proto . inet_service", &[]);
    format!(
        "{REMOVE}\
         table inet podbox {{\n\
         {ports}{addressed}{services}\
         \tchain guard {{\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname != \"lo\" ip daddr 127.0.0.0/8 drop\n\
         \t\tiifname != {{ \"lo\", \"{bridge}\" }} ip daddr {own} drop\n\
         \t}}\n\
         \tchain ports_of_node {{\n\
         \t\tfib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @{ADDRESSED}\n\
         \t\tfib daddr type local dnat ip to meta l4proto . th dport map @{PORTS}\n\
         \t}}\n\
         \tchain services {{\n\
         \t\tdnat ip to ip daddr . meta l4proto . th dport map @{SERVICES}\n\
         \t}}\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority -100; policy accept;\n\
         \t\tiifname \"{bridge}\" meta nfproto ipv4 meta l4proto {{ tcp, udp, sctp }} jump services\n\
         \t\tmeta nfproto ipv4 meta l4proto {{ tcp, udp, sctp }} jump ports_of_node\n\
         \t}}\n\
         \tchain output {{\n\
         \t\ttype nat hook output priority -100; policy accept;\n\
         \t\tmeta nfproto ipv4 meta l4proto {{ tcp, udp, sctp }} jump services\n\
         \t\tmeta nfproto ipv4 meta l4proto {{ tcp, udp, sctp }} jump ports_of_node\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tct status dnat ip saddr {{ {cidr}, 127.0.0.0/8 }} oifname \"{bridge}\" masquerade\n\
         \t\tip saddr {cidr} ip daddr != {{ {cidr}, 224.0.0.0/4 }} masquerade fully-random\n\
         \t}}\n\
         }}\n",
        ADDRESSED = nat::ADDRESSED,
        PORTS = nat::PORTS,
        SERVICES = nat::SERVICES,
    )
}

fn map(name: &str, key: &str, forwards: &[(Ipv4Addr, Forward)]) -> String {
    let own = forwards.iter().filter(|(_, forward)| nat::map(forward) == name);
    let elements: Vec<String> = own.map(|(target, forward)| nat::element(*target, forward)).collect();
    let elements = match elements.is_empty() {
        true => String::new(),
        false => format!("\t\telements = {{ {} }}\n", elements.join(", ")),
    };
    format!("\tmap {name} {{\n\t\ttype {key} : ipv4_addr . inet_service\n{elements}\t}}\n")
}

/// Hands a ruleset to nft, for the calling thread's network namespace. Blocking.
pub fn apply(ruleset: &str) -> Result<(), NftError> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NftError::Absent,
            _ => NftError::Run(error),
        })?;
    // A refusal closes the pipe; what nft says about it is the better error.
    let written = nft.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(ruleset.as_bytes()));
    let output = nft.wait_with_output().map_err(NftError::Run)?;
    if !output.status.success() {
        return Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    written.map_err(NftError::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_as_a_whole() {
        let forward = Forward { address: [0; 4].into(), protocol: "UDP".into(), port: 53, target_port: 5353 };
        let table = table("podbox0", "10.85.0.1/16".parse().unwrap(), &[([10, 85, 0, 7].into(), forward)]);
        assert!(table.starts_with(REMOVE), "{table}");
        assert!(
            table.contains("elements = { udp . 53 : 10.85.0.7 . 5353 }")
                && table
                    .contains("ip saddr 10.85.0.0/16 ip daddr != { 10.85.0.0/16, 224.0.0.0/4 } masquerade"),
            "{table}"
        );
    }
}
