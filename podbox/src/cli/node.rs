//! `podbox node`: serves the Kubernetes API and runs the pods that are bound to this node, until it is asked to
//! end. Containers go on without it, and the next one finds them.
//!
//! `podbox kubeconfig` prints what kubectl needs to reach it.

use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::node::lock;
use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Runs until SIGINT or SIGTERM.
pub fn run(config: Config) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals failed")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for signals failed")?;
        let _lock = lock::take(&config.run_dir, "node")?;
        let name = host_name()?;
        let cluster = Cluster::start(&config, &name).await?;
        println!("podbox serves the Kubernetes API; use it with:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig.display());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("reading the host's name failed")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// Prints the administrator's kubeconfig.
pub fn kubeconfig(config: &Config) -> anyhow::Result<ExitCode> {
    let path = cluster::kubeconfig(config);
    let text = std::fs::read(&path).with_context(|| {
        format!("reading {} failed; `podbox node` writes it when it starts", path.display())
    })?;
    std::io::stdout().write_all(&text).context("writing it failed")?;
    Ok(ExitCode::SUCCESS)
}
