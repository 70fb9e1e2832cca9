//! `podbox node`: serves the Kubernetes API and runs the pods that are bound to this node, until it is asked to
//! end. Containers go on without it, and the next one goes on with them; `podbox stop` ends them.

use super::notify::{self, notify};
use crate::api::objects::Objects;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::control::scheduler::{self, run::Hint};
use crate::daemon::{Daemon, Role};
use crate::fleet::{self, Fleet};
use crate::image::for_people;
use crate::limits;
use crate::node::bound::{self, Bound};
use crate::node::garbage::Garbage;
use crate::node::heartbeat::Heartbeat;
use crate::node::logs::NodeLogs;
use crate::node::pressure::{self, Ends, Warden};
use crate::node::provisioner::Provisioner;
use crate::node::recorder::{self, Recorder};
use crate::node::recover::recover;
use crate::node::register::Identity;
use crate::node::sources::Desk;
use crate::node::stats::Gauges;
use crate::node::streams::NodeStreams;
use crate::server::api::expire::expire_events;
use crate::server::api::local::Local;
use crate::server::pages;
use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The name under which this node writes to the API.
const MANAGER: &str = "podbox-node";

/// The name under which the scheduler does: upstream's, for whoever looks at who owns a field.
const SCHEDULER: &str = "kube-scheduler";
/// The name under which simulated nodes do.
const SIMULATED: &str = "podbox-simulated";
/// The name under which volumes of this node are made.
const PROVISIONER: &str = "podbox-provisioner";

/// Runs until SIGINT or SIGTERM.
pub fn run(config: Config, simulated: fleet::Options) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let interrupt = signal(SignalKind::interrupt()).context("listening for signals failed")?;
        let terminate = signal(SignalKind::terminate()).context("listening for signals failed")?;
        let name = host_name()?;
        let mut daemon = Daemon::start(config.clone(), Role::Node, Arc::from(for_people())).await?;
        take_descriptors();
        let served = match Cluster::start(&config, &name).await {
            Ok(cluster) => {
                let served = serve(&mut daemon, &cluster, (name, simulated), [interrupt, terminate]).await;
                notify(notify::STOPPING);
                cluster.stop().await;
                served
            }
            Err(error) => Err(error.into()),
        };
        for problem in daemon.leave().await {
            eprintln!("podbox: {problem}");
        }
        served.map(|()| ExitCode::SUCCESS)
    })
}

/// Runs the node's pods until a signal comes.
async fn serve(
    daemon: &mut Daemon,
    cluster: &Cluster,
    (name, simulated): (String, fleet::Options),
    signals: [Signal; 2],
) -> anyhow::Result<()> {
    let objects = Local::new(Arc::clone(&cluster.api), MANAGER);
    let identity = Identity::new(name.clone(), &daemon.node.facts, &daemon.node.config);
    let short = watch::Sender::new(BTreeSet::new());
    let (told, images) = (short.subscribe(), daemon.node.images.store().clone());
    let heartbeat = Heartbeat::begin(Arc::clone(&daemon.node), images, identity, objects.clone(), told).await;
    let heartbeat = heartbeat.context("putting this node into the API failed")?;
    if let Some(gap) = &daemon.gap {
        let told = objects.ensure(pressure::event(&name, "Warning", "KernelEventsMissed", gap)).await;
        told.unwrap_or_else(|error| tracing::warn!("an Event about this node was not written: {error}"));
    }
    let wanted = bound::wanted(&cluster.store, &name);
    let memories =
        recover(&daemon.node, &wanted).await.context("going on with an earlier podbox's pods failed")?;
    let node = Arc::clone(&daemon.node);
    cluster.api.set_logs(Arc::new(NodeLogs::new(node.config.log_dir.clone(), move || node.views.watch())));
    cluster.api.set_streams(Arc::new(NodeStreams::new(daemon.node.runtime.clone())));
    let gauges = Gauges::new(daemon.node.config.clone());
    let (store, allowed) = (cluster.store.clone(), daemon.node.config.duties.told.clone());
    daemon.pages.set_cluster(pages::Cluster { store, allowed, node: name.clone() });
    cluster.api.set_pages(Arc::clone(&daemon.pages));
    cluster.api.set_stats(Arc::new(gauges.clone()));
    let (notices, told) = recorder::channel();
    // It is the first: the node was made without.
    let _ = daemon.node.notices.set(notices);
    let recorder = Recorder::new(objects.clone(), name.clone());
    let mut loops = JoinSet::new();
    loops.spawn(recorder.run(told));
    loops.spawn(heartbeat.run());
    let (evictions, evicted) = mpsc::channel(limits::EVICTIONS);
    let pressure = short.subscribe();
    let ends = Ends { short, evictions, views: daemon.node.views.watch() };
    let (config, api) = (daemon.node.config.clone(), (cluster.store.clone(), objects.clone()));
    let garbage = Garbage::new(daemon.node.images.store().clone());
    loops.spawn(Warden::new(name.clone(), config, gauges.clone(), api, garbage, ends).run());
    loops.spawn(gauges.run(Arc::clone(&daemon.node)));
    loops.spawn(expire_events(cluster.store.clone(), objects.clone()));
    let agent = daemon.take_agent();
    let desk = Desk::new(cluster.store.clone(), objects.clone());
    loops.spawn(desk.share().run());
    let provisioner = Local::new(Arc::clone(&cluster.api), PROVISIONER);
    let volumes = daemon.node.config.state_dir.join("volumes");
    loops.spawn(Provisioner::new(cluster.store.clone(), provisioner, name.clone(), volumes).run());
    let scheduler = Local::new(Arc::clone(&cluster.api), SCHEDULER);
    let hint = Hint { node: name.clone(), short: pressure.clone() };
    loops.spawn(scheduler::run::run(cluster.store.clone(), scheduler, hint));
    let kubelets = Local::new(Arc::clone(&cluster.api), SIMULATED);
    loops.spawn(Fleet::muster(cluster.store.clone(), kubelets, simulated).await.run());
    let (api, duties) = ((cluster.store.clone(), objects.clone()), (pressure, evicted));
    let bound = Bound::new(api, name, &daemon.node, (agent, desk), memories, duties);
    let pods = tokio::spawn(bound.run());
    println!("podbox serves the Kubernetes API; use it with:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig.display());
    notify(notify::READY);
    let ended = until(daemon, signals).await;
    end(pods).await;
    ended
}

/// Until it is asked to end or cannot go on.
async fn until(daemon: &Daemon, [mut interrupt, mut terminate]: [Signal; 2]) -> anyhow::Result<()> {
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = daemon.node.runtime.keeper_lost() => bail!(
            "the keeper is gone, killed or broken ({}): how its containers ended is unknown; started again, podbox node ends what is left of them and begins their pods anew",
            daemon.node.config.run_dir.join("keeper.log").display()
        ),
    }
}

/// Ends the loops, and only them: what was begun for a pod is on file.
async fn end(pods: JoinHandle<()>) {
    pods.abort();
    // An error says that it was aborted.
    let _ = pods.await;
}

/// Takes all descriptors that it may have: each connection is one. After the keeper was started, which hands the limit
/// that it finds on to containers.
fn take_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "raising the limit of open files failed; fewer clients can be served");
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("reading the host's name failed")?;
    Ok(name.to_string_lossy().to_lowercase())
}
