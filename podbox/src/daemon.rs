//! Where the real parts meet: lock, tracer, network, engine, images, metrics and the root-only socket, started
//! in the order in which they need each other and ended in the reverse one.
//!
//! It decides nothing about pods, but that `podbox run` begins on a host without any and `podbox node` with those that it
//! finds. Invariant: what a failed start made is taken back before the error is told; what pods need stays.

use crate::api::attribution::{Attribution, Untraced};
use crate::api::error::chain;
use crate::api::event::KernelEvent;
use crate::api::identity::PodRef;
use crate::api::startup::Sight;
use crate::api::timeline::Timelines;
use crate::api::trigger::Ends;
use crate::config::Config;
use crate::image::{ImageError, NodeImages, Progress, Store};
use crate::metrics::text::Page;
use crate::net::dataplane::{self, Dataplane, DataplaneError};
use crate::net::lease::{LeaseError, Leases};
use crate::node::accounts::NodeAccounts;
use crate::node::agent::Agent;
use crate::node::checkpoint::{CheckpointError, Checkpoints};
use crate::node::events;
use crate::node::lock::{self, HostLock, LockError};
use crate::node::view::Views;
use crate::node::witness::KernelWitness;
use crate::node::{Node, facts};
use crate::pod::memory::Memory;
use crate::sandbox::engine::{self, Engine, EngineError, Options};
use crate::server::admin::{self, Admin};
use crate::server::exposition::{Exposition, ExpositionError};
use crate::server::pages::Pages;
use crate::server::{http, kernel};
use crate::trace::{self, CapabilityReport, Gap, Signal, TraceConfig, Tracer};
use crate::{clock, limits, metrics};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Why the daemon could not start.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Another one runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Images.
    #[error("opening the image store failed")]
    Images(#[from] ImageError),
    /// Addresses.
    #[error("opening the address leases failed")]
    Leases(#[from] LeaseError),
    /// The bridge and what is around it.
    #[error("setting up the pod network failed")]
    Network(#[from] DataplaneError),
    /// Sandboxes.
    #[error("starting the sandbox engine failed")]
    Engine(#[from] EngineError),
    /// `podbox run`, where `podbox node` has pods.
    #[error(
        "{pods} of podbox node's pods are on this host; end them with `podbox stop`, or give this one its own --run-dir, --state-dir, --bridge, --pod-cidr and --cgroup-root"
    )]
    Occupied {
        /// How many.
        pods: usize,
    },
    /// No place for pods' memories.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointError),
    /// The recorder.
    #[error(transparent)]
    Exposition(#[from] ExpositionError),
    /// The metrics port.
    #[error("listening for metrics on {address} failed; choose another with --metrics-addr")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket.
    #[error("listening on podbox's own socket in {} failed", run_dir.display())]
    Admin {
        /// Where.
        run_dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The node, with every part real.
pub type RealNode = Node<Engine, NodeImages>;

/// The agent, with every part real.
pub type RealAgent = Agent<Engine, NodeImages>;

/// Which command the daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `podbox run`: pods end with it, and what an earlier one left is swept up.
    Run,
    /// `podbox node`: pods outlive it, and the next one goes on with them.
    Node,
    /// `podbox stop`: takes everything away.
    Stop,
}

impl Role {
    fn command(self) -> &'static str {
        match self {
            Role::Run => "run",
            Role::Node => "node",
            Role::Stop => "stop",
        }
    }
}

/// A running daemon.
pub struct Daemon {
    /// What pods share.
    pub node: Arc<RealNode>,
    /// Runs pods.
    pub agent: RealAgent,
    /// The kernel's witness; none where no BPF program could be loaded.
    pub tracer: Option<Arc<Tracer>>,
    /// Which kernel signals are live.
    pub capabilities: CapabilityReport,
    /// What the kernel may not have recorded while no podbox ran, in words.
    pub gap: Option<String>,
    /// The pages for Prometheus.
    pub pages: Arc<Pages>,
    tasks: JoinSet<()>,
    socket: PathBuf,
    _lock: HostLock,
}

impl Daemon {
    /// Takes the host and starts every part.
    pub async fn start(
        config: Config,
        role: Role,
        progress: Arc<dyn Progress>,
    ) -> Result<Daemon, DaemonError> {
        let lock = lock::take(&config.run_dir, role.command())?;
        let earlier = earlier(&config, role)?;
        let images = NodeImages::new(Store::open(&config.state_dir)?, progress);
        let metrics = TcpListener::bind(config.metrics_addr)
            .await
            .map_err(|source| DaemonError::Metrics { address: config.metrics_addr, source })?;
        let (socket_listener, socket) = admin::listen(&config.run_dir)
            .map_err(|source| DaemonError::Admin { run_dir: config.run_dir.clone(), source })?;
        let mut exposition = Exposition::install()?;
        let fresh = earlier.is_empty();
        let (tracer, capabilities) = trace(&config, role);
        let attribution: Arc<dyn Attribution> = match &tracer {
            Some(tracer) => Arc::clone(tracer) as _,
            None => Arc::new(Untraced),
        };
        let run_dir = config.run_dir.clone();
        let (node, agent) = match node(config, role, earlier, images, attribution).await {
            Ok(made) => made,
            Err(error) => {
                let _ = fs::remove_file(&socket);
                // Pods that are there go on being watched.
                let _ = if fresh { trace::remove(&run_dir) } else { Ok(()) };
                return Err(error);
            }
        };
        let mut tasks = JoinSet::new();
        let views = Arc::clone(&node);
        exposition.collect(move |page| views.views.collect(page));
        let (told, reported) = (tracer.clone(), capabilities.clone());
        exposition.collect(move |_| {
            let report = told.as_ref().map(|tracer| tracer.capabilities());
            kernel::signals(report.as_ref().unwrap_or(&reported));
        });
        let mut gap = None;
        if let Some(tracer) = &tracer {
            let counted = Arc::clone(tracer);
            exposition.collect(move |page| {
                page.append(&kernel::record(&counted.snapshot(), counted.oom_watched()))
            });
            tasks.spawn(follow(Arc::clone(&node), Arc::clone(tracer), tracer.subscribe()));
            // It is the first: the node was made without, as with the witness.
            let _ = node.probing.triggers.ends.set(Arc::clone(tracer) as Arc<dyn Ends>);
            gap = read(tracer);
        }
        let timelines = tracer.clone().map(|tracer| tracer as Arc<dyn Timelines>);
        // It is the first: the node was made without.
        let _ = node.probing.witness.set(Arc::new(KernelWitness::new(node.runtime.clone(), timelines)));
        let exposition = Arc::new(exposition);
        let pages = Arc::new(pages(&node, tracer.clone(), Arc::clone(&exposition)));
        let (probed, ended) = (Arc::clone(&node), Arc::clone(&node));
        let (seen, reported) = (tracer.clone(), capabilities.clone());
        let (watching, begun) = (tracer.clone(), Arc::clone(&node));
        let admin = Admin {
            tracer: tracer.clone(),
            exposition: Arc::clone(&exposition),
            probes: Box::new(move || probed.probing.history.rows()),
            ends: Box::new(move || ended.views.accounts()),
            starts: Box::new(move || {
                let sight = sight(watching.as_deref());
                begun.views.waterfalls(sight, |cgroup| begun.attribution.firsts(cgroup))
            }),
            capabilities: Box::new(move || {
                seen.as_ref().map_or_else(|| reported.clone(), |tracer| tracer.capabilities())
            }),
        };
        tasks.spawn(http::serve(socket_listener, Arc::new(admin)));
        tasks.spawn(http::serve(metrics, Arc::clone(&pages)));
        tasks.spawn(exposition.upkeep(limits::METRICS_UPKEEP));
        Ok(Daemon { node, agent, tracer, capabilities, gap, pages, tasks, socket, _lock: lock })
    }

    /// The agent, for a caller that runs it elsewhere; another one without pods takes its place.
    pub fn take_agent(&mut self) -> RealAgent {
        std::mem::replace(&mut self.agent, Agent::new(Arc::clone(&self.node)))
    }

    /// Ends podbox, and lets the pods and all they need go on; without pods, takes everything back.
    pub async fn leave(mut self) -> Vec<String> {
        self.tasks.shutdown().await;
        if self.node.runtime.sandboxes().is_empty() {
            return self.stop().await;
        }
        match fs::remove_file(&self.socket) {
            Err(error) => vec![format!("removing {} failed: {error}", self.socket.display())],
            Ok(()) => Vec::new(),
        }
    }

    /// Takes everything back. Pods must be gone. Goes on after a failure; returns all, for people.
    pub async fn stop(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        self.tasks.shutdown().await;
        // Its workers ask the keeper, which may be gone.
        drop(self.agent);
        let runtime = &self.node.runtime;
        let closed = match runtime.keeper_is_gone() {
            true => runtime.end_orphans(&self.node.config).await,
            false => runtime.close().await,
        };
        if let Err(error) = closed {
            problems.push(chain(&error));
        }
        if let Err(error) = trace::remove(&self.node.config.run_dir) {
            problems.push(format!("taking the BPF programs away failed: {error}"));
        }
        if let Err(errors) = dataplane::teardown(&self.node.config).await {
            problems.extend(errors.iter().map(|error| chain(error)));
        }
        if let Err(error) = fs::remove_file(&self.socket) {
            problems.push(format!("removing {} failed: {error}", self.socket.display()));
        }
        problems
    }
}

/// The pages for Prometheus.
fn pages(node: &Arc<RealNode>, tracer: Option<Arc<Tracer>>, exposition: Arc<Exposition>) -> Pages {
    let probed = Arc::clone(node);
    let probes = Box::new(move |page: &mut Page| probed.probing.tally.write(page));
    let oom_kills = Arc::new(move || {
        let each = tracer.as_ref()?.kills().into_iter();
        let each = each.map(|(key, killed)| ((key.namespace, key.pod, key.container), killed));
        Some(each.collect())
    });
    Pages::new(exposition, Box::new(NodeAccounts::new(Arc::clone(node), oom_kills)), probes)
}

/// Loads the BPF programs. Without them pods run all the same, and the report says what stays unseen. What `podbox node`
/// has loaded goes on without it, until nothing is left to watch.
fn trace(config: &Config, role: Role) -> (Option<Arc<Tracer>>, CapabilityReport) {
    if role == Role::Run
        && let Err(error) = trace::remove(&config.run_dir)
    {
        tracing::warn!("taking away an earlier podbox's BPF programs failed: {error}");
    }
    let keep = (role != Role::Run).then(|| config.run_dir.clone());
    let level = facts::container_level(&config.cgroup_root);
    let cgroup_root = Some(config.cgroup_root.clone());
    match Tracer::load(TraceConfig { keep, cgroup_root, ..TraceConfig::new(level) }) {
        Ok((tracer, report)) => (Some(Arc::new(tracer)), report),
        Err(error) => {
            let reason = chain(&error);
            tracing::error!("kernel events stay unseen: {reason}");
            (None, CapabilityReport::nothing(&reason))
        }
    }
}

/// Says what was recorded while no podbox ran, and begins to read: what the rings hold of it comes first. Gives back in words
/// what was not recorded.
fn read(tracer: &Arc<Tracer>) -> Option<String> {
    let gap = tracer.settle();
    ::metrics::gauge!(metrics::KERNEL_GAP_SECONDS).set(gap.away.unwrap_or_default().as_secs_f64());
    match gap {
        Gap { unwatched: 1.., .. } => tracing::warn!("{gap}"),
        Gap { watched: 1.., .. } => tracing::info!("{gap}"),
        Gap { .. } => {}
    }
    if let Err(error) = tracer.spawn_reader() {
        tracing::error!(%error, "kernel events stay unseen: reading the BPF rings failed");
    }
    (gap.unwatched > 0).then(|| gap.to_string())
}

/// What of pods' beginnings can be seen here.
fn sight(tracer: Option<&Tracer>) -> Sight {
    let report = tracer.map(Tracer::capabilities);
    let has = |signal| report.as_ref().is_some_and(|report| report.has(signal));
    let boot = clock::wall().checked_sub(clock::boot()).unwrap_or(SystemTime::UNIX_EPOCH);
    Sight { sockets: has(Signal::Listening), accepts: has(Signal::Accepts), boot }
}

/// The pods that an earlier podbox left. Those of `podbox node` are not for `podbox run` to end.
fn earlier(config: &Config, role: Role) -> Result<Vec<PodRef>, DaemonError> {
    let earlier = engine::on_record(&config.run_dir)?;
    if role == Role::Run {
        let memories: Vec<Memory> = Checkpoints::new(&config.run_dir).read();
        let of_node = |pod: &&PodRef| memories.iter().any(|memory| memory.pod == **pod);
        let pods = earlier.iter().filter(of_node).count();
        if pods > 0 {
            return Err(DaemonError::Occupied { pods });
        }
    }
    Ok(earlier)
}

async fn node(
    config: Config,
    role: Role,
    earlier: Vec<PodRef>,
    images: NodeImages,
    attribution: Arc<dyn Attribution>,
) -> Result<(Arc<RealNode>, RealAgent), DaemonError> {
    let links = earlier.iter().map(PodRef::link_name).collect();
    let forwards = engine::forwarded(&config.run_dir)?;
    let Dataplane { mtu, .. } = dataplane::ensure(&config, links, forwards).await?;
    let made = async {
        let mut leases = Leases::open(&config.run_dir, config.pod_cidr)?;
        let facts = facts::of_host(&config);
        let checkpoints = Checkpoints::new(&config.run_dir);
        let mut views = Views::default();
        if role == Role::Node {
            checkpoints.prepare()?;
            let past = Checkpoints::past(&config.run_dir);
            past.prepare()?;
            views = Views::with_past(past);
        }
        let options = Options { mtu, ..Options::default() };
        let runtime = Engine::open(&config, options, Arc::clone(&attribution)).await?;
        if role == Role::Run {
            // It starts from nothing: what an earlier one could not take away goes now.
            runtime.sweep(&BTreeSet::new()).await?;
            let pods = runtime.sandboxes();
            leases.retain(|uid| pods.iter().any(|pod| pod.uid == uid))?;
        }
        Ok::<_, DaemonError>((leases, facts, runtime, views, (role == Role::Node).then_some(checkpoints)))
    };
    let (leases, facts, runtime, views, checkpoints) = match made.await {
        Ok(made) => made,
        Err(error) => {
            // Pods that are there need it.
            let undone = if earlier.is_empty() { dataplane::teardown(&config).await } else { Ok(()) };
            for problem in undone.err().into_iter().flatten() {
                tracing::warn!("undoing the pod network: {}", chain(&problem));
            }
            return Err(error);
        }
    };
    let leases = Mutex::new(leases);
    let notices = Default::default();
    let probing = Default::default();
    let node = Arc::new(Node {
        config,
        runtime,
        images,
        attribution,
        leases,
        facts,
        views,
        checkpoints,
        probing,
        untold: Default::default(),
        notices,
    });
    let agent = Agent::new(Arc::clone(&node));
    Ok((node, agent))
}

/// Puts each kernel event beside its container in the views, and tells of those that are worth an Event.
async fn follow(node: Arc<RealNode>, tracer: Arc<Tracer>, mut events: broadcast::Receiver<Arc<KernelEvent>>) {
    let unheard = ::metrics::counter!(metrics::KERNEL_EVENTS_UNHEARD);
    loop {
        match events.recv().await {
            Ok(event) => {
                node.probing.hear(&event);
                events::note(&node.views, &event);
                let notice = events::notice(&node.views, &event);
                if let (Some(notices), Some((pod, notice))) = (node.notices.get(), notice) {
                    notices.tell(&pod, notice);
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                unheard.increment(missed);
                tracing::warn!(
                    missed,
                    "kernel events came faster than they were heard; all containers are looked at"
                );
                for (cgroup, container) in tracer.containers() {
                    node.probing.look_again(&container, cgroup);
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
