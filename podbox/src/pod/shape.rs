//! What is left of a pod's manifest where only the order of its life matters: who there is, what runs before and
//! after whom, what follows an end. Data; `pod::desired` reads it from a manifest.

use super::probe::ProbeSpecs;
use super::resize::Share;
use super::restart::{Restart, RestartPolicy};
use crate::api::oom::Rule;
use k8s_openapi::api::core::v1::VolumeMountStatus;
use std::time::Duration;

/// The part of a pod that decides its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Init containers, in their order.
    pub init: Vec<ContainerShape>,
    /// The other containers.
    pub main: Vec<ContainerShape>,
    /// Ephemeral containers: they run beside the others, once, and decide nothing.
    pub ephemeral: Vec<ContainerShape>,
    /// How long processes have between the stop signal and the kill, unless a termination says otherwise.
    pub grace: Duration,
    /// How long the pod may be at it, counted from its acceptance: `activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
}

/// The part of a container that decides its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerShape {
    /// Its name.
    pub name: String,
    /// Its image, as the manifest names it: a run of another one is replaced.
    pub image: String,
    /// Its registry is asked for the image before each run: `imagePullPolicy: Always`.
    pub always_pulled: bool,
    /// What it is to have: a run that has another share is given this one.
    pub share: Share,
    /// Where it has which volumes, as its status tells it.
    pub mounts: Vec<VolumeMountStatus>,
    /// Resources that it wants to be restarted for.
    pub restarts_for: Vec<String>,
    /// The container whose processes it is to see, and which therefore has to run.
    pub target: Option<String>,
    /// An init container that stays: it runs beside the others and ends after them.
    pub sidecar: bool,
    /// What follows its end.
    pub restart: Restart,
    /// It has a postStart hook: until that is through, it does not count as started, and those after it wait.
    pub post_start: bool,
    /// It has a preStop hook, which comes before the stop signal.
    pub pre_stop: bool,
    /// Its probes.
    pub probes: ProbeSpecs,
    /// What it means that the kernel kills another process of it than its first for want of memory; none if that ends all of it.
    pub oom: Option<Rule>,
}

impl ContainerShape {
    /// A container without hooks and probes.
    pub fn new(name: &str, policy: RestartPolicy) -> ContainerShape {
        let (name, restart) = (name.to_owned(), Restart::by(policy));
        ContainerShape {
            name,
            image: String::new(),
            always_pulled: false,
            share: Share::default(),
            mounts: Vec::new(),
            restarts_for: Vec::new(),
            target: None,
            sidecar: false,
            restart,
            post_start: false,
            pre_stop: false,
            probes: ProbeSpecs::default(),
            oom: None,
        }
    }
}

impl ContainerShape {
    /// Whether another run follows one that podbox ends for having failed.
    pub fn restarts_failures(&self) -> bool {
        self.sidecar || self.restart.policy != RestartPolicy::Never
    }
}

impl Shape {
    /// A pod of these main containers, without init containers and deadline.
    pub fn new(main: Vec<ContainerShape>, grace: Duration) -> Shape {
        Shape { init: Vec::new(), main, ephemeral: Vec::new(), grace, active_deadline: None }
    }

    /// Every container, init containers first, ephemeral ones last.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerShape> {
        self.init.iter().chain(&self.main).chain(&self.ephemeral)
    }

    /// A container by its name.
    pub fn container(&self, name: &str) -> Option<&ContainerShape> {
        self.containers().find(|container| container.name == name)
    }

    /// Where a container is in its pod's spec, as Events name it.
    pub fn part(&self, name: &str) -> String {
        let among = |all: &[ContainerShape]| all.iter().any(|container| container.name == name);
        let list = match () {
            () if among(&self.main) => "containers",
            () if among(&self.init) => "initContainers",
            () => "ephemeralContainers",
        };
        format!("{list}{{{name}}}")
    }

    /// Whether a container runs again that ended with this exit code.
    pub fn restarts(&self, name: &str, code: i32) -> bool {
        self.container(name).is_some_and(|container| container.restart.restarts(code))
    }
}
