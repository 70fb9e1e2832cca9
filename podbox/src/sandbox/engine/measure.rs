//! What the engine's pods and containers use now.

use super::{Engine, EngineError, blocking, lock};
use crate::api::identity::{ContainerRef, PodRef, QosClass};
use crate::clock;
use crate::sandbox::measure;
use crate::sandbox::runtime::{ContainerReading, PodReading};
use std::collections::BTreeMap;
use std::time::SystemTime;

impl Engine {
    /// Reads them one after another; a pod of which nothing runs is left out.
    pub(super) async fn readings(&self) -> Result<BTreeMap<PodRef, PodReading>, EngineError> {
        let shared = self.0.clone();
        blocking(move || {
            let running: Vec<(ContainerRef, QosClass, SystemTime)> = lock(&shared.containers)
                .iter()
                .filter(|(_, tracked)| tracked.ending.borrow().is_none())
                .map(|(container, tracked)| (container.clone(), tracked.label.qos, tracked.started.at))
                .collect();
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
}
