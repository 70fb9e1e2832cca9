//! `podbox run FILE…`: runs the pods of manifests on this node in the foreground, with a live table.
//!
//! Ends when all pods are finished, or after graceful termination on Ctrl-C (a second one kills at once);
//! either way nothing of them is left but their logs. Images are had before anything is made, so that a
//! missing one is an error and not a pod that waits.

use super::live::Screen;
use super::{load, summary};
use crate::api::identity::PodRef;
use crate::api::images::{Images, PullFailure, PullPolicy};
use crate::api::keyring::Keyring;
use crate::config::Config;
use crate::daemon::{Daemon, RealNode, Role};
use crate::image::for_people;
use crate::limits;
use crate::node::pull;
use crate::node::record::PodRecord;
use crate::node::view::PodView;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Arguments of `podbox run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Manifests (YAML or JSON, several documents each): Pods, ConfigMaps, Secrets
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Some container did not succeed.
const FAILED: u8 = 1;
/// Ended by SIGINT, as shells number it.
const INTERRUPTED: u8 = 130;

/// Runs the manifests' pods to their end.
pub fn run(args: RunArgs, config: Config) -> anyhow::Result<ExitCode> {
    let pods = load::load(&args.files)?;
    super::runtime()?.block_on(async {
        let mut stop = Stop::new()?;
        let daemon = Daemon::start(config, Role::Run, Arc::from(for_people())).await?;
        let ended = foreground(daemon, pods, &mut stop).await;
        Ok(ExitCode::from(ended?))
    })
}

/// Ctrl-C, and its like from a service manager.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        let listen = |kind| signal(kind).context("listening for signals failed");
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn foreground(mut daemon: Daemon, pods: Vec<PodRecord>, stop: &mut Stop) -> anyhow::Result<u8> {
    let ended = match images(&daemon.node, &pods, stop).await {
        Ok(true) => watch(&mut daemon, pods, stop).await,
        Ok(false) => Ok(INTERRUPTED),
        Err(error) => Err(error),
    };
    if ended.is_ok() {
        summary::print(&daemon);
    }
    let problems = daemon.stop().await;
    for problem in &problems {
        eprintln!("podbox: {problem}");
    }
    match ended {
        Ok(_) if !problems.is_empty() => bail!("not everything could be taken away; see above"),
        ended => ended,
    }
}

/// Has every image; false if asked to stop meanwhile.
async fn images(node: &Arc<RealNode>, pods: &[PodRecord], stop: &mut Stop) -> anyhow::Result<bool> {
    let mut wanted: BTreeMap<&str, (PullPolicy, Keyring, String)> = BTreeMap::new();
    for pod in pods {
        for container in pod.containers() {
            let (reference, policy) = pod.image(&container.name);
            let user = format!("pod {}, container {}", pod.pod, container.name);
            if let Entry::Vacant(new) = wanted.entry(reference) {
                new.insert((policy, pull::keyring(node, pod).await, user));
            }
        }
    }
    for (reference, (policy, keyring, user)) in wanted {
        let have = async {
            let had: Result<(), PullFailure> = match node.images.here(reference, policy)? {
                Some(_) => Ok(()),
                None => node.images.pull(reference, &keyring).await.map(drop),
            };
            had
        };
        let had = tokio::select! {
            had = have => had,
            () = stop.asked() => return Ok(false),
        };
        if let Err(failure) = had {
            bail!("{user}: {}", failure.message);
        }
    }
    Ok(true)
}

/// Shows the pods until they are finished; the exit status.
async fn watch(daemon: &mut Daemon, pods: Vec<PodRecord>, stop: &mut Stop) -> anyhow::Result<u8> {
    let mut views = daemon.node.views.watch();
    for pod in pods {
        daemon.agent.run(pod);
    }
    let node = Arc::clone(&daemon.node);
    let mut screen = Screen::stdout();
    let mut asked = 0_u32;
    let mut frames = tokio::time::interval(limits::FRAME);
    loop {
        tokio::select! {
            () = daemon.agent.finished() => break,
            () = node.runtime.keeper_lost() => {
                bail!(
                    "the keeper is gone, killed or broken ({}): all containers are ended, how is unknown",
                    node.config.run_dir.join("keeper.log").display()
                );
            }
            () = stop.asked() => {
                asked += 1;
                // The second time no process is waited for.
                daemon.agent.terminate((asked > 1).then_some(Duration::ZERO));
            }
            _ = frames.tick() => {
                if views.has_changed().unwrap_or(false) {
                    screen.show(&views.borrow_and_update()).context("writing the table failed")?;
                }
            }
        }
    }
    screen.show(&views.borrow_and_update()).context("writing the table failed")?;
    Ok(if asked > 0 { INTERRUPTED } else { verdict(&views.borrow()) })
}

fn verdict(pods: &BTreeMap<PodRef, PodView>) -> u8 {
    let succeeded = |view: &PodView| view.status.phase.as_deref() == Some("Succeeded");
    if pods.values().all(succeeded) { 0 } else { FAILED }
}
