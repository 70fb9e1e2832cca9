//! Masquerade: what pods send out of the node carries the node's address. One nftables table of podbox's own.
//!
//! The table goes to the kernel by `nft -f -`, once at start, as one transaction that replaces whatever an earlier
//! run left. By netlink directly it would be a few hundred lines of expressions in bytes; as text it is what
//! `nft list table inet podbox` shows, and what an administrator can read. Nothing per pod is in it: starting a
//! pod runs no program.

use ipnet::Ipv4Net;
use std::io::{self, Write};
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
    #[error("nft refused the masquerade table: {0}")]
    Refused(String),
}

/// The table for a pod range. Traffic among pods, and to multicast groups, keeps its source.
pub fn table(cidr: Ipv4Net) -> String {
    format!(
        "{REMOVE}\
         table inet podbox {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {cidr} ip daddr != {{ {cidr}, 224.0.0.0/4 }} masquerade fully-random\n\
         \t}}\n\
         }}\n"
    )
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
        let table = table("10.85.0.0/16".parse().unwrap());
        assert!(table.starts_with(REMOVE), "{table}");
        assert!(
            table.contains("ip saddr 10.85.0.0/16 ip daddr != { 10.85.0.0/16, 224.0.0.0/4 } masquerade"),
            "{table}"
        );
    }
}
