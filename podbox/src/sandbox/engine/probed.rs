//! What probes ask of the engine beside commands: how full a server's queue is, and what a container was kept from.

use super::{Engine, EngineError};
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::backlog::Asker;
use crate::sandbox::netns;
use std::path::PathBuf;

impl Engine {
    /// Opens what asks for sockets within a pod's network. It keeps that alive: drop it before the pod is removed.
    pub async fn asker(&self, pod: &PodRef) -> Result<Asker, EngineError> {
        let opened = netns::open_in(self.namespace(pod)?, Asker::open).await;
        opened.map_err(|source| EngineError::Sockets { pod: pod.clone(), source })
    }

    /// The cgroup of a container that runs here.
    pub fn cgroup(&self, container: &ContainerRef) -> Result<PathBuf, EngineError> {
        let tracked = self.tracked(container)?;
        Ok(self.0.facts.container_cgroup(container, tracked.label.qos))
    }
}
