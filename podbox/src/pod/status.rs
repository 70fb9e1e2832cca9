//! A pod's status as the API words it, from what is known of it: phase, conditions, its containers' states.
//!
//! Pure. Reasons and messages are the kubelet's, word by word. `OOMKilled` appears only where the kernel marked a victim;
//! never because of exit code 137. Invariant: a pod's phase says that it is over only when no process of it is left.

mod condition;
mod container;

#[cfg(test)]
mod tests;

pub use condition::{PILED, RESIZING, ready};

use super::observed::{ContainerState, Observed, SandboxState};
use super::plan::{Outcome, outcome};
use super::shape::Shape;
use crate::api::identity::PodRef;
use condition::Containers;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Instant, SystemTime};

/// What the node knows beside [`Observed`].
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose status it is.
    pub pod: PodRef,
    /// The node's address.
    pub host: IpAddr,
    /// The pod's address, once it has one.
    pub ip: Option<Ipv4Addr>,
    /// When the pod was accepted.
    pub accepted: SystemTime,
    /// The image reference of each container, by its name.
    pub images: Vec<(String, String)>,
}

/// The status now.
pub fn status(pod: &Shape, seen: &Observed, facts: &Facts, now: Instant) -> core::PodStatus {
    let phase = phase(pod, seen);
    let statuses = |shapes: &[super::shape::ContainerShape]| -> Vec<core::ContainerStatus> {
        shapes.iter().map(|shape| container::status(shape, pod, seen, facts, now)).collect()
    };
    let (init, main) = (statuses(&pod.init), statuses(&pod.main));
    let ephemeral = statuses(&pod.ephemeral);
    let containers = Containers { shape: pod, init: &init, main: &main };
    let conditions = condition::all(&containers, seen, phase);
    let ip = facts.ip.map(|ip| ip.to_string());
    let verdict = seen.verdict.as_ref().filter(|_| phase == "Failed");
    core::PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        start_time: Some(time(facts.accepted)),
        host_ip: Some(facts.host.to_string()),
        host_ips: Some(vec![core::HostIP { ip: facts.host.to_string() }]),
        pod_ips: ip.clone().map(|ip| vec![core::PodIP { ip }]),
        pod_ip: ip,
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        reason: verdict.map(|verdict| verdict.reason.clone()).filter(|reason| !reason.is_empty()),
        message: verdict.map(|verdict| verdict.message.clone()).filter(|message| !message.is_empty()),
        ..Default::default()
    }
}

fn phase(pod: &Shape, seen: &Observed) -> &'static str {
    if !seen.is_active() {
        match outcome(pod, seen) {
            _ if seen.verdict.is_some() => return "Failed",
            Some(Outcome::Succeeded) => return "Succeeded",
            Some(Outcome::Failed) => return "Failed",
            // Ended by request: containers that did not get to their own end make it Failed, as upstream counts it. Whether
            // there is a sandbox, or was, is nobody's concern: Jobs wait for the phase.
            None if seen.termination.is_some() || matches!(seen.sandbox, SandboxState::Removed { .. }) => {
                return ended_by_request(pod, seen);
            }
            None => {}
        }
    }
    // A pod is Pending until each of its containers has run.
    let ran = pod.main.iter().all(|main| seen.container(&main.name).has_run());
    if ran { "Running" } else { "Pending" }
}

fn ended_by_request(pod: &Shape, seen: &Observed) -> &'static str {
    let code = |name: &str| match &seen.container(name).state {
        ContainerState::Ended(ended) => ended.exited.status.code(),
        _ => 128,
    };
    if pod.main.iter().all(|main| code(&main.name) == 0) { "Succeeded" } else { "Failed" }
}

/// The API's time: seconds since the epoch; what is before or after all calendars becomes the epoch.
fn time(at: SystemTime) -> Time {
    Time(Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}
