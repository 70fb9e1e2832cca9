//! `podbox kubeconfig`: what kubectl needs to reach `podbox node`, as its administrator or as somebody else.
//!
//! Somebody else gets a certificate that the node's authority signs here and now, and may do what roles and bindings give to
//! that name. podbox keeps no list of such users and cannot take a certificate back; it ends after a year.

use crate::auth::authority::Authority;
use crate::clock;
use crate::cluster;
use crate::config::Config;
use anyhow::Context;
use serde::Deserialize;
use std::io::Write;
use std::process::ExitCode;

/// The arguments of `podbox kubeconfig`.
#[derive(Debug, clap::Args)]
pub struct KubeconfigArgs {
    /// For a user of this name, who may do what roles and bindings allow; without it, for the administrator
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// The group that the user is in
    #[arg(long, value_name = "NAME", requires = "user", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: Option<String>,
}

/// Prints it.
pub fn run(args: &KubeconfigArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let path = cluster::kubeconfig(config);
    let own = std::fs::read_to_string(&path).with_context(|| {
        format!("reading {} failed; `podbox node` writes it when it starts", path.display())
    })?;
    let text = match &args.user {
        None => own,
        Some(name) => {
            let authority = Authority::open(&config.state_dir, clock::wall())?;
            let server = server(&own).with_context(|| format!("{} names no server", path.display()))?;
            authority.kubeconfig(name, args.group.as_deref(), &server, clock::wall())?
        }
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing it failed")?;
    Ok(ExitCode::SUCCESS)
}

/// The address in a kubeconfig.
fn server(kubeconfig: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Kubeconfig {
        clusters: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        cluster: Cluster,
    }
    #[derive(Deserialize)]
    struct Cluster {
        server: String,
    }
    let read: Kubeconfig = serde_yaml::from_str(kubeconfig).ok()?;
    read.clusters.into_iter().next().map(|named| named.cluster.server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::certificate::identify;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::Value;

    #[test]
    fn somebody_else_is_known_by_a_certificate_of_the_nodes_authority() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), clock::wall()).unwrap();
        let path = dir.path().join("admin.kubeconfig");
        authority.write_kubeconfig(&path, "https://192.0.2.1:6443", clock::wall()).unwrap();
        let server = server(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let text = authority.kubeconfig("jane", Some("dev"), &server, clock::wall()).unwrap();
        let written: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(written["clusters"][0]["cluster"]["server"], "https://192.0.2.1:6443");
        let pem = written["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
        let pem = data_encoding::BASE64.decode(pem.as_bytes()).unwrap();
        let (user, _) = identify(&CertificateDer::from_pem_slice(&pem).unwrap(), clock::wall()).unwrap();
        assert_eq!((&*user.name, user.groups.join(" ")), ("jane", "dev system:authenticated".to_owned()));
    }
}
