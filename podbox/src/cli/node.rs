//! `podbox node`: serves the Kubernetes API and runs the pods that are bound to this node, until it is asked to
//! end. Containers go on without it.

use crate::cluster::Cluster;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::image::for_people;
use crate::limits;
use crate::node::bound::Bound;
use crate::node::logs::NodeLogs;
use crate::node::register::Identity;
use crate::node::streams::NodeStreams;
use crate::server::api::local::Local;
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The name under which this node writes to the API.
const MANAGER: &str = "podbox-node";

/// Runs until SIGINT or SIGTERM.
pub fn run(config: Config) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals failed")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for signals failed")?;
        let name = host_name()?;
        let mut daemon = Daemon::start(config.clone(), "node", Arc::from(for_people())).await?;
        let cluster = match Cluster::start(&config, &name).await {
            Ok(cluster) => cluster,
            Err(error) => {
                for problem in daemon.stop().await {
                    eprintln!("podbox: {problem}");
                }
                return Err(error.into());
            }
        };
        let objects = Local::new(Arc::clone(&cluster.api), MANAGER);
        let identity = Identity::new(name.clone(), &daemon.node.facts);
        identity.register(&objects).await.context("putting this node into the API failed")?;
        let views = Arc::clone(&daemon.node);
        cluster.api.set_logs(Arc::new(NodeLogs::new(config.log_dir.clone(), move || views.views.watch())));
        cluster.api.set_streams(Arc::new(NodeStreams::new(daemon.node.runtime.clone())));
        let agent = daemon.take_agent();
        let bound = Bound::new(cluster.store.clone(), objects.clone(), name, &daemon.node, agent);
        let pods = tokio::spawn(bound.run());
        println!("podbox serves the Kubernetes API; use it with:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig.display());
        let mut heartbeat = tokio::time::interval(limits::HEARTBEAT);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = heartbeat.tick() => {
                    if let Err(error) = identity.register(&objects).await {
                        tracing::warn!("telling the API of this node failed: {error}");
                    }
                }
            }
        }
        pods.abort();
        cluster.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("reading the host's name failed")?;
    Ok(name.to_string_lossy().to_lowercase())
}
