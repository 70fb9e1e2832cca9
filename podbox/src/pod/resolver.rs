//! `/etc/resolv.conf` of a pod: what its `dnsPolicy` gives it, and its `dnsConfig` adds, as the kubelet merges them.
//! Pure: the host's own file is handed in.
//!
//! With `Default` a pod asks the servers that the host asks. A server on the host's loopback cannot be reached from a
//! pod; where systemd-resolved listens there, the servers behind it are the ones to ask. `ClusterFirst` is the same
//! where the node knows of no cluster DNS, and in the host's network.

use crate::api::identity::PodRef;
use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use std::fmt::Write;
use std::net::IpAddr;

/// What the C library reads; it ignores further ones.
const NAME_SERVERS: usize = 3;
/// Kubernetes' bounds of a search list.
const SEARCHES: usize = 32;
const SEARCH_CHARS: usize = 2048;

/// A resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Whom to ask.
    pub servers: Vec<IpAddr>,
    /// What to try after a name that is not whole.
    pub searches: Vec<String>,
    /// `NAME` or `NAME:VALUE`.
    pub options: Vec<String>,
}

/// The cluster's DNS, as the node is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDns {
    /// Its servers; none where there is no cluster DNS.
    pub servers: Vec<IpAddr>,
    /// What all names in the cluster end with.
    pub domain: String,
}

impl Default for ClusterDns {
    fn default() -> Self {
        ClusterDns { servers: Vec::new(), domain: "cluster.local".to_owned() }
    }
}

impl Resolver {
    /// What the host's file has that is of use in a pod.
    pub fn of_host(text: &str) -> Resolver {
        // Of several, the last one counts; `domain` is an old word for a single one.
        let search = directives(text).filter(|(word, _)| matches!(*word, "search" | "domain")).last();
        let options = directives(text).filter(|(word, _)| *word == "options");
        Resolver {
            servers: servers(text).collect(),
            searches: search.map(|(_, domains)| words(domains)).unwrap_or_default(),
            options: options.flat_map(|(_, options)| words(options)).collect(),
        }
    }

    /// A pod's, by its policy and what it adds.
    pub fn of_pod(spec: &PodSpec, namespace: &str, host: &Resolver, cluster: &ClusterDns) -> Resolver {
        let mut own = Resolver::whole(spec, namespace, host, cluster);
        own.fit();
        own
    }

    /// What a pod does not get of what it asks for, by the kubelet's reasons and in its words. That there is no cluster DNS
    /// is told only to who asks for it by name: every pod that says nothing has `ClusterFirst`.
    pub fn left_out(
        spec: &PodSpec,
        PodRef { namespace, name, uid }: &PodRef,
        host: &Resolver,
        cluster: &ClusterDns,
    ) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if spec.dns_policy.as_deref() == Some("ClusterFirstWithHostNet") && cluster.servers.is_empty() {
            let pod = format!("{name}_{namespace}({uid})");
            let why = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
                       Falling back to \"Default\" policy.";
            all.push(("MissingClusterDNS", format!("pod: {pod:?}. {why}")));
        }
        let whole = Resolver::whole(spec, namespace, host, cluster);
        let mut own = whole.clone();
        own.fit();
        if own.servers != whole.servers {
            let servers: Vec<String> = own.servers.iter().map(ToString::to_string).collect();
            let what = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ";
            all.push(("DNSConfigForming", format!("{what}{}", servers.join(" "))));
        }
        if own.searches != whole.searches {
            let what = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ";
            all.push(("DNSConfigForming", format!("{what}{}", own.searches.join(" "))));
        }
        all
    }

    fn whole(spec: &PodSpec, namespace: &str, host: &Resolver, cluster: &ClusterDns) -> Resolver {
        let host_network = spec.host_network == Some(true);
        let mut own = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
            "None" => Resolver::default(),
            "ClusterFirst" if !host_network && !cluster.servers.is_empty() => {
                Resolver::of_cluster(namespace, host, cluster)
            }
            "ClusterFirstWithHostNet" if !cluster.servers.is_empty() => {
                Resolver::of_cluster(namespace, host, cluster)
            }
            _ => host.clone(),
        };
        if let Some(config) = &spec.dns_config {
            own.add(config);
        }
        own
    }

    fn of_cluster(namespace: &str, host: &Resolver, cluster: &ClusterDns) -> Resolver {
        let domain = &cluster.domain;
        let searches = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        Resolver {
            servers: cluster.servers.clone(),
            searches: distinct(searches.into_iter().chain(host.searches.iter().cloned())),
            options: vec!["ndots:5".to_owned()],
        }
    }

    fn add(&mut self, config: &PodDNSConfig) {
        let servers = config.nameservers.iter().flatten().filter_map(|server| server.parse().ok());
        self.servers = distinct(std::mem::take(&mut self.servers).into_iter().chain(servers));
        let searches = config.searches.iter().flatten().cloned();
        self.searches = distinct(std::mem::take(&mut self.searches).into_iter().chain(searches));
        for option in config.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else { continue };
            let text = match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            };
            let named = |one: &&mut String| one.split(':').next() == Some(name);
            match self.options.iter_mut().find(named) {
                Some(there) => *there = text,
                None => self.options.push(text),
            }
        }
    }

    /// Cuts off what no resolver would read.
    fn fit(&mut self) {
        self.servers.truncate(NAME_SERVERS);
        self.searches.truncate(SEARCHES);
        while self.searches.join(" ").len() > SEARCH_CHARS {
            self.searches.pop();
        }
    }

    /// As a file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            let _ = writeln!(text, "search {}", self.searches.join(" "));
        }
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

/// Each once, in the order of their first mention.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
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

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, pod: &str) {
        assert_eq!(Resolver::of_host(host).text(), pod, "from {host:?}");
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

    /// The file of a pod with this spec, on a host with one server and one search domain.
    #[track_caller]
    fn check_pod(spec: &str, cluster: bool, expected: &str) {
        let spec: PodSpec = serde_yaml::from_str(spec).unwrap();
        let host = Resolver::of_host("search host.example\nnameserver 192.0.2.1\noptions edns0\n");
        let servers = if cluster { vec![[10, 96, 0, 10].into()] } else { Vec::new() };
        let cluster = ClusterDns { servers, ..ClusterDns::default() };
        assert_eq!(Resolver::of_pod(&spec, "team", &host, &cluster).text(), expected, "{spec:?}");
    }

    #[test]
    fn policies_choose_the_base_and_the_pod_adds_to_it() {
        let host = "search host.example\nnameserver 192.0.2.1\noptions edns0\n";
        let in_cluster = "search team.svc.cluster.local svc.cluster.local cluster.local host.example\n\
                          nameserver 10.96.0.10\noptions ndots:5\n";
        check_pod("{containers: []}", false, host);
        check_pod("{containers: []}", true, in_cluster);
        check_pod("{containers: [], dnsPolicy: Default}", true, host);
        check_pod("{containers: [], hostNetwork: true, dnsPolicy: ClusterFirst}", true, host);
        check_pod(
            "{containers: [], hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet}",
            true,
            in_cluster,
        );
        check_pod(
            "{containers: [], dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1, 1.1.1.1], searches: [a.b], \
             options: [{name: ndots, value: '2'}, {name: edns0}]}}",
            true,
            "search a.b\nnameserver 1.1.1.1\noptions ndots:2 edns0\n",
        );
        check_pod(
            "{containers: [], dnsConfig: {nameservers: [1.1.1.1], searches: [host.example, a.b], \
             options: [{name: ndots, value: '1'}]}}",
            true,
            "search team.svc.cluster.local svc.cluster.local cluster.local host.example a.b\n\
             nameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:1\n",
        );
    }

    #[test]
    fn only_as_much_as_the_resolver_reads() {
        let more: Vec<String> = (1..6).map(|i| format!("192.0.2.{i}")).collect();
        let searches: Vec<String> = (0..40).map(|i| format!("d{i}.example")).collect();
        let spec = format!(
            "{{containers: [], dnsPolicy: None, dnsConfig: {{nameservers: {more:?}, searches: {searches:?}}}}}"
        );
        let spec: PodSpec = serde_yaml::from_str(&spec).unwrap();
        let own = Resolver::of_pod(&spec, "n", &Resolver::default(), &ClusterDns::default());
        assert_eq!((own.servers.len(), own.searches.len()), (3, 32));
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let left_out = |spec| Resolver::left_out(spec, &pod, &Resolver::default(), &ClusterDns::default());
        let told = left_out(&spec);
        let servers = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
                       192.0.2.1 192.0.2.2 192.0.2.3";
        assert_eq!(told[0], ("DNSConfigForming", servers.to_owned()));
        assert!(told[1].1.ends_with(" d30.example d31.example"), "{told:?}");
        let named = serde_yaml::from_str("{containers: [], dnsPolicy: ClusterFirstWithHostNet}").unwrap();
        assert_eq!(left_out(&named)[0].0, "MissingClusterDNS");
        assert_eq!(left_out(&serde_yaml::from_str("{containers: []}").unwrap()), []);
    }
}
