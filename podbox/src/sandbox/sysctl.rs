//! Kernel settings by name: which file one is, and which a pod may ask for. Pure.
//!
//! A pod's settings must be those of its own network or IPC namespace. Of these some are safe; the others are for the
//! node to allow, by name or by what their names begin with.

use std::path::PathBuf;

/// What no pod can harm another by.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Which namespace a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ipc,
    Net,
}

/// The setting with dots between its parts. As sysctl(8) has it, the first separator tells which one was meant.
fn normal(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// A setting's file.
pub fn path(name: &str) -> PathBuf {
    let name = normal(name);
    let parts = name.split('.').map(|part| part.replace('/', "."));
    // What leads elsewhere is no name of a setting.
    std::iter::once("/proc/sys".to_owned()).chain(parts.filter(|part| part != ".." && part != ".")).collect()
}

fn whose(name: &str) -> Option<Whose> {
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name.starts_with("net.") {
        Some(Whose::Net)
    } else if name == "kernel.sem" || ipc.iter().any(|start| name.starts_with(start)) {
        Some(Whose::Ipc)
    } else {
        None
    }
}

/// Why a pod may not set this; `allowed` is what the node allows beside the safe ones. In the kubelet's words.
pub fn forbidden(name: &str, allowed: &[String], host_network: bool, host_ipc: bool) -> Option<String> {
    let name = normal(name);
    let given = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => normal(pattern) == name,
    };
    let whose = whose(&name).filter(|_| SAFE.contains(&name.as_str()) || allowed.iter().any(given));
    match whose {
        None => Some(format!("{name:?} not allowlisted")),
        Some(Whose::Net) if host_network => Some(format!("{name:?} not allowed with host net enabled")),
        Some(Whose::Ipc) if host_ipc => Some(format!("{name:?} not allowed with host ipc enabled")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dots_or_slashes() {
        for (name, file) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("kernel/shm_rmid_forced", "/proc/sys/kernel/shm_rmid_forced"),
            ("net/ipv4/conf/eth0.100/forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding"),
            ("net.ipv4.conf.eth0/100.forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding"),
            ("net.//.//.x", "/proc/sys/net/x"),
        ] {
            assert_eq!(path(name), PathBuf::from(file), "{name}");
        }
    }

    #[test]
    fn only_safe_and_allowed_ones_of_the_pods_own_namespaces() {
        let allowed = ["net.core.somaxconn".to_owned(), "kernel.msg*".to_owned(), "vm.*".to_owned()];
        #[track_caller]
        fn check(name: &str, allowed: &[String], host: bool, why: Option<&str>) {
            assert_eq!(forbidden(name, allowed, host, host).as_deref(), why, "{name}");
        }
        check("net.ipv4.tcp_syncookies", &[], false, None);
        check("net/ipv4/tcp_syncookies", &[], false, None);
        check("net.core.somaxconn", &[], false, Some("\"net.core.somaxconn\" not allowlisted"));
        check("net.core.somaxconn", &allowed, false, None);
        check("kernel.msgmax", &allowed, false, None);
        check("vm.swappiness", &allowed, false, Some("\"vm.swappiness\" not allowlisted"));
        check(
            "net.core.somaxconn",
            &allowed,
            true,
            Some("\"net.core.somaxconn\" not allowed with host net enabled"),
        );
        check(
            "kernel.shm_rmid_forced",
            &[],
            true,
            Some("\"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
        );
    }
}
