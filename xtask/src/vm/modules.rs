//! Which kernel modules the initramfs carries, in the order in which they must be loaded.
//!
//! Only the wanted ones are named here; what they depend on, and whether a kernel has them built in, is read from that
//! kernel's own `modules.dep` and `modules.builtin`. Everything else is loaded on request once the root is in place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The modules every virtual machine loads.
const WANTED: &[&str] = &[
    // The machine itself: its root, its ports, its writable layer.
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
    // Pod networks.
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "tun",
    // A checksum that nftables asks the crypto layer for by name: no dependency tells of it.
    "crc32c_generic",
    // nftables and what rules, ours and CNI plugins', are made of.
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_ct",
    "nft_redir",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_compat",
    "xt_MASQUERADE",
    "xt_comment",
    "xt_conntrack",
    // Programs on a link, kernels without tcx; listening sockets by netlink.
    "sch_ingress",
    "cls_bpf",
    "tcp_diag",
    "inet_diag",
];

/// The files below `dir` (a `lib/modules/VERSION`) to be loaded, in order.
///
/// A wanted module that a kernel neither has nor has built in is left out: kernels differ in what they call modules.
pub fn in_load_order(dir: &Path) -> Result<Vec<PathBuf>> {
    let file = dir.join("modules.dep");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}; `cargo xtask setup` makes it", file.display()))?;
    Ok(order(WANTED, &text).into_iter().map(|path| dir.join(path)).collect())
}

/// The name by which the kernel knows the module in `path`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The paths of `wanted` and all they depend on, each after its own dependencies.
fn order(wanted: &[&str], modules_dep: &str) -> Vec<String> {
    // `PATH: DEPENDENCY…`, the dependencies nearest first: the last one is loaded first.
    let modules: BTreeMap<String, (&str, Vec<&str>)> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name(path), (path, needs.split_whitespace().rev().collect())))
        .collect();
    let mut ordered: Vec<String> = Vec::new();
    for (path, needs) in wanted.iter().filter_map(|module| modules.get(*module)) {
        for file in needs.iter().chain([path]) {
            if !ordered.iter().any(|seen| seen == file) {
                ordered.push((*file).to_owned());
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::order;

    const DEP: &str = "kernel/net/a/br-idge.ko.xz: kernel/net/stp.ko.xz kernel/net/llc.ko.xz\n\
                       kernel/net/stp.ko.xz: kernel/net/llc.ko.xz\n\
                       kernel/net/llc.ko.xz:\n\
                       kernel/net/veth.ko:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        assert_eq!(
            order(&["stp", "br_idge", "veth"], DEP),
            [
                "kernel/net/llc.ko.xz",
                "kernel/net/stp.ko.xz",
                "kernel/net/a/br-idge.ko.xz",
                "kernel/net/veth.ko"
            ]
        );
    }

    #[test]
    fn what_a_kernel_does_not_have_as_a_module_is_left_out() {
        assert!(order(&["overlay"], DEP).is_empty());
    }
}
