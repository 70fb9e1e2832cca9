//! What a pod is called: its host name, the domain that its `subdomain` gives it, and `/etc/hosts`, as the kubelet
//! writes it. Pure: the host's own file is handed in.

use k8s_openapi::api::core::v1::PodSpec;
use std::fmt::Write;
use std::net::IpAddr;

/// A label's length at most: a longer name is cut.
const LABEL: usize = 63;
/// What the kernel takes for a host name.
const LONGEST: usize = 64;

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The UTS namespace's host name.
    pub hostname: String,
    /// The name in `/etc/hosts`.
    short: String,
    /// What follows it there when the pod has a `subdomain`.
    domain: Option<String>,
}

impl Names {
    /// Of a pod called `name`; `node` is what its node is called, whose name it has in the node's network.
    pub fn of(
        spec: &PodSpec,
        name: &str,
        namespace: &str,
        node: &str,
        cluster_domain: &str,
    ) -> Result<Names, String> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(instead) = given(&spec.hostname_override) {
            let hostname = cut(&instead, LONGEST);
            return Ok(Names { short: hostname.clone(), hostname, domain: None });
        }
        let short = cut(spec.hostname.as_deref().filter(|text| !text.is_empty()).unwrap_or(name), LABEL);
        let domain = given(&spec.subdomain).map(|sub| format!("{sub}.{namespace}.svc.{cluster_domain}"));
        let whole = match &domain {
            Some(domain) if spec.set_hostname_as_fqdn == Some(true) => Some(format!("{short}.{domain}")),
            _ => None,
        };
        if let Some(long) = whole.as_ref().filter(|whole| whole.len() > LONGEST) {
            return Err(format!(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN {long} is too long ({LONGEST} is the max, {} characters requested)",
                long.len()
            ));
        }
        let hostname = match whole {
            _ if spec.host_network == Some(true) => cut(node, LONGEST),
            Some(whole) => whole,
            None => short.clone(),
        };
        Ok(Names { hostname, short, domain })
    }

    /// A pod's `/etc/hosts`. `api` is the API's name where no cluster DNS would tell it.
    pub fn hosts(&self, address: IpAddr, api: Option<&HostAlias>, aliases: &[HostAlias]) -> String {
        let mut hosts = String::from(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        let short = &self.short;
        let _ = match &self.domain {
            Some(domain) => writeln!(hosts, "{address}\t{short}.{domain}\t{short}"),
            None => writeln!(hosts, "{address}\t{short}"),
        };
        if let Some(api) = api {
            append_alias(&mut hosts, api);
        }
        append_aliases(&mut hosts, aliases);
        hosts
    }
}

/// No longer than `most`, and without what a cut leaves at the end.
fn cut(name: &str, most: usize) -> String {
    name.chars().take(most).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// Names that a pod adds to its `/etc/hosts`: `hostAliases`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// The pod's aliases; one without an address is an error.
pub fn aliases(spec: &PodSpec) -> Result<Vec<HostAlias>, String> {
    let aliases = spec.host_aliases.iter().flatten();
    aliases
        .map(|alias| {
            let ip = alias.ip.parse();
            let ip = ip.map_err(|_| format!("hostAliases: {:?} is not an address", alias.ip))?;
            Ok(HostAlias { ip, hostnames: alias.hostnames.clone().unwrap_or_default() })
        })
        .collect()
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
        append_alias(hosts, alias);
    }
}

fn append_alias(hosts: &mut String, alias: &HostAlias) {
    let _ = writeln!(hosts, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 85, 0, 2));

    fn names(spec: &str, name: &str) -> Result<Names, String> {
        let spec: PodSpec = serde_yaml::from_str(&format!("{{containers: [], {spec}}}")).unwrap();
        Names::of(&spec, name, "team", "node-1", "cluster.local")
    }

    #[track_caller]
    fn check(spec: &str, hostname: &str, last: &str) {
        let names = names(spec, "web-0").unwrap();
        assert_eq!(names.hostname, hostname, "{spec}");
        let hosts = names.hosts(ADDRESS, None, &[]);
        assert_eq!(hosts.lines().last(), Some(last), "{spec}");
    }

    #[test]
    fn a_pod_is_called_as_its_spec_says() {
        check("", "web-0", "10.85.0.2\tweb-0");
        check("hostname: db", "db", "10.85.0.2\tdb");
        check("hostname: db, subdomain: s", "db", "10.85.0.2\tdb.s.team.svc.cluster.local\tdb");
        let whole = "subdomain: s, setHostnameAsFQDN: true";
        let fqdn = "web-0.s.team.svc.cluster.local";
        check(whole, fqdn, &format!("10.85.0.2\t{fqdn}\tweb-0"));
        check("setHostnameAsFQDN: true", "web-0", "10.85.0.2\tweb-0");
        check("hostnameOverride: a.b.c, subdomain: s", "a.b.c", "10.85.0.2\ta.b.c");
        check("hostNetwork: true", "node-1", "10.85.0.2\tweb-0");
    }

    #[test]
    fn long_names_are_cut_and_long_domains_refused() {
        let long = format!("{}-x", "a".repeat(62));
        assert_eq!(names("", &long).unwrap().hostname, "a".repeat(62));
        let refused = names("subdomain: s, setHostnameAsFQDN: true", &"a".repeat(50)).unwrap_err();
        assert!(
            refused.starts_with("failed to construct FQDN from pod hostname and cluster domain"),
            "{refused}"
        );
    }

    #[test]
    fn hosts_as_the_kubelet_writes_them() {
        let names = names("subdomain: web", "web-0").unwrap();
        let plain = names.hosts(ADDRESS, None, &[]);
        assert!(plain.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        let alias = HostAlias { ip: [192, 0, 2, 7].into(), hostnames: vec!["db".into(), "db.local".into()] };
        let api = HostAlias { ip: [10, 96, 0, 1].into(), hostnames: vec!["kubernetes.default".into()] };
        let full = names.hosts(ADDRESS, Some(&api), &[alias]);
        assert!(full.contains("\tweb-0\n10.96.0.1\tkubernetes.default\n\n"), "{full}");
        assert!(full.ends_with("\n\n# Entries added by HostAliases.\n192.0.2.7\tdb\tdb.local\n"), "{full}");
    }
}
