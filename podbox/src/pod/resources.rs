//! Requests and limits to cgroup settings, QoS class and oom_score_adj, by the kubelet's formulas.

pub use crate::api::requests::{limit, pod_limit, pod_request, request};

use crate::api::identity::QosClass;
use crate::api::quantity::Quantity;
use crate::api::requests::{self, listed};
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

/// What the pod's runtime class adds.
fn overhead(pod: &Pod, name: &str) -> Option<Quantity> {
    listed(pod.spec.as_ref()?.overhead.as_ref(), name)
}

/// A container's cgroup settings. memory.high and memory.min are left alone unless the node is told so
/// ([`protect_container`]): a throttled container is slow without a word.
pub fn of_container(container: &Container) -> Resources {
    let memory = limit(container, "memory").map(bytes).filter(|bytes| *bytes > 0);
    let quota = limit(container, "cpu").map(millis).filter(|millis| *millis > 0);
    Resources {
        cpu_max: quota.map(cpu_max),
        cpu_weight: Some(cpu_weight(request(container, "cpu").map_or(0, millis))),
        memory_max: memory,
        memory_high: None,
        memory_min: None,
        oom_group: true,
        pids_max: Some(PIDS_MAX),
    }
}

/// A pod's own cgroup: what `spec.resources` says, or else the sum of its containers' requests, and of their limits
/// where each has one; and what its runtime class adds.
pub fn of_pod(pod: &Pod) -> Resources {
    let own = |name: &str, amount: fn(Quantity) -> u64| pod_limit(pod, name).map(amount).filter(|n| *n > 0);
    let sum = |name: &str, amount: fn(Quantity) -> u64| {
        total(pod, |container| limit(container, name).map(amount).filter(|n| *n > 0))
    };
    let limited = |name: &str, amount: fn(Quantity) -> u64| {
        let limit = own(name, amount).or_else(|| sum(name, amount))?;
        Some(limit.saturating_add(overhead(pod, name).map_or(0, amount)))
    };
    let requested = pod_request(pod, "cpu")
        .map(millis)
        .or_else(|| total(pod, |container| Some(request(container, "cpu").map_or(0, millis))))
        .unwrap_or(0);
    Resources {
        cpu_max: limited("cpu", millis).map(cpu_max),
        cpu_weight: Some(cpu_weight(requested.saturating_add(overhead(pod, "cpu").map_or(0, millis)))),
        memory_max: limited("memory", bytes),
        memory_high: None,
        memory_min: None,
        // The container is the unit that dies, not the pod.
        oom_group: false,
        pids_max: None,
    }
}

/// Of what a container may use beyond its request, the share that it gets at full speed: the kubelet's factor, in tenths.
const THROTTLING_TENTHS: u64 = 9;
/// memory.high is a multiple of it.
const PAGE: u64 = 4096;

/// Keeps for a container what it has requested, and slows it down before it is killed for its limit, or for all that pods
/// may have (`allocatable` bytes): the kubelet's MemoryQoS.
pub fn protect_container(own: &mut Resources, container: &Container, allocatable: u64) {
    let requested = request(container, "memory").map_or(0, bytes);
    let limit = own.memory_max.unwrap_or(0);
    own.memory_min = Some(requested);
    // Whoever has requested all that it may have, or nothing at all, is not slowed down.
    if requested != limit {
        let most = if limit == 0 { allocatable } else { limit };
        let more = u128::from(most.saturating_sub(requested)) * u128::from(THROTTLING_TENTHS) / 10;
        let high = requested.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)) / PAGE * PAGE;
        own.memory_high = Some(high).filter(|high| *high > requested);
    }
}

/// Keeps for a pod what it has requested: all of it, for its containers get theirs out of that.
pub fn protect_pod(own: &mut Resources, pod: &Pod) {
    let whole = pod_request(pod, "memory").map(bytes);
    let sum = || total(pod, |container| Some(request(container, "memory").map_or(0, bytes)));
    own.memory_min = whole.or_else(sum);
}

/// Thousandths of a processor, and bytes, that a pod asks for: its containers, or all of it as a whole; and its overhead.
pub fn requested(pod: &Pod) -> (u64, u64) {
    let all = requests::of_pod(pod);
    let amount = |name: &str| all.get(name).copied().unwrap_or(Quantity::ZERO);
    (millis(amount("cpu")), bytes(amount("memory")))
}

/// What a pod takes of its node beside what its containers have been given, or in the place of it: thousandths of processors,
/// and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pledge {
    whole: (Option<u64>, Option<u64>),
    overhead: (u64, u64),
}

impl Pledge {
    /// A pod's.
    pub fn of(pod: &Pod) -> Pledge {
        let (cpu, memory) = (pod_request(pod, "cpu"), pod_request(pod, "memory"));
        let overhead = |name: &str| overhead(pod, name);
        Pledge {
            whole: (cpu.map(millis), memory.map(bytes)),
            overhead: (overhead("cpu").map_or(0, millis), overhead("memory").map_or(0, bytes)),
        }
    }

    /// What it takes in all, where its containers have been given so much.
    pub fn with(self, given: (u64, u64)) -> (u64, u64) {
        let sum =
            |whole: Option<u64>, given: u64, overhead: u64| whole.unwrap_or(given).saturating_add(overhead);
        (sum(self.whole.0, given.0, self.overhead.0), sum(self.whole.1, given.1, self.overhead.1))
    }
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

/// Shares by the kubelet's formula, then to a weight by the OCI runtimes' one: least, default and most of the one are
/// those of the other (2, 1024, 262144 and 1, 100, 10000).
fn cpu_weight(millis: u64) -> u64 {
    let shares = (millis.saturating_mul(1024) / 1000).clamp(SHARES_LEAST, SHARES_MOST);
    match shares {
        SHARES_LEAST => 1,
        SHARES_MOST => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// The pod's QoS class.
pub fn qos(pod: &Pod) -> QosClass {
    if pod.spec.as_ref().is_some_and(|spec| spec.resources.is_some()) {
        return class(&[(|name| pod_request(pod, name), |name| pod_limit(pod, name))]);
    }
    let all: Vec<_> = containers(pod)
        .map(|container| {
            (move |name: &str| request(container, name), move |name: &str| limit(container, name))
        })
        .collect();
    class(&all)
}

/// The class of what has these requests and limits.
fn class<R, L>(all: &[(R, L)]) -> QosClass
where
    R: Fn(&str) -> Option<Quantity>,
    L: Fn(&str) -> Option<Quantity>,
{
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let asks = |(request, _): &(R, L)| {
        COUNTED.iter().any(|name| request(name).is_some_and(|request| !request.is_zero()))
    };
    let guarantees = |(request, limit): &(R, L)| {
        COUNTED.iter().all(|name| {
            let limit = limit(name).filter(|limit| !limit.is_zero());
            limit.is_some() && request(name) == limit
        })
    };
    if !all.iter().any(asks) {
        QosClass::BestEffort
    } else if all.iter().all(guarantees) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// The kubelet's oom_score_adj: the more of the node's memory a burstable container asked for, the later it is chosen. A
/// sidecar is chosen no sooner than any container that it serves; of what only the pod as a whole asked for, each
/// container has its part.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: u64) -> i32 {
    const GUARANTEED: i32 = -997;
    const BEST_EFFORT: i32 = 1000;
    let critical = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
    match qos(pod) {
        _ if critical == Some("system-node-critical") => GUARANTEED,
        QosClass::Guaranteed => GUARANTEED,
        QosClass::BestEffort => BEST_EFFORT,
        QosClass::Burstable => {
            let own = request(container, "memory").map_or(0, bytes);
            let requested = own.saturating_add(unassigned(pod)).max(served(pod, container));
            let share = 1000 * u128::from(requested) / u128::from(node_memory.max(1));
            let adjustment = 1000 - i32::try_from(share).unwrap_or(1000);
            // Above every guaranteed container, below every best-effort one.
            adjustment.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
        }
    }
}

/// A container's part of the memory that its pod asks for beyond what the containers do.
fn unassigned(pod: &Pod) -> u64 {
    let Some(whole) = pod_request(pod, "memory").map(bytes) else { return 0 };
    let asked = containers(pod).map(|container| request(container, "memory").map_or(0, bytes));
    let (count, asked) = asked.fold((0, 0u64), |(count, sum), one| (count + 1, sum.saturating_add(one)));
    whole.saturating_sub(asked) / u64::max(count, 1)
}

/// For a sidecar, the least memory that one of the regular containers asks for; 0 for any other.
fn served(pod: &Pod, container: &Container) -> u64 {
    let spec = pod.spec.iter();
    let is_sidecar = container.restart_policy.as_deref() == Some("Always")
        && spec
            .clone()
            .any(|spec| spec.init_containers.iter().flatten().any(|init| init.name == container.name));
    let regular = spec.flat_map(|spec| &spec.containers);
    let least = regular.map(|container| request(container, "memory").map_or(0, bytes)).min();
    least.filter(|_| is_sidecar).unwrap_or(0)
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
        assert_eq!((first.cpu_weight, first.memory_max), (Some(35), Some(64 << 20)));
        let second = of_container(second);
        assert_eq!((second.cpu_max, second.cpu_weight, second.memory_max), (None, Some(174), None));
        // One container without a limit, and the pod has none.
        assert_eq!((of_pod(&pod).cpu_max, of_pod(&pod).memory_max), (None, None));
    }

    #[test]
    fn what_was_requested_is_kept_and_more_is_slowed_down_before_its_end() {
        let pod = pod(&[
            "{requests: {memory: 64Mi}, limits: {memory: 128Mi}}",
            "{limits: {memory: 32Mi}}",
            "{requests: {memory: 16Mi}}",
            "{}",
        ]);
        let told = pod.spec.as_ref().unwrap().containers.iter().map(|container| {
            let mut own = of_container(container);
            protect_container(&mut own, container, 1 << 30);
            (own.memory_min, own.memory_high)
        });
        // 64 MiB and nine tenths of 64; 16 MiB and nine tenths of what is left of 1 GiB: down to whole pages.
        let high = |bytes: u64| Some(bytes / PAGE * PAGE);
        let expected = [
            (Some(64 << 20), high((64 << 20) + (64 << 20) * 9 / 10)),
            (Some(32 << 20), None),
            (Some(16 << 20), high((16 << 20) + (1008 << 20) * 9 / 10)),
            (Some(0), None),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        let mut whole = of_pod(&pod);
        protect_pod(&mut whole, &pod);
        assert_eq!((whole.memory_min, whole.memory_high), (Some(112 << 20), None));
    }

    #[test]
    fn who_asked_for_more_memory_is_killed_later() {
        let adjustment = |resources: &str| {
            let pod = pod(&[resources]);
            let container = &pod.spec.as_ref().unwrap().containers[0];
            oom_score_adj(&pod, container, 4 << 30)
        };
        assert_eq!(adjustment("{}"), 1000);
        assert_eq!(adjustment("{limits: {cpu: 1, memory: 1Gi}}"), -997);
        assert_eq!(adjustment("{requests: {memory: 1Gi}}"), 750);
        assert_eq!(adjustment("{requests: {memory: 4Gi}}"), 3);
        assert_eq!(adjustment("{requests: {cpu: 1}}"), 999);
    }

    #[test]
    fn the_weights_of_shares_meet_at_least_default_and_most() {
        for (millis, weight) in
            [(0, 1), (2, 1), (100, 17), (1000, 100), (256_000, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(cpu_weight(millis), weight, "{millis}m");
        }
    }

    fn whole(spec: &str) -> Pod {
        serde_yaml::from_str(&format!("{{spec: {spec}}}")).unwrap()
    }

    #[test]
    fn what_a_pod_asks_for_as_a_whole_goes_before_its_containers() {
        let pod = whole(
            "{resources: {limits: {cpu: 2, memory: 1Gi}}, overhead: {cpu: 500m, memory: 1Mi}, \
             containers: [{name: a, resources: {requests: {memory: 512Mi}}}, {name: b}]}",
        );
        assert_eq!(qos(&pod), QosClass::Guaranteed);
        let own = of_pod(&pod);
        assert_eq!(own.cpu_max.map(|max| max.quota_us), Some(250_000));
        assert_eq!(own.memory_max, Some((1 << 30) + (1 << 20)));
        let burst = whole(
            "{resources: {requests: {memory: 1Gi}}, containers: [{name: a, resources: {requests: {memory: 512Mi}}}, {name: b}]}",
        );
        let adjustment =
            |at: usize| oom_score_adj(&burst, &burst.spec.as_ref().unwrap().containers[at], 4 << 30);
        assert_eq!((qos(&burst), adjustment(0), adjustment(1)), (QosClass::Burstable, 813, 938));
    }

    #[test]
    fn a_sidecar_outlives_whom_it_serves_and_what_the_node_needs_outlives_all() {
        let pod = whole(
            "{initContainers: [{name: s, restartPolicy: Always}], containers: [{name: a, resources: {requests: {memory: 1Gi}}}]}",
        );
        let sidecar = &pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0];
        assert_eq!(oom_score_adj(&pod, sidecar, 4 << 30), 750);
        let critical = whole("{priorityClassName: system-node-critical, containers: [{name: a}]}");
        let container = &critical.spec.as_ref().unwrap().containers[0];
        assert_eq!(oom_score_adj(&critical, container, 4 << 30), -997);
    }
}
