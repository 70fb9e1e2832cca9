//! The node agent: pods that are to run here, and the loops that make them.
//!
//! [`Node`] holds what the pods of a node share; each pod has a [`worker::Worker`] of its own.

pub mod accounts;
pub mod agent;
pub mod bound;
pub mod change;
pub mod checkpoint;
mod claims;
pub mod events;
pub mod facts;
pub mod garbage;
pub mod heartbeat;
mod hook;
mod http;
pub mod lock;
pub mod logs;
mod merge;
mod past;
pub mod pressure;
pub mod probe;
pub mod provisioner;
pub mod pull;
pub mod record;
pub mod recorder;
pub mod recover;
pub mod refresh;
pub mod register;
mod resize;
pub mod sources;
pub mod stats;
pub mod streams;
mod teller;
pub mod untold;
pub mod view;
pub mod witness;
mod words;
pub mod worker;

use crate::api::attribution::Attribution;
use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::image::Image;
use crate::api::startup::Lap;
use crate::config::Config;
use crate::net::lease::Leases;
use crate::pod::compose::{self, FAILED_MOUNT, NodeFacts};
use crate::pod::notice::Notice;
use crate::pod::observed::StartFailure;
use crate::pod::references;
use crate::pod::resolver::Resolver;
use crate::sandbox::caps::CapSet;
use crate::sandbox::hostpath;
use crate::sandbox::runtime::{Obstacle, Runtime, Started, Unenforced};
use crate::sandbox::seccomp;
use crate::sandbox::spec::{ContainerSpec, Mount, MountSource, Resources, Seccomp};
use checkpoint::Checkpoints;
use garbage::logs::LogMarks;
use probe::Probing;
use record::PodRecord;
use recorder::Notices;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use untold::Untold;
use view::Views;

/// Upstream's reason where a sandbox cannot be made.
const FAILED_SANDBOX: &str = "FailedCreatePodSandBox";

/// Where a limit is not kept for want of a controller.
const UNENFORCED: &str = "LimitNotEnforced";

/// What the pods of a node share.
pub struct Node<R, I> {
    /// Where things are.
    pub config: Config,
    /// Builds sandboxes and runs containers.
    pub runtime: R,
    /// Has images.
    pub images: I,
    /// Knows whom the kernel killed for memory.
    pub attribution: Arc<dyn Attribution>,
    /// Pod addresses. Held for a look-up and an append to a file in memory, never across an await.
    pub leases: Mutex<Leases>,
    /// What pods are told of their node.
    pub facts: NodeFacts,
    /// What each pod is at.
    pub views: Views,
    /// Whose ends are to be told before what they leave is cleared away.
    pub untold: Arc<Untold>,
    /// Where pods are remembered for a later daemon; none where they end with this one.
    pub checkpoints: Option<Checkpoints>,
    /// What probes share.
    pub probing: Probing,
    /// Who is told what happens to pods; nobody where there is no API.
    pub notices: OnceLock<Notices>,
}

impl<R: Runtime, I> Node<R, I> {
    /// Whether there is an API, in which somebody may mend what a pod refers to.
    fn has_api(&self) -> bool {
        self.notices.get().is_some()
    }

    /// Makes a pod's sandbox; its address, unless it has the host's, and what of it took how long.
    async fn create_sandbox(&self, pod: &PodRecord) -> Result<(Option<Ipv4Addr>, Vec<Lap>), StartFailure> {
        let failed = |reason: &str, message| StartFailure { reason: reason.to_owned(), message };
        let address = match pod.host_network() {
            true => None,
            false => Some(self.lease(pod).map_err(|error| failed(FAILED_SANDBOX, chain(&error)))?),
        };
        let made = async {
            let wanted = references::of_sandbox(&pod.manifest);
            let host = tokio::task::spawn_blocking(facts::host_names);
            let (sources, host) = tokio::join!(pod.sources.read(&wanted), host);
            let host = host.map_err(|error| failed(FAILED_SANDBOX, error.to_string()))?;
            let spec = compose::sandbox(&pod.manifest, &sources, &self.facts, &host, address)?;
            self.tell_resolver(pod, &host.resolver);
            let volumes = spec.host_volumes.clone();
            // The logs of `podbox run` are there for whoever ran it.
            let marks = self.has_api().then(|| (LogMarks::of(&self.config), pod.pod.uid.clone()));
            let ensured = tokio::task::spawn_blocking(move || {
                marks.into_iter().for_each(|(marks, uid)| marks.note(&uid));
                hostpath::ensure(&volumes)
            })
            .await;
            let unfit = match ensured {
                Ok(ensured) => ensured.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            unfit.map_or(Ok(()), |message| Err(failed(FAILED_MOUNT, message)))?;
            let made = self.runtime.create_sandbox(&spec).await;
            made.map_err(|error| failed(FAILED_SANDBOX, chain(&error)))
        };
        match made.await {
            Ok(laps) => Ok((address, laps)),
            Err(failure) => {
                // What is left of a try keeps its address, and is taken away before the next one.
                if let Err(error) = self.discard(&pod.pod).await {
                    tracing::error!(pod = %pod.pod, "taking back what was made of its sandbox failed: {error}");
                }
                Err(failure)
            }
        }
    }

    /// Gives a running pod's volumes the files that they should have by now; else what is wrong, in the kubelet's
    /// words. A volume that is wrong keeps what it has, and holds up no other.
    async fn refresh(&self, pod: &PodRecord, address: Option<Ipv4Addr>) -> Result<(), String> {
        let sources = pod.sources.read(&references::of_sandbox(&pod.manifest)).await;
        let found = compose::refreshed(&pod.manifest, &sources, &self.facts, address);
        let (good, bad): (Vec<_>, Vec<_>) =
            found.map_err(|failure| failure.message)?.into_iter().partition(Result::is_ok);
        let filled = self.runtime.refill(&pod.pod, good.into_iter().flatten().collect()).await;
        filled.map_err(|error| chain(&error))?;
        bad.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn discard(&self, pod: &PodRef) -> Result<(), String> {
        self.runtime.remove_sandbox(pod).await.map_err(|error| chain(&error))?;
        self.release(pod);
        Ok(())
    }

    async fn start(
        &self,
        pod: &PodRecord,
        run: &ContainerRef,
        image: Option<&Image>,
        address: Option<Ipv4Addr>,
    ) -> Result<Started, StartFailure> {
        let image = image.ok_or_else(|| StartFailure {
            reason: "CreateContainerError".into(),
            message: format!("the image of container {} is not on this node", run.name),
        })?;
        let container = pod.container(&run.name);
        let references = container.map(|container| references::of_container(&pod.manifest, container));
        let sources = pod.sources.read(&references.unwrap_or_default()).await;
        let mut spec = compose::container(&pod.manifest, &sources, &self.facts, address, run, image)?;
        self.read_profile(&mut spec).await?;
        if run.attempt == 0 {
            self.tell_unenforced(pod, run, &spec.resources);
        }
        self.runtime.start(&spec).await.map_err(|error| unstarted::<R>(&spec, &error))
    }

    /// Reads the seccomp profile that a container names.
    async fn read_profile(&self, spec: &mut ContainerSpec) -> Result<(), StartFailure> {
        let security = &mut spec.security;
        let Seccomp::Localhost(name) = &security.seccomp else { return Ok(()) };
        let failed = |error: &dyn std::error::Error| StartFailure {
            reason: "CreateContainerError".into(),
            message: format!("failed to generate seccomp spec opts: {}", chain(error)),
        };
        let caps = CapSet::resolve(&security.capabilities_add, &security.capabilities_drop);
        let caps = caps.map_err(|error| failed(&error))?;
        let (directory, name) = (self.config.seccomp_dir(), name.clone());
        let loaded = tokio::task::spawn_blocking(move || seccomp::load(&directory, &name, caps)).await;
        let program = loaded.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        security.seccomp = Seccomp::Compiled(program);
        Ok(())
    }

    /// A limit that the manifest asks for is never dropped in silence. What podbox sets by itself (weights, the
    /// number of processes) is the doctor's to tell.
    fn tell_unenforced(&self, pod: &PodRecord, run: &ContainerRef, resources: &Resources) {
        let asked = |limit: &Unenforced| matches!(limit.setting, "cpu.max" | "memory.max" | "memory.high");
        for Unenforced { setting, controller } in self.runtime.unenforced(resources).into_iter().filter(asked)
        {
            let message =
                format!("{setting} is not enforced: this host has no cgroup v2 {controller} controller");
            tracing::warn!(pod = %run.pod, container = run.name, "{message} (see `podbox doctor`)");
            if let Some(notices) = self.notices.get() {
                let (part, reason) = (Some(pod.shape.part(&run.name)), UNENFORCED.into());
                notices.tell(&pod.pod, Notice { part, warning: true, reason, message, remark: None });
            }
        }
    }

    /// Says what of its resolver's configuration a pod does not get.
    fn tell_resolver(&self, pod: &PodRecord, host: &Resolver) {
        let (Some(notices), Some(spec)) = (self.notices.get(), &pod.manifest.spec) else { return };
        for (reason, message) in Resolver::left_out(spec, &pod.pod, host, &self.facts.cluster_dns) {
            notices.tell(
                &pod.pod,
                Notice { part: None, warning: true, reason: reason.into(), message, remark: None },
            );
        }
    }

    fn lease(&self, pod: &PodRecord) -> Result<Ipv4Addr, crate::net::lease::LeaseError> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).acquire(&pod.pod.uid)
    }

    fn release(&self, pod: &PodRef) {
        let released = self.leases.lock().unwrap_or_else(PoisonError::into_inner).release(&pod.uid);
        if let Err(error) = released {
            tracing::warn!(%pod, "giving its address back failed: {}", chain(&error));
        }
    }
}

/// Why a container was not started, by the kubelet's reasons: without a program to execute there was no run.
fn unstarted<R: Runtime>(spec: &ContainerSpec, error: &R::Error) -> StartFailure {
    let run = &spec.container;
    let (reason, message) = match R::obstacle(error) {
        Obstacle::Program => ("StartError", chain(error)),
        Obstacle::Creation => ("CreateContainerError", chain(error)),
        Obstacle::SubPath(target) => {
            // Upstream's words leave out why: that may tell of the host's files.
            tracing::warn!(pod = %run.pod, container = run.name, "{}", chain(error));
            let mount = spec.mounts.iter().find(|mount| mount.target == target);
            let volume = mount.map_or("", |Mount { source: MountSource::Volume(name), .. }| name);
            let name = &run.name;
            let why = format!("failed to prepare subPath for volumeMount {volume:?} of container {name:?}");
            ("CreateContainerConfigError", why)
        }
    };
    StartFailure { reason: reason.to_owned(), message }
}
