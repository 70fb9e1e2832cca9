//! What probes ask of the engine beside commands: how full a server's queue is, and what a container was kept from.

use super::{Engine, EngineError};
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::backlog::{Asker, Backlog};
use crate::sandbox::netns;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

impl Engine {
    /// What asks for sockets within a pod's network.
    async fn asker(&self, pod: &PodRef) -> Result<Asker, EngineError> {
        let opened = netns::open_in(self.namespace(pod)?, Asker::open).await;
        opened.map_err(|source| EngineError::Sockets { pod: pod.clone(), source })
    }

    /// What a connection to a pod would meet.
    pub async fn backlog(&self, pod: &PodRef, server: SocketAddrV4) -> Result<Backlog, EngineError> {
        // Which port it would come from matters only among sockets that share one.
        let client = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let asked = self.asker(pod).await?.ask(client, server);
        asked.map_err(|source| EngineError::Backlog { pod: pod.clone(), source })
    }

    /// The cgroup of a container that runs here.
    pub fn cgroup(&self, container: &ContainerRef) -> Result<PathBuf, EngineError> {
        let tracked = self.tracked(container)?;
        Ok(self.0.facts.container_cgroup(container, tracked.label.qos))
    }
}
