//! What a plan depends on and cannot decide: where things are on this host, and what it can enforce. Every path that a
//! sandbox has is named here, once.

use crate::api::identity::{ContainerRef, PodRef, QosClass};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What the plan depends on and cannot decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What outlives a reboot.
    pub state_dir: PathBuf,
    /// What does not.
    pub run_dir: PathBuf,
    /// Where cgroup v2 is mounted.
    pub cgroup_root: PathBuf,
    /// Controllers that are available below it.
    pub controllers: BTreeSet<String>,
}

impl Facts {
    /// What goes with a pod or a reboot.
    pub fn pod_run(&self, pod: &PodRef) -> PathBuf {
        self.run_dir.join("pods").join(&pod.uid)
    }

    /// A pod's containers' roots, and its volumes on disk.
    pub fn pod_state(&self, pod: &PodRef) -> PathBuf {
        self.state_dir.join("pods").join(&pod.uid)
    }

    pub(super) fn namespaces(&self, pod: &PodRef) -> PathBuf {
        self.run_dir.join("ns").join(&pod.uid)
    }

    /// A pod's network namespace.
    pub fn network(&self, pod: &PodRef) -> PathBuf {
        self.namespaces(pod).join("net")
    }

    /// The cgroup of everything.
    pub fn slice(&self) -> PathBuf {
        self.cgroup_root.join(super::SLICE)
    }

    /// A pod's cgroup.
    pub fn pod_cgroup(&self, pod: &PodRef, qos: QosClass) -> PathBuf {
        self.slice().join(qos.cgroup()).join(format!("pod{}", pod.uid))
    }

    /// A container's cgroup.
    pub fn container_cgroup(&self, container: &ContainerRef, qos: QosClass) -> PathBuf {
        self.pod_cgroup(&container.pod, qos).join(container.key())
    }

    /// The cgroup of what is PID 1 for a container, beside the container's: it takes nothing of what that may have. No
    /// container is named so.
    pub fn init_cgroup(&self, container: &ContainerRef, qos: QosClass) -> PathBuf {
        self.pod_cgroup(&container.pod, qos).join(format!("{}.init", container.key()))
    }

    /// The file that takes a container's last words.
    pub fn termination_message(&self, container: &ContainerRef) -> PathBuf {
        super::container_state(container, self).join("termination-message")
    }

    /// Where a container's log pump keeps its place.
    pub fn log_journal(&self, container: &ContainerRef) -> PathBuf {
        self.pod_run(&container.pod).join(format!("{}.journal", container.key()))
    }

    /// A sandbox's record: what a later daemon takes down when this one could not.
    pub fn record(&self, pod: &PodRef) -> PathBuf {
        self.run_dir.join("sandboxes").join(format!("{}.json", pod.uid))
    }

    /// An empty directory: where containers' roots are mounted, each in its own mount namespace.
    pub fn root_target(&self) -> PathBuf {
        self.run_dir.join("root")
    }

    /// An empty directory: covers what containers shall not see.
    pub fn empty(&self) -> PathBuf {
        self.run_dir.join("empty")
    }
}
