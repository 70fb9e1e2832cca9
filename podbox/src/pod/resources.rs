//! Requests and limits to cgroup settings, QoS class and oom_score_adj, by the kubelet's formulas.

use crate::api::identity::QosClass;
use crate::api::quantity::Quantity;
use crate::sandbox::spec::{CpuMax, Resources};
use k8s_openapi::api::core::v1::{Container, Pod};

const CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller quota.
const CPU_QUOTA_LEAST_US: u64 = 1000;
/// cgroup v1's cpu.shares, in which Kubernetes counts.
const SHARES_LEAST: u64 = 2;
const SHARES_MOST: u64 = 262_144;
/// pids.max of a container that says nothing: enough for servers, too few for a fork bomb to hurt.
pub const PIDS_MAX: u64 = 32_768;

/// A container's limit, if it has one.
pub fn limit(container: &Container, name: &str) -> Option<Quantity> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    Quantity::parse(&limits.get(name)?.0).ok()
}

/// A container's request: its own, or its limit, as defaulting has it.
pub fn request(container: &Container, name: &str) -> Option<Quantity> {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let own = requests.and_then(|requests| Quantity::parse(&requests.get(name)?.0).ok());
    own.or_else(|| limit(container, name))
}

/// A container's cgroup settings. memory.high is left alone: the kubelet sets it only under a feature that
/// is off, because a throttled container is slow without a word.
pub fn of_container(container: &Container) -> Resources {
    let memory = limit(container, "memory").map(bytes).filter(|bytes| *bytes > 0);
    let quota = limit(container, "cpu").map(millis).filter(|millis| *millis > 0);
    Resources {
        cpu_max: quota.map(cpu_max),
        cpu_weight: Some(cpu_weight(request(container, "cpu").map_or(0, millis))),
        memory_max: memory,
        memory_high: None,
        oom_group: true,
        pids_max: Some(PIDS_MAX),
    }
}

/// A pod's own cgroup: the sum of its containers' requests, and of their limits where each has one.
pub fn of_pod(pod: &Pod) -> Resources {
    let requested = total(pod, |container| Some(request(container, "cpu").map_or(0, millis))).unwrap_or(0);
    Resources {
        cpu_max: total(pod, |container| limit(container, "cpu").map(millis).filter(|m| *m > 0)).map(cpu_max),
        cpu_weight: Some(cpu_weight(requested)),
        memory_max: total(pod, |container| limit(container, "memory").map(bytes).filter(|b| *b > 0)),
        memory_high: None,
        // The container is the unit that dies, not the pod.
        oom_group: false,
        pids_max: None,
    }
}

/// Thousandths of a processor, and bytes, that a pod asks for.
pub fn requested(pod: &Pod) -> (u64, u64) {
    let cpu = total(pod, |container| Some(request(container, "cpu").map_or(0, millis)));
    let memory = total(pod, |container| Some(request(container, "memory").map_or(0, bytes)));
    (cpu.unwrap_or(0), memory.unwrap_or(0))
}

/// What a pod needs at most at any time: its containers and sidecars together, or one init container
/// with the sidecars before it. `None` if any has none.
fn total(pod: &Pod, amount: impl Fn(&Container) -> Option<u64>) -> Option<u64> {
    let spec = pod.spec.as_ref()?;
    let (mut sidecars, mut peak) = (0u64, 0u64);
    for init in spec.init_containers.iter().flatten() {
        let amount = amount(init)?;
        peak = peak.max(sidecars.saturating_add(amount));
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(amount);
        }
    }
    let together = spec
        .containers
        .iter()
        .try_fold(sidecars, |sum, container| amount(container).map(|amount| sum.saturating_add(amount)))?;
    Some(together.max(peak))
}

fn millis(quantity: Quantity) -> u64 {
    u64::try_from(quantity.milli_value()).unwrap_or(0)
}

fn bytes(quantity: Quantity) -> u64 {
    u64::try_from(quantity.value()).unwrap_or(0)
}

fn cpu_max(millis: u64) -> CpuMax {
    let quota_us = (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_LEAST_US);
    CpuMax { quota_us, period_us: CPU_PERIOD_US }
}

/// Shares by the kubelet's formula, then to a weight by the OCI runtimes' one.
fn cpu_weight(millis: u64) -> u64 {
    let shares = (millis.saturating_mul(1024) / 1000).clamp(SHARES_LEAST, SHARES_MOST);
    1 + ((shares - SHARES_LEAST) * 9999) / (SHARES_MOST - SHARES_LEAST)
}

/// The pod's QoS class.
pub fn qos(pod: &Pod) -> QosClass {
    let all: Vec<&Container> = containers(pod).collect();
    let sets = |container: &&Container| {
        ["cpu", "memory"]
            .iter()
            .any(|name| request(container, name).is_some_and(|request| !request.is_zero()))
    };
    let guarantees = |container: &&Container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = limit(container, name).filter(|limit| !limit.is_zero());
            limit.is_some() && request(container, name) == limit
        })
    };
    if !all.iter().any(sets) {
        QosClass::BestEffort
    } else if all.iter().all(guarantees) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// The kubelet's oom_score_adj: the more of the node's memory a burstable container asked for, the later
/// it is chosen.
pub fn oom_score_adj(qos: QosClass, container: &Container, node_memory: u64) -> i32 {
    const GUARANTEED: i32 = -997;
    const BEST_EFFORT: i32 = 1000;
    match qos {
        QosClass::Guaranteed => GUARANTEED,
        QosClass::BestEffort => BEST_EFFORT,
        QosClass::Burstable => {
            let requested = u128::from(request(container, "memory").map_or(0, bytes));
            let share = 1000 * requested / u128::from(node_memory.max(1));
            let adjustment = 1000 - i32::try_from(share).unwrap_or(1000);
            // Above every guaranteed container, below every best-effort one.
            adjustment.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
        }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: &[&str]) -> Pod {
        let containers: Vec<String> =
            resources.iter().enumerate().map(|(at, r)| format!("{{name: c{at}, resources: {r}}}")).collect();
        serde_yaml::from_str(&format!(
            "{{apiVersion: v1, kind: Pod, spec: {{containers: [{}]}}}}",
            containers.join(", ")
        ))
        .unwrap()
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        for (resources, class) in [
            (vec!["{}"], QosClass::BestEffort),
            (vec!["{requests: {cpu: 1}}"], QosClass::Burstable),
            (vec!["{limits: {cpu: 1, memory: 1Gi}}"], QosClass::Guaranteed),
            (
                vec!["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}"],
                QosClass::Guaranteed,
            ),
            (vec!["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}"], QosClass::Burstable),
            (vec!["{limits: {cpu: 1, memory: 1Gi}}", "{}"], QosClass::Burstable),
            (vec!["{limits: {memory: 1Gi}}"], QosClass::Burstable),
        ] {
            assert_eq!(qos(&pod(&resources)), class, "{resources:?}");
        }
    }

    #[test]
    fn cgroup_settings_are_the_kubelets() {
        let pod = pod(&["{limits: {cpu: 250m, memory: 64Mi}}", "{requests: {cpu: 2}}"]);
        let [first, second] = &pod.spec.as_ref().unwrap().containers[..] else { panic!() };
        let first = of_container(first);
        assert_eq!(first.cpu_max, Some(CpuMax { quota_us: 25_000, period_us: 100_000 }));
        assert_eq!((first.cpu_weight, first.memory_max), (Some(10), Some(64 << 20)));
        let second = of_container(second);
        assert_eq!((second.cpu_max, second.cpu_weight, second.memory_max), (None, Some(79), None));
        // One container without a limit, and the pod has none.
        assert_eq!((of_pod(&pod).cpu_max, of_pod(&pod).memory_max), (None, None));
    }

    #[test]
    fn who_asked_for_more_memory_is_killed_later() {
        let adjustment = |resources: &str| {
            let pod = pod(&[resources]);
            let container = &pod.spec.as_ref().unwrap().containers[0];
            oom_score_adj(qos(&pod), container, 4 << 30)
        };
        assert_eq!(adjustment("{}"), 1000);
        assert_eq!(adjustment("{limits: {cpu: 1, memory: 1Gi}}"), -997);
        assert_eq!(adjustment("{requests: {memory: 1Gi}}"), 750);
        assert_eq!(adjustment("{requests: {memory: 4Gi}}"), 3);
        assert_eq!(adjustment("{requests: {cpu: 1}}"), 999);
    }
}
