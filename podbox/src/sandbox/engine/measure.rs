//! What the engine's pods and containers use now, and all that the kernel has counted for them.

use super::shared::Shared;
use super::{Engine, EngineError, blocking, lock};
use crate::api::account::{ContainerAccount, PodAccount};
use crate::api::identity::{ContainerRef, PodRef, QosClass};
use crate::clock;
use crate::sandbox::account::Reader;
use crate::sandbox::measure;
use crate::sandbox::runtime::{ContainerReading, PodReading};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

impl Engine {
    /// Reads them one after another; a pod of which nothing runs is left out.
    pub(super) async fn readings(&self) -> Result<BTreeMap<PodRef, PodReading>, EngineError> {
        let shared = self.0.clone();
        blocking(move || {
            let running = shared.under_way();
            let mut pods = BTreeMap::new();
            for (container, qos, started) in running {
                let path = shared.facts.container_cgroup(&container, qos);
                let Some(sample) = measure::group(&path, clock::wall()) else { continue };
                if !pods.contains_key(&container.pod) {
                    let path = shared.facts.pod_cgroup(&container.pod, qos);
                    let Some(sample) = measure::group(&path, clock::wall()) else { continue };
                    pods.insert(container.pod.clone(), PodReading { sample, containers: Vec::new() });
                }
                if let Some(pod) = pods.get_mut(&container.pod) {
                    pod.containers.push(ContainerReading { container, started, sample });
                }
            }
            Ok(pods)
        })
        .await
    }
    /// The same, with every account.
    pub(super) async fn books(&self) -> Result<BTreeMap<PodRef, PodAccount>, EngineError> {
        let shared = self.0.clone();
        blocking(move || {
            let mut reader = Reader::default();
            let mut pods: BTreeMap<PodRef, PodAccount> = BTreeMap::new();
            for (container, qos, started) in shared.under_way() {
                let path = shared.facts.container_cgroup(&container, qos);
                // One that has ended meanwhile has none.
                let Some(account) = reader.group(&path) else { continue };
                if !pods.contains_key(&container.pod) {
                    let path = shared.facts.pod_cgroup(&container.pod, qos);
                    let Some(account) = reader.group(&path) else { continue };
                    let (group, containers) = (shared.group_name(&path), Vec::new());
                    pods.insert(container.pod.clone(), PodAccount { group, account, containers });
                }
                if let Some(pod) = pods.get_mut(&container.pod) {
                    let group = shared.group_name(&path);
                    pod.containers.push(ContainerAccount { container, started, group, account });
                }
            }
            Ok(pods)
        })
        .await
    }
}

impl Shared {
    /// The containers that run.
    fn under_way(&self) -> Vec<(ContainerRef, QosClass, SystemTime)> {
        let containers = lock(&self.containers);
        let running = containers.iter().filter(|(_, tracked)| tracked.ending.borrow().is_none());
        running.map(|(container, own)| (container.clone(), own.label.qos, own.started.at)).collect()
    }

    /// A group's path from the hierarchy's root, as `/proc/PID/cgroup` has it on a host.
    fn group_name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.facts.cgroup_root).unwrap_or(path);
        format!("/{}", below.display())
    }
}
