//! The files by which a pod finds names: `/etc/resolv.conf` and `/etc/hosts`, as the kubelet writes them. Pure:
//! the host's own files are handed in.
//!
//! `dnsPolicy: Default`: a pod asks the servers that the host asks. A server on the host's loopback cannot be
//! reached from a pod; where systemd-resolved listens there, the servers behind it are the ones to ask.

use std::fmt::Write;
use std::net::IpAddr;

/// What the C library reads; it ignores further ones.
const NAME_SERVERS: usize = 3;
/// Whether a resolver configuration names a server that pods can reach.
pub fn serves_pods(host: &str) -> bool {
    servers(host).next().is_some()
}

/// A pod's `/etc/resolv.conf`, from the host's.
pub fn pod_resolv_conf(host: &str) -> String {
    let mut pod = String::new();
    // Of several, the last one counts; `domain` is an old word for a single one.
    let search = directives(host).filter(|(word, _)| matches!(*word, "search" | "domain")).last();
    if let Some((_, domains)) = search.filter(|(_, domains)| !domains.is_empty()) {
        let _ = writeln!(pod, "search {}", words(domains));
    }
    for server in servers(host).take(NAME_SERVERS) {
        let _ = writeln!(pod, "nameserver {server}");
    }
    let options: Vec<_> =
        directives(host).filter(|(word, _)| *word == "options").map(|(_, options)| words(options)).collect();
    if !options.is_empty() {
        let _ = writeln!(pod, "options {}", options.join(" "));
    }
    pod
}

/// Servers that a pod can reach. A scope (`%eth0`) names a link of the host's, which the pod does not have.
fn servers(host: &str) -> impl Iterator<Item = IpAddr> {
    directives(host)
        .filter(|(word, _)| *word == "nameserver")
        .filter_map(|(_, address)| address.split_whitespace().next()?.parse::<IpAddr>().ok())
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
}

fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(word, rest)| (word, rest.trim()))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Names that a pod adds to its `/etc/hosts`: `hostAliases`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// A pod's `/etc/hosts`. `domain` is what follows the host name when the pod has a `subdomain`.
pub fn pod_hosts(address: IpAddr, hostname: &str, domain: Option<&str>, aliases: &[HostAlias]) -> String {
    let mut hosts = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let _ = match domain {
        Some(domain) => writeln!(hosts, "{address}\t{hostname}.{domain}\t{hostname}"),
        None => writeln!(hosts, "{address}\t{hostname}"),
    };
    append_aliases(&mut hosts, aliases);
    hosts
}

/// `/etc/hosts` of a pod with `hostNetwork: true`: the host's own, and the pod's aliases.
pub fn host_network_hosts(host: &str, aliases: &[HostAlias]) -> String {
    let mut hosts = format!("# Kubernetes-managed hosts file (host network).\n{host}");
    append_aliases(&mut hosts, aliases);
    hosts
}

fn append_aliases(hosts: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    hosts.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let _ = writeln!(hosts, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, pod: &str) {
        assert_eq!(pod_resolv_conf(host), pod, "from {host:?}");
    }

    #[test]
    fn a_pod_asks_the_servers_that_the_host_asks() {
        check("nameserver 192.0.2.1\n", "nameserver 192.0.2.1\n");
        check(
            "# ours\n; too\nsearch old\n  search  a.example \tb.example\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\noptions edns0\noptions  ndots:2\n",
            "search a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions edns0 ndots:2\n",
        );
        check("domain example.org\nnameserver 192.0.2.1", "search example.org\nnameserver 192.0.2.1\n");
    }

    #[test]
    fn what_a_pod_cannot_reach_is_left_out() {
        check("nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n", "nameserver 192.0.2.1\n");
        check("nameserver fe80::1%eth0\nnameserver\nnonsense\n", "");
        check("", "");
    }

    #[test]
    fn only_as_many_servers_as_the_resolver_reads() {
        let host: String = (1..6).map(|i| format!("nameserver 192.0.2.{i}\n")).collect();
        check(&host, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    }

    #[test]
    fn hosts_as_the_kubelet_writes_them() {
        let address = IpAddr::from([10, 85, 0, 2]);
        let plain = pod_hosts(address, "web-0", None, &[]);
        assert!(plain.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(plain.ends_with("fe00::2\tip6-allrouters\n10.85.0.2\tweb-0\n"), "{plain}");
        let alias = HostAlias { ip: [192, 0, 2, 7].into(), hostnames: vec!["db".into(), "db.local".into()] };
        let full = pod_hosts(address, "web-0", Some("web.default.svc.cluster.local"), &[alias]);
        assert!(
            full.ends_with(
                "10.85.0.2\tweb-0.web.default.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.7\tdb\tdb.local\n"
            ),
            "{full}"
        );
    }
}
