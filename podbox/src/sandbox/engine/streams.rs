//! The engine's streams: commands with a client at their ends, containers that are attached to, connections into pods.

use super::{Engine, EngineError, blocking, lock};
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::streams::Wanted;
use crate::sandbox::exec::Target;
use crate::sandbox::message::Body;
use crate::sandbox::netns;
use crate::sandbox::plan;
use crate::sandbox::session::{self, Attached, Session};
use crate::sandbox::spec::Network;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

impl Engine {
    /// Where a new command of a container runs.
    pub(super) fn target(&self, container: &ContainerRef) -> Result<Target, EngineError> {
        let tracked = self.tracked(container)?;
        let number = self.0.execs.fetch_add(1, Ordering::Relaxed);
        let cgroup = self.0.facts.container_cgroup(container, tracked.label.qos);
        Ok(Target { container: plan::launch_id(container), cgroup, number })
    }

    /// The run of a container that runs now.
    pub fn running(&self, pod: &PodRef, name: &str) -> Option<ContainerRef> {
        self.0.running(pod, name)
    }

    /// Starts a command with streams; returns once its program runs.
    pub async fn session(
        &self,
        container: &ContainerRef,
        args: Vec<String>,
        wanted: Wanted,
    ) -> Result<Session, EngineError> {
        let target = self.target(container)?;
        session::open(self, target, args, wanted)
            .await
            .map_err(|source| EngineError::Exec { name: container.name.clone(), source })
    }

    /// Attaches to a container.
    pub fn attach(&self, container: &ContainerRef) -> Result<Attached, EngineError> {
        let tracked = self.tracked(container)?;
        let stdin = lock(&tracked.stdin).clone();
        let (tty, once) = (tracked.label.tty, tracked.label.stdin_once);
        let taps = tracked.taps.clone();
        Ok(Attached { stdin, output: taps.open(), taps, tty, once })
    }

    /// Closes a container's stdin for good.
    pub async fn close_stdin(&self, container: &ContainerRef) -> Result<(), EngineError> {
        let tracked = self.tracked(container)?;
        lock(&tracked.stdin).take();
        let (shared, id) = (self.0.clone(), plan::launch_id(container));
        blocking(move || Ok(shared.keeper.command(Body::CloseStdin { id })?)).await
    }

    /// Connects to a port of a pod on its loopback address. The connection does not block.
    pub async fn connect(&self, pod: &PodRef, port: u16) -> Result<TcpStream, EngineError> {
        let namespace = self.namespace(pod)?;
        let connected = netns::connect(namespace.as_deref(), port).await;
        connected.map_err(|source| EngineError::Connect { pod: pod.clone(), port, source })
    }

    /// The pin of a pod's network namespace; none where it has the host's.
    pub(super) fn namespace(&self, pod: &PodRef) -> Result<Option<PathBuf>, EngineError> {
        let sandbox = lock(&self.0.sandboxes).get(pod).cloned();
        let sandbox = sandbox.ok_or_else(|| EngineError::NoSandbox(pod.clone()))?;
        Ok(match sandbox.network {
            Network::Host => None,
            Network::Pod { .. } => Some(self.0.facts.network(pod)),
        })
    }
}
