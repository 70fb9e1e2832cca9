//! `podbox stop`: ends every pod on this host and takes everything of podbox away, while no podbox runs.
//!
//! Processes are asked first, and killed after the grace period. Objects stay in the API, and the next `podbox node` runs
//! their pods anew; images and logs stay, too.

use crate::config::Config;
use crate::daemon::{Daemon, Role};
use crate::image::for_people;
use crate::sandbox::runtime::Runtime;
use anyhow::bail;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Arguments of `podbox stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Seconds that processes get to end by themselves
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace_period: u64,
}

/// Ends everything.
pub fn run(args: &StopArgs, config: Config) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let daemon = Daemon::start(config, Role::Stop, Arc::from(for_people())).await?;
        ask(&daemon, Duration::from_secs(args.grace_period)).await;
        let pods = daemon.node.runtime.sandboxes().len();
        if let Err(error) = daemon.node.runtime.sweep(&BTreeSet::new()).await {
            let left = daemon.node.runtime.sandboxes().len();
            daemon.leave().await;
            return Err(
                anyhow::Error::new(error).context(format!("{left} of {pods} pods could not be ended"))
            );
        }
        let problems = daemon.stop().await;
        problems.iter().for_each(|problem| eprintln!("podbox: {problem}"));
        if !problems.is_empty() {
            bail!("not everything could be taken away; see above");
        }
        println!("{pods} pods ended");
        Ok(ExitCode::SUCCESS)
    })
}

/// Sends every container its stop signal, and waits for their ends within the grace period.
async fn ask(daemon: &Daemon, grace: Duration) {
    let Ok(held) = daemon.node.runtime.list().await else { return };
    let mut ends = JoinSet::new();
    for container in held.into_iter().filter(|held| held.exited.is_none()).map(|held| held.container) {
        let node = Arc::clone(&daemon.node);
        ends.spawn(async move {
            match node.runtime.signal(&container, libc::SIGTERM).await {
                Ok(()) => drop(node.runtime.wait(&container).await),
                Err(error) => tracing::warn!(%container, %error, "asking it to end failed"),
            }
        });
    }
    // Whoever is left is killed with its sandbox.
    let _ = tokio::time::timeout(grace, async { while ends.join_next().await.is_some() {} }).await;
}
