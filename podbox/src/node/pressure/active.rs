//! The pods of this node as candidates: what they use of what is short, and whether a node that is short of something takes one.

use crate::api::identity::{PodRef, QosClass};
use crate::api::pressure::{Condition, Signal};
use crate::api::stats::{ContainerDisk, Filesystem, PodDisk, Snapshot, Space};
use crate::limits;
use crate::pod::evict::{self, Candidate, Level, Levels, Use};
use crate::pod::{glance, resources};
use crate::store::{Entry, Expired, Store};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use std::collections::BTreeSet;
use std::time::Duration;

/// A pod here that has not ended.
pub(super) struct Active {
    pub(super) pod: PodRef,
    pub(super) manifest: Pod,
}

/// All of them. That they cannot be listed does not mean that there are none.
pub(super) fn all(store: &Store, node: &str) -> Result<Vec<Active>, Expired> {
    let page = store.list("/pods", None, None, 0, None)?;
    Ok(glance::on_node(&page.entries, node).filter_map(Active::read).collect())
}

/// The references of the images that they want.
pub(super) fn images(store: &Store, node: &str) -> Result<BTreeSet<String>, Expired> {
    let images = |active: Active| {
        let spec = active.manifest.spec.unwrap_or_default();
        let main = spec.containers.into_iter().filter_map(|container| container.image);
        let init = spec.init_containers.into_iter().flatten().filter_map(|container| container.image);
        let late = spec.ephemeral_containers.into_iter().flatten().filter_map(|container| container.image);
        main.chain(init).chain(late).collect::<Vec<_>>()
    };
    Ok(all(store, node)?.into_iter().flat_map(images).collect())
}

impl Active {
    fn read(entry: &Entry) -> Option<Active> {
        let manifest: Pod = serde_json::from_slice(&entry.bytes).ok()?;
        let phase = manifest.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let uid = manifest.metadata.uid.clone()?;
        let (namespace, name) = (entry.key.namespace().to_owned(), entry.key.name().to_owned());
        Some(Active { pod: PodRef { namespace, name, uid }, manifest })
    }

    fn spec(&self) -> Option<&PodSpec> {
        self.manifest.spec.as_ref()
    }

    /// The containers that use something: init containers, and sidecars, as long as something is `seen` of them.
    fn users(&self, seen: impl Fn(&str) -> bool) -> impl Iterator<Item = &Container> {
        let init = self.spec().into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let main = self.spec().into_iter().flat_map(|spec| &spec.containers);
        init.filter(move |container| seen(&container.name)).chain(main)
    }

    /// How much it matters.
    pub(super) fn priority(&self) -> i32 {
        self.spec().and_then(|spec| spec.priority).unwrap_or(0)
    }

    /// How long it wants to end.
    pub(super) fn grace(&self) -> Duration {
        let own = self.spec().and_then(|spec| spec.termination_grace_period_seconds);
        let own = own.and_then(|own| u64::try_from(own).ok());
        Duration::from_secs(own.unwrap_or(limits::GRACE_SECONDS))
    }

    /// It, with what it uses of what is short; `disk` is what it has there.
    pub(super) fn candidate(
        self,
        signal: Signal,
        latest: &Snapshot,
        disk: Option<&PodDisk>,
    ) -> Candidate<Active> {
        let usage = latest.pods.get(&self.pod);
        let own = |container: &Container| {
            let name = container.name.clone();
            let sample = usage.and_then(|usage| usage.containers.get(&name)).map(|one| one.usage.sample);
            let disk = disk.and_then(|disk| disk.containers.get(&name)).copied().unwrap_or_default();
            let ContainerDisk { root, logs } = disk;
            let used = match signal {
                Signal::Memory => sample.map_or(0, |sample| sample.memory.working_set),
                Signal::Pids => sample.map_or(0, |sample| sample.processes),
                _ => of_space(signal, root.and(logs)),
            };
            Use { container: name, used, requested: requested(signal, container) }
        };
        let seen = |name: &str| {
            usage.is_some_and(|usage| usage.containers.contains_key(name))
                || disk.is_some_and(|disk| disk.containers.contains_key(name))
        };
        let containers = self.users(seen).map(own).collect();
        let volumes = disk.into_iter().flat_map(|disk| disk.volumes.values());
        let beside = volumes.map(|space| of_space(signal, *space)).sum();
        let priority = self.priority();
        Candidate { pod: self, priority, containers, beside }
    }
}

fn of_space(signal: Signal, space: Space) -> u64 {
    match signal {
        Signal::NodeFsInodes | Signal::ImageFsInodes => space.inodes,
        _ => space.bytes,
    }
}

/// What a container has requested of it. Files and processes are not requested.
fn requested(signal: Signal, container: &Container) -> u64 {
    let amount = match signal {
        Signal::Memory | Signal::NodeFs | Signal::ImageFs => resources::request(container, signal.resource()),
        _ => None,
    };
    amount.map_or(0, |amount| u64::try_from(amount.value()).unwrap_or(0))
}

/// Why a node that is short of something does not take a pod; none if it does.
pub fn refusal(short: &BTreeSet<Condition>, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let bears = |toleration: &Toleration| {
        let any_key = toleration.key.as_deref().unwrap_or_default().is_empty();
        let key = any_key || toleration.key.as_deref() == Some(Condition::Memory.taint());
        let effect = toleration.effect.as_deref().is_none_or(|effect| matches!(effect, "" | "NoSchedule"));
        let exists = toleration.operator.as_deref() == Some("Exists");
        key && effect && (exists || !any_key && toleration.value.as_deref().unwrap_or_default().is_empty())
    };
    let tolerates = spec.tolerations.iter().flatten().any(bears);
    let best_effort = resources::qos(pod) == QosClass::BestEffort;
    evict::refusal(short, spec.priority.unwrap_or(0), best_effort, tolerates)
}

/// What there is of everything that is watched.
pub(super) fn levels(latest: &Snapshot, disks: Option<&(Filesystem, Filesystem)>) -> Levels {
    let host = &latest.host;
    let memory = Level { available: host.memory_available(), capacity: host.memory_bytes };
    let processes = host.usage.sample.processes;
    let limit = host.processes_limit;
    let pids = Level { available: limit.saturating_sub(processes), capacity: limit };
    let mut levels = Levels::from([(Signal::Memory, memory), (Signal::Pids, pids)]);
    let mut disk = |of: &Filesystem, room: Signal, files: Signal| {
        levels.insert(room, Level { available: of.available_bytes, capacity: of.capacity_bytes });
        if of.inodes > 0 {
            levels.insert(files, Level { available: of.inodes_free, capacity: of.inodes });
        }
    };
    if let Some((node, images)) = disks {
        disk(node, Signal::NodeFs, Signal::NodeFsInodes);
        disk(images, Signal::ImageFs, Signal::ImageFsInodes);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_sidecars_use_counts_and_what_has_run_does_not() {
        let container = |name: &str| json!({"name": name, "resources": {"requests": {"memory": "1Mi"}}});
        let spec = json!({"initContainers": [container("init"), container("side")], "containers": [container("main")]});
        let manifest = serde_json::from_value(json!({"spec": spec})).unwrap();
        let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let active = Active { pod, manifest };
        let users = |seen: &str| -> Vec<&str> {
            active.users(|name| name == seen).map(|container| container.name.as_str()).collect()
        };
        assert_eq!(users("side"), ["side", "main"]);
        assert_eq!(users(""), ["main"]);
        let all: u64 = active.users(|name| name == "side").map(|one| requested(Signal::Memory, one)).sum();
        assert_eq!(all, 2 << 20);
    }
}
