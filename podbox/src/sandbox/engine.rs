//! The sandbox engine: the [`Runtime`] that builds pods on this host.
//!
//! Per call it makes a plan, applies it on a thread that may block, and keeps who waits for what. What must
//! survive it is elsewhere: processes and exit codes with the keeper, sandboxes' records in the run
//! directory, everything else in the kernel. A new engine on the same directories finds all of it again.
//!
//! It does not know of images, manifests or restarts.

mod adopt;
mod error;
mod measure;
mod operation;
mod probed;
mod shared;
mod streams;

pub use adopt::{forwarded, on_record};
pub use error::EngineError;

use super::cgroup;
use super::client::{Client, ClientError, Ending, KeeperSpec};
use super::device::DevicePolicy;
use super::exec;
use super::line::Line;
use super::log::{self, LogSpec, Pump, Stream, Taps};
use super::message::{Body, End, Held};
use super::netns;
use super::plan::{self, Facts};
use super::record::{self, Label};
use super::runtime::{
    ContainerStatus, ExecResult, ExecSpec, Exited, Obstacle, PodReading, Runtime, Started, Unenforced,
};
use super::spec::{ContainerSpec, FileVolume, Resources, SandboxSpec};
use crate::api::account::PodAccount;
use crate::api::attribution::{Attribution, OwnRole};
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::startup::Lap;
use crate::config::Config;
use crate::limits;
use shared::{Shared, prepare_cgroups};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the engine is told beside the node's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The podbox binary, to start the keeper from.
    pub program: PathBuf,
    /// Largest packet of pods' links: the bridge's.
    pub mtu: u32,
    /// Fail at the step of this index of every plan: for tests of what is left then.
    pub fail_at: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options { program: "/proc/self/exe".into(), mtu: 1500, fail_at: None }
    }
}

/// A container that the keeper holds.
struct Tracked {
    label: Label,
    started: Started,
    ending: Ending,
    /// Its log; whoever waits first drives the rest.
    pump: tokio::sync::Mutex<Pump>,
    /// Who is attached to it.
    taps: Taps,
    /// What writes to its stdin, while that is open.
    stdin: Mutex<Option<Arc<Line>>>,
}

/// The engine. Clones share one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("facts", &self.0.facts).finish_non_exhaustive()
    }
}

/// A poisoned lock only says that a thread panicked between two map operations; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Prepares the host, finds or starts the keeper, and takes over what an earlier engine left running.
    pub async fn open(
        config: &Config,
        options: Options,
        attribution: Arc<dyn Attribution>,
    ) -> Result<Engine, EngineError> {
        let config = config.clone();
        let engine = blocking(move || Engine::prepare(&config, options, attribution)).await?;
        engine.adopt()?;
        Ok(engine)
    }

    fn prepare(
        config: &Config,
        options: Options,
        attribution: Arc<dyn Attribution>,
    ) -> Result<Engine, EngineError> {
        let facts = Facts {
            state_dir: config.state_dir.clone(),
            run_dir: config.run_dir.clone(),
            cgroup_root: config.cgroup_root.clone(),
            controllers: cgroup::controllers(&config.cgroup_root)?,
        };
        let run = |name: &str| facts.run_dir.join(name);
        for dir in [run("sandboxes"), run("pods"), run("root"), run("empty"), facts.state_dir.join("pods")] {
            std::fs::create_dir_all(&dir).map_err(|error| EngineError::Directory(dir, error))?;
        }
        netns::ensure_dir(&facts.run_dir)?;
        let keeper_cgroup = prepare_cgroups(&facts)?;
        let run_dir = facts.run_dir.clone();
        let spec = KeeperSpec { program: options.program.clone(), run_dir, cgroup: keeper_cgroup };
        let keeper = Client::open(&spec)?;
        attribution.own(OwnRole::Keeper, keeper.pid);
        record::sweep(&facts.run_dir.join("sandboxes"));
        let sandboxes = record::read_all(&facts.run_dir)?;
        let sandboxes = sandboxes.into_iter().map(|spec| (spec.pod.clone(), Arc::new(spec))).collect();
        Ok(Engine(Arc::new(Shared {
            bridge: config.bridge.clone(),
            devices: DevicePolicy::load()?,
            sandboxes: Mutex::new(sandboxes),
            containers: Mutex::default(),
            execs: AtomicU64::new(u64::from(std::process::id()) << 32),
            askers: Mutex::default(),
            facts,
            options,
            keeper,
            attribution,
        })))
    }

    fn track(
        &self,
        label: Label,
        started: Started,
        ending: Ending,
        fds: Vec<OwnedFd>,
    ) -> Result<(), EngineError> {
        let container = label.container.clone();
        let ([stdout, stderr], stdin) = streams(fds)?;
        let stdin = stdin.map(Line::new).transpose();
        let stdin = stdin
            .map_err(|source| EngineError::Stdin { container: container.clone(), source })?
            .map(Arc::new);
        let journal = self.0.facts.log_journal(&container);
        let taps = Taps::default();
        let (path, seen) = (label.log_path.clone(), taps.clone());
        let pump = log::spawn(LogSpec { path, stdout, stderr, journal, taps: seen })
            .map_err(|source| EngineError::Log { container: container.clone(), source: source.into() })?;
        let (pump, stdin) = (tokio::sync::Mutex::new(pump), Mutex::new(stdin));
        let tracked = Tracked { label, started, ending, pump, taps, stdin };
        lock(&self.0.containers).insert(container, Arc::new(tracked));
        Ok(())
    }

    fn tracked(&self, container: &ContainerRef) -> Result<Arc<Tracked>, EngineError> {
        let found = lock(&self.0.containers).get(container).cloned();
        found.ok_or_else(|| EngineError::NoContainer(container.clone()))
    }

    /// Sandboxes that exist, also those of an earlier engine.
    pub fn sandboxes(&self) -> Vec<PodRef> {
        lock(&self.0.sandboxes).keys().cloned().collect()
    }

    /// Takes away every sandbox that is not among `keep`.
    pub async fn sweep(&self, keep: &BTreeSet<PodRef>) -> Result<(), EngineError> {
        let mut done = Ok(());
        for pod in self.sandboxes().iter().filter(|pod| !keep.contains(*pod)) {
            let removed = self.remove_sandbox(pod).await;
            done = done.and(removed);
        }
        done
    }

    /// Whether the keeper is gone.
    pub fn keeper_is_gone(&self) -> bool {
        self.0.keeper.is_gone()
    }

    /// Waits until the keeper is gone, which it never is by itself. Nobody can tell its containers' ends any more.
    pub async fn keeper_lost(&self) {
        self.0.keeper.gone().await;
    }

    /// Ends the containers of a keeper that is gone, with their sandboxes, by the records in the run directory, and
    /// then as [`Engine::close`].
    pub async fn end_orphans(&self, config: &Config) -> Result<(), EngineError> {
        let shared = self.0.clone();
        blocking(move || Ok(shared.keeper.wait_end()?)).await?;
        let (options, attribution) = (self.0.options.clone(), Arc::clone(&self.0.attribution));
        let successor = Engine::open(config, options, attribution).await?;
        successor.sweep(&BTreeSet::new()).await?;
        successor.close().await
    }

    /// Ends the keeper and takes the node's own cgroups and directories away. Every sandbox must be gone.
    pub async fn close(&self) -> Result<(), EngineError> {
        let shared = self.0.clone();
        blocking(move || {
            shared.keeper.shut_down()?;
            cgroup::remove_empty(&shared.facts.slice())?;
            Ok(netns::remove_dir(&shared.facts.run_dir)?)
        })
        .await
    }
}

/// What comes along with a container: its outputs, and what writes to its stdin.
fn streams(mut fds: Vec<OwnedFd>) -> Result<([Stream; 2], Option<OwnedFd>), ClientError> {
    let stdin = if fds.len() == 7 { fds.pop() } else { None };
    let fds: [OwnedFd; 6] = fds.try_into().map_err(|_| ClientError::Confused)?;
    let [a, b, c, d, e, f] = fds;
    let stream = |source, staging_read, staging_write| Stream { source, staging_read, staging_write };
    Ok(([stream(a, b, c), stream(d, e, f)], stdin))
}

/// The end of a file, if there is one.
fn last_bytes(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await?
}

impl Runtime for Engine {
    type Error = EngineError;

    fn unenforced(&self, resources: &Resources) -> Vec<Unenforced> {
        plan::unenforced(resources, &self.0.facts)
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Vec<Lap>, EngineError> {
        let (shared, spec) = (self.0.clone(), spec.clone());
        operation::counted("run_podsandbox", blocking(move || shared.create(&spec))).await
    }

    async fn remove_sandbox(&self, pod: &PodRef) -> Result<(), EngineError> {
        let of_pod: Vec<_> = lock(&self.0.containers).keys().filter(|c| c.pod == *pod).cloned().collect();
        let mut done = Ok(());
        for container in of_pod {
            let removed = self.remove(&container).await;
            done = done.and(removed);
        }
        let (shared, pod) = (self.0.clone(), pod.clone());
        let removing = blocking(move || shared.remove_pod(&pod));
        done.and(operation::counted("remove_podsandbox", removing).await)
    }

    async fn refill(&self, pod: &PodRef, volumes: Vec<FileVolume>) -> Result<(), EngineError> {
        let (shared, pod) = (self.0.clone(), pod.clone());
        blocking(move || shared.refill(&pod, &volumes)).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Started, EngineError> {
        let (shared, own) = (self.0.clone(), spec.clone());
        let launching = blocking(move || shared.launch(&own));
        let (started, ending, fds) = operation::counted("start_container", launching).await?;
        if let Err(error) = self.track(Label::of(spec), started.clone(), ending, fds) {
            // Without its log it must not run.
            self.remove_untracked(spec).await?;
            return Err(error);
        }
        Ok(started)
    }

    fn obstacle(error: &EngineError) -> Obstacle {
        error.obstacle()
    }

    async fn wait(&self, container: &ContainerRef) -> Result<Exited, EngineError> {
        let tracked = self.tracked(container)?;
        let mut ending = tracked.ending.clone();
        let ended = ending.wait_for(Option::is_some).await.map(|end| *end);
        let Ok(Some(End { status, at })) = ended else { return Err(ClientError::Gone.into()) };
        // Where its pid namespace died with it nobody of it is left; elsewhere others of its processes may go on, and a
        // container ends as a whole.
        let group = self.0.facts.container_cgroup(container, tracked.label.qos);
        cgroup::kill(&group)?;
        // Mostly there is nobody to wait for.
        let emptied = match cgroup::is_empty(&group) {
            true => Ok(()),
            false => blocking(move || Ok(cgroup::wait_empty(&group)?)).await,
        };
        if let Err(error) = emptied {
            tracing::warn!(%container, "it has ended, and some of its processes have not: {}", chain(&error));
        }
        let mut pump = tracked.pump.lock().await;
        pump.over();
        pump.done().await;
        Ok(Exited { status, at })
    }

    fn group_oom(&self, container: &ContainerRef) -> bool {
        let Ok(tracked) = self.tracked(container) else { return false };
        cgroup::group_oom(&self.0.facts.container_cgroup(container, tracked.label.qos))
    }

    async fn termination_message(
        &self,
        container: &ContainerRef,
        limit: usize,
    ) -> Result<Vec<u8>, EngineError> {
        let (path, container) = (self.0.facts.termination_message(container), container.clone());
        let failed = |source| EngineError::LastWords { container, source };
        blocking(move || last_bytes(&path, limit).map_err(failed)).await
    }

    async fn signal(&self, container: &ContainerRef, signal: i32) -> Result<(), EngineError> {
        self.tracked(container)?;
        let (shared, id) = (self.0.clone(), plan::launch_id(container));
        let telling = blocking(move || Ok(shared.keeper.command(Body::Signal { id, signal })?));
        operation::counted("stop_container", telling).await
    }

    async fn kill(&self, container: &ContainerRef) -> Result<(), EngineError> {
        let tracked = self.tracked(container)?;
        Ok(cgroup::kill(&self.0.facts.container_cgroup(container, tracked.label.qos))?)
    }

    async fn resize(
        &self,
        container: &ContainerRef,
        resources: &Resources,
        pod: &Resources,
    ) -> Result<(), EngineError> {
        let qos = self.tracked(container)?.label.qos;
        let (shared, container) = (self.0.clone(), container.clone());
        let (own, pod) = (resources.clone(), pod.clone());
        let resizing = blocking(move || shared.resize(&container, qos, &own, &pod));
        operation::counted("update_container_resources", resizing).await
    }

    async fn remove(&self, container: &ContainerRef) -> Result<(), EngineError> {
        // One that is not there is removed.
        let Ok(tracked) = self.tracked(container) else { return Ok(()) };
        // Another caller who takes it away holds this until all of it is gone: its pod's cgroup is not empty before.
        let mut pump = tracked.pump.lock().await;
        match self.kill(container).await {
            // That one was faster.
            Err(EngineError::NoContainer(_)) => return Ok(()),
            killed => killed?,
        }
        // What it wrote last may still be on its way to the log. A disk that stays full must not keep it.
        if tokio::time::timeout(limits::LOG_REMOVE, pump.done()).await.is_err() {
            tracing::error!(%container, "its log could not be written to the end before it was removed");
        }
        let (shared, container) = (self.0.clone(), container.clone());
        let qos = tracked.label.qos;
        operation::counted("remove_container", blocking(move || shared.take_away(&container, qos))).await
    }

    async fn exec(&self, container: &ContainerRef, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
        let target = self.target(container)?;
        let failed = |source| EngineError::Exec { name: container.name.clone(), source };
        let running = exec::run(self.clone(), target, spec);
        operation::counted("exec_sync", async { running.await.map_err(failed) }).await
    }

    async fn listens(&self, pod: &PodRef, server: SocketAddrV4) -> Result<bool, EngineError> {
        Ok(self.backlog(pod, server).await?.has_room())
    }

    async fn accounts(&self) -> Result<BTreeMap<PodRef, PodAccount>, EngineError> {
        self.books().await
    }

    async fn measure(&self) -> Result<BTreeMap<PodRef, PodReading>, EngineError> {
        self.readings().await
    }

    async fn list(&self) -> Result<Vec<ContainerStatus>, EngineError> {
        let shared = self.0.clone();
        let held = blocking(move || Ok(shared.list(None)?)).await?;
        let status = |held: Held| -> Option<ContainerStatus> {
            let container = Label::parse(&held.label).ok()?.container;
            let started = self.tracked(&container).ok()?.started.clone();
            let exited = held.end.map(|End { status, at }| Exited { status, at });
            Some(ContainerStatus { container, started, exited })
        };
        Ok(held.into_iter().filter_map(status).collect())
    }
}

impl Engine {
    async fn remove_untracked(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let (shared, container, qos) = (self.0.clone(), spec.container.clone(), spec.qos);
        blocking(move || shared.take_away(&container, qos)).await
    }

    pub(super) fn keeper(&self) -> &Client {
        &self.0.keeper
    }
}
