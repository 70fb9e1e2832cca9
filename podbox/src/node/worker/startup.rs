//! How the pod came up: noted as its steps are done, and kept on file with the rest, so that a later daemon makes nothing up.

use super::Worker;
use crate::api::images::Images;
use crate::api::startup::{Lap, Stage, Startup};
use crate::sandbox::runtime::Runtime;
use crate::{clock, metrics};
use k8s_openapi::api::core::v1::PodStatus;
use std::time::Duration;

impl<R: Runtime, I: Images> Worker<R, I> {
    /// What the kernel saw of a run's beginning, before it forgets that.
    pub(super) fn keep_beginning(&mut self, container: &str) {
        let Some(cgroup) = self.seen.container(container).run().map(|run| run.started.cgroup_id) else {
            return;
        };
        self.seen.startup.ends(cgroup, |cgroup| self.node.attribution.firsts(cgroup));
    }

    /// Notes that the pod is ready, if it is for the first time; true if so.
    pub(super) fn note_ready(&mut self, status: &PodStatus) -> bool {
        if !is_ready(status) || self.seen.startup.ready.is_some() || self.seen.startup.ready_unseen {
            return false;
        }
        if let Some(took) = self.seen.startup.is_ready(clock::boot()) {
            tell(Stage::Ready, took);
        }
        self.told.startup.clone_from(&self.seen.startup);
        true
    }

    /// Of a pod that an earlier daemon had: if it is ready already, nobody saw when that came.
    pub(super) fn recall_beginning(&mut self) {
        let status = self.pod.status(&self.seen, self.node.facts.host_ip, self.address, clock::instant());
        let startup = &mut self.seen.startup;
        if startup.accepted.is_some_and(|at| at > clock::boot()) {
            // Of another boot.
            *startup = Startup::default();
        }
        startup.ready_unseen |= startup.ready.is_none() && is_ready(&status);
        for (name, seen) in self.seen.containers.iter().filter(|(_, seen)| seen.attempt == 0) {
            // Its start may have been asked for by that daemon, and its answer have come to nobody.
            let Some(started) = seen.run().map(|run| &run.started) else { continue };
            let ago = clock::wall().duration_since(started.at).unwrap_or_default();
            startup.runs(name, started.cgroup_id, clock::boot().saturating_sub(ago), &[]);
        }
    }
}

fn is_ready(status: &PodStatus) -> bool {
    let ready = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "Ready" && condition.status == "True"
    };
    status.conditions.iter().flatten().any(ready)
}

/// Adds to the metric.
pub(super) fn tell(stage: Stage, took: Duration) {
    ::metrics::histogram!(metrics::STARTUP_STAGE_SECONDS, "stage" => stage.name()).record(took);
}

/// The same of each of them.
pub(super) fn tell_laps(laps: &[Lap]) {
    laps.iter().for_each(|lap| tell(lap.stage, lap.took));
}
