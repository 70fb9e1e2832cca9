//! A pod as its worker knows it: the manifest, and what was read from it once.

use super::sources::Origin;
use crate::api::ephemeral;
use crate::api::identity::PodRef;
use crate::api::image::Image;
use crate::api::images::PullPolicy;
use crate::pod::desired;
use crate::pod::observed::{Observed, SandboxState};
use crate::pod::shape::Shape;
use crate::pod::status::{self, Facts};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// SIGTERM, unless the pod or the image says otherwise.
const STOP_SIGNAL: i32 = 15;

/// A pod that was accepted: decoded, defaulted, valid, and without a field that podbox does not honour.
#[derive(Debug)]
pub struct PodRecord {
    /// Which.
    pub pod: PodRef,
    /// As defaulted.
    pub manifest: Pod,
    /// Where what it refers to comes from.
    pub sources: Arc<dyn Origin>,
    /// Its ephemeral containers, as the containers that they are.
    ephemeral: Vec<Container>,
    /// What decides its steps.
    pub shape: Shape,
    /// When it was accepted.
    pub accepted: SystemTime,
}

impl PodRecord {
    /// A record of a pod accepted at `accepted`.
    pub fn new(pod: PodRef, manifest: Pod, sources: Arc<dyn Origin>, accepted: SystemTime) -> Self {
        let shape = desired::shape(&manifest);
        let ephemeral = ephemeral::of(&manifest).map(ephemeral::as_container).collect();
        PodRecord { pod, manifest, sources, ephemeral, shape, accepted }
    }

    /// The same pod, as a later version of its manifest has it.
    pub fn next(&self, manifest: Pod) -> PodRecord {
        PodRecord::new(self.pod.clone(), manifest, Arc::clone(&self.sources), self.accepted)
    }

    /// It shares the host's network namespace.
    pub fn host_network(&self) -> bool {
        self.manifest.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    }

    /// It holds ports of the host.
    pub fn holds_host_ports(&self) -> bool {
        let mut ports = self.containers().flat_map(|container| container.ports.iter().flatten());
        ports.any(|port| port.host_port.is_some_and(|port| port != 0))
    }

    /// A container's image reference and when to pull it.
    pub fn image(&self, container: &str) -> (&str, PullPolicy) {
        match self.container(container) {
            Some(container) => {
                (container.image.as_deref().unwrap_or_default(), desired::pull_policy(container))
            }
            None => ("", PullPolicy::Never),
        }
    }

    /// What asks a container to end.
    pub fn stop_signal(&self, container: &str, image: Option<&Image>) -> i32 {
        let own = self.container(container).and_then(desired::stop_signal);
        let of_image = || desired::signal_number(image?.config.stop_signal.as_deref()?);
        own.or_else(of_image).unwrap_or(STOP_SIGNAL)
    }

    /// Whether the end of its log stands for the last words that a container that failed did not leave.
    pub fn falls_back_to_logs(&self, container: &str) -> bool {
        let policy = self.container(container).and_then(|c| c.termination_message_policy.as_deref());
        policy == Some("FallbackToLogsOnError")
    }

    /// Its status as the API words it; `host` is the node's address, `ip` its own.
    pub fn status(&self, seen: &Observed, host: IpAddr, ip: Option<Ipv4Addr>, now: Instant) -> PodStatus {
        let images =
            self.containers().map(|c| (c.name.clone(), c.image.clone().unwrap_or_default())).collect();
        let made =
            matches!(seen.sandbox, SandboxState::Ready | SandboxState::Removing | SandboxState::Stuck { .. });
        let ip = match host {
            // In the host's network it has the host's address.
            IpAddr::V4(host) if made && self.host_network() => Some(host),
            _ => ip,
        };
        let facts = Facts { pod: self.pod.clone(), host, ip, accepted: self.accepted, images };
        let mut status = status::status(&self.shape, seen, &facts, now);
        // What was derived from this version says so.
        status.observed_generation = self.manifest.metadata.generation;
        for condition in status.conditions.iter_mut().flatten() {
            condition.observed_generation = status.observed_generation;
        }
        status
    }

    /// Every container, init containers first, ephemeral ones last.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        let spec = self.manifest.spec.iter();
        let lasting = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        lasting.chain(&self.ephemeral)
    }

    /// A container by its name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers().find(|container| container.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::pod::sources::Sources;

    #[test]
    fn a_pod_in_the_hosts_network_has_the_hosts_address() {
        let text = "{spec: {hostNetwork: true, containers: [{name: a, image: x}]}}";
        let manifest = serde_yaml::from_str(text).unwrap();
        let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let record = PodRecord::new(pod, manifest, Arc::new(Arc::new(Sources::default())), clock::wall());
        let mut seen = Observed::default();
        let ip = |seen: &Observed| record.status(seen, [192, 0, 2, 1].into(), None, clock::instant()).pod_ip;
        assert_eq!(ip(&seen), None);
        seen.sandbox = SandboxState::Ready;
        assert_eq!(ip(&seen).as_deref(), Some("192.0.2.1"));
    }
}
