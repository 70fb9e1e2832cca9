//! What a pod's status starts with, and its quality-of-service class.

use super::default::Amounts;
use crate::api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus, ResourceRequirements};

/// The status of a new pod. Its times are the pod's creation's.
pub fn initial(pod: &Pod) -> PodStatus {
    let gated = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("SchedulingGated".to_owned()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
        last_transition_time: pod.metadata.creation_timestamp.clone(),
        ..PodCondition::default()
    };
    PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos(pod).to_owned()),
        conditions: gated.is_some_and(|gates| !gates.is_empty()).then(|| vec![condition]),
        ..PodStatus::default()
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by cpu and memory alone.
pub fn qos(pod: &Pod) -> &'static str {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let all: Vec<_> = match &spec.resources {
        Some(whole) => vec![Some(whole)],
        None => spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .map(|container| container.resources.as_ref())
            .collect(),
    };
    if all.iter().flatten().all(|one| amounts(&one.limits).is_empty() && amounts(&one.requests).is_empty()) {
        return "BestEffort";
    }
    let guaranteed = all.iter().all(|one| one.is_some_and(is_guaranteed));
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// What counts of a list: cpu and memory above nothing.
fn amounts(list: &Option<Amounts>) -> Vec<(&str, Quantity)> {
    let list = list.iter().flatten().filter(|(name, _)| ["cpu", "memory"].contains(&name.as_str()));
    list.filter_map(|(name, amount)| Some((name.as_str(), Quantity::parse(&amount.0).ok()?)))
        .filter(|(_, amount)| !amount.is_zero())
        .collect()
}

fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    let (limits, requests) = (amounts(&resources.limits), amounts(&resources.requests));
    limits.len() == 2 && limits == requests
}
