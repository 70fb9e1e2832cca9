//! In-place resize: what a container may use is changed while it runs, where its `resizePolicy` lets it be.
//!
//! ```text
//!   another share is asked for ──▶ Asked ──▶ given
//!                                    ├──▶ Failed, infeasible: until something else is asked for
//!                                    └──▶ Failed, deferred or with an error: tried again
//! ```
//!
//! Pure. What can be written into a cgroup is the engine's to say.

use super::resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The wait after one that failed and may go well later.
pub const AGAIN: Duration = Duration::from_secs(10);

/// What of a container's resources can change while it runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// What a container asks for, and what it may use at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Requests, by resource.
    pub requests: BTreeMap<String, Quantity>,
    /// Limits, by resource.
    pub limits: BTreeMap<String, Quantity>,
}

/// What has become of another share that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Resize {
    /// None was, or it has been given.
    #[default]
    None,
    /// It is being given.
    Asked(Share),
    /// It could not be given.
    Failed {
        /// Which.
        wanted: Share,
        /// Why.
        refusal: Refusal,
        /// When.
        at: Instant,
    },
}

/// Why a container cannot have a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether it ever can.
    pub kind: RefusalKind,
    /// In words.
    pub message: String,
}

/// What may become of a share that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// This node can never give it.
    Infeasible,
    /// Other pods have what it takes: it is given once they leave.
    Deferred,
    /// Giving it failed; it may go well later.
    Error,
}

/// What to do about a container whose share is another one than it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Give it.
    Now,
    /// End its run: the next one has it.
    ByRestart,
    /// Ask again then.
    At(Instant),
}

impl Share {
    /// A container's.
    pub fn of(container: &Container) -> Share {
        let resources = container.resources.clone().unwrap_or_default();
        Share {
            requests: resources.requests.unwrap_or_default(),
            limits: resources.limits.unwrap_or_default(),
        }
    }

    /// As the API has it.
    pub fn requirements(&self) -> ResourceRequirements {
        let some = |list: &BTreeMap<String, Quantity>| (!list.is_empty()).then(|| list.clone());
        ResourceRequirements { requests: some(&self.requests), limits: some(&self.limits), claims: None }
    }

    /// Whether it differs from another one in what can change.
    fn differs(&self, other: &Share, resource: &str) -> bool {
        self.requests.get(resource) != other.requests.get(resource)
            || self.limits.get(resource) != other.limits.get(resource)
    }
}

/// What is due of a container that runs with one share and asks for another; `restarts_for` are the resources that it
/// wants to be restarted for.
pub fn due(
    given: &Share,
    wanted: &Share,
    state: &Resize,
    restarts_for: &[String],
    now: Instant,
) -> Option<Due> {
    let changed: Vec<&str> = RESIZABLE.into_iter().filter(|name| given.differs(wanted, name)).collect();
    match state {
        _ if changed.is_empty() => None,
        Resize::Asked(_) => None,
        Resize::Failed { wanted: failed, refusal, .. }
            if failed == wanted && refusal.kind == RefusalKind::Infeasible =>
        {
            None
        }
        Resize::Failed { wanted: failed, at, .. } if failed == wanted && now < *at + AGAIN => {
            Some(Due::At(*at + AGAIN))
        }
        _ if changed.iter().any(|name| restarts_for.iter().any(|other| other == name)) => {
            Some(Due::ByRestart)
        }
        _ => Some(Due::Now),
    }
}

/// The resources that a container wants to be restarted for.
pub fn restarts_for(container: &Container) -> Vec<String> {
    let policies = container.resize_policy.iter().flatten();
    let restarts = policies.filter(|policy| policy.restart_policy == "RestartContainer");
    restarts.map(|policy| policy.resource_name.clone()).collect()
}

/// Why a pod is too large for a node of this size, if it is.
pub fn exceeds(pod: &Pod, cpu_milli: u64, memory_bytes: u64) -> Option<String> {
    let (cpu, memory) = resources::requested(pod);
    [("cpu", cpu, cpu_milli), ("memory", memory, memory_bytes)].into_iter().find_map(|(name, asked, has)| {
        (asked > has)
            .then(|| format!("Node didn't have enough capacity: {name}, requested: {asked}, capacity: {has}"))
    })
}

/// Why a pod is too large for what others have left of this node (`taken` of thousandths of processors, and of bytes), if it is.
pub fn lacks(pod: &Pod, taken: (u64, u64), cpu_milli: u64, memory_bytes: u64) -> Option<String> {
    let (cpu, memory) = resources::requested(pod);
    let all = [("cpu", cpu, taken.0, cpu_milli), ("memory", memory, taken.1, memory_bytes)];
    all.into_iter().find_map(|(name, asked, used, has)| {
        (asked > has.saturating_sub(used)).then(|| {
            format!(
                "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {has}"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn share(cpu: &str, memory: &str) -> Share {
        let list =
            [("cpu", cpu), ("memory", memory)].map(|(name, text)| (name.to_owned(), Quantity(text.into())));
        Share { requests: BTreeMap::new(), limits: list.into() }
    }

    #[test]
    fn a_share_is_given_once_and_tried_again_where_that_may_help() {
        let now = clock::instant();
        let (small, large) = (share("1", "1Gi"), share("2", "1Gi"));
        let failed = |infeasible| {
            let kind = if infeasible { RefusalKind::Infeasible } else { RefusalKind::Deferred };
            let refusal = Refusal { kind, message: String::new() };
            Resize::Failed { wanted: large.clone(), refusal, at: now }
        };
        let check = |wanted: &Share, state: &Resize, restarts: &[&str], now, expected| {
            let restarts: Vec<String> = restarts.iter().map(|name| name.to_string()).collect();
            assert_eq!(due(&small, wanted, state, &restarts, now), expected, "{wanted:?} {state:?}");
        };
        check(&small, &Resize::None, &[], now, None);
        check(&large, &Resize::None, &[], now, Some(Due::Now));
        check(&large, &Resize::None, &["memory"], now, Some(Due::Now));
        check(&large, &Resize::None, &["cpu"], now, Some(Due::ByRestart));
        check(&large, &Resize::Asked(large.clone()), &[], now, None);
        check(&large, &failed(true), &[], now + 2 * AGAIN, None);
        check(&large, &failed(false), &[], now, Some(Due::At(now + AGAIN)));
        check(&large, &failed(false), &[], now + AGAIN, Some(Due::Now));
        check(&share("3", "1Gi"), &failed(true), &[], now, Some(Due::Now));
    }

    #[test]
    fn a_pod_is_measured_against_its_node() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}},
            {"name": "b", "resources": {"limits": {"cpu": "1"}}}]}}))
        .unwrap();
        assert_eq!(exceeds(&pod, 2500, 1 << 30), None);
        let why = "Node didn't have enough capacity: cpu, requested: 2500, capacity: 2000";
        assert_eq!(exceeds(&pod, 2000, 1 << 30).as_deref(), Some(why));
        assert_eq!(lacks(&pod, (500, 0), 3000, 1 << 30), None);
        let why = "Node didn't have enough resource: cpu, requested: 2500, used: 501, capacity: 3000";
        assert_eq!(lacks(&pod, (501, 0), 3000, 1 << 30).as_deref(), Some(why));
    }

    #[test]
    fn what_is_asked_for_as_a_whole_counts_and_so_does_overhead() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "100m", "memory": "1Ki"},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Ki"}}}]}}))
        .unwrap();
        let why = "Node didn't have enough capacity: cpu, requested: 2100, capacity: 2000";
        assert_eq!(exceeds(&pod, 2000, 1 << 30).as_deref(), Some(why));
        // To others, whatever its containers have been given.
        assert_eq!(resources::Pledge::of(&pod).with((300, 1024)), (2100, 2048));
    }
}
