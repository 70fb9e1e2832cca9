//! What probes ask of the engine beside commands: how full a server's queue is, and what a container was kept from.

use super::{Engine, EngineError, lock};
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::backlog::{Asker, Backlog};
use crate::sandbox::netns;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

impl Engine {
    /// What asks for sockets within a pod's network: opened once, since that takes a thread in the pod's namespace.
    async fn asker(&self, pod: &PodRef) -> Result<Arc<Mutex<Asker>>, EngineError> {
        if let Some(open) = lock(&self.0.askers).get(pod) {
            return Ok(Arc::clone(open));
        }
        let opened = netns::open_in(self.namespace(pod)?, Asker::open).await;
        let opened = opened.map_err(|source| EngineError::Sockets { pod: pod.clone(), source })?;
        self.0.keep_asker(pod, opened).ok_or_else(|| EngineError::NoSandbox(pod.clone()))
    }

    /// What a connection to a pod would meet.
    pub async fn backlog(&self, pod: &PodRef, server: SocketAddrV4) -> Result<Backlog, EngineError> {
        // Which port it would come from matters only among sockets that share one.
        let client = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let asker = self.asker(pod).await?;
        let asked = lock(&asker).ask(client, server);
        // Whatever the socket still holds is no answer to the next question: that one begins anew.
        asked.map_err(|source| {
            lock(&self.0.askers).remove(pod);
            EngineError::Backlog { pod: pod.clone(), source }
        })
    }

    /// The cgroup of a container that runs here.
    pub fn cgroup(&self, container: &ContainerRef) -> Result<PathBuf, EngineError> {
        let tracked = self.tracked(container)?;
        Ok(self.0.facts.container_cgroup(container, tracked.label.qos))
    }
}
