//! Pods and pod templates: defaults, validation, what may change, warnings. A file per part of a pod.

pub mod affinity;
pub mod container;
pub mod default;
pub mod env;
pub mod probe;
pub mod resources;
pub mod scheduling;
pub mod security;
pub mod spec;
pub mod status;
pub mod update;
pub mod volume;
pub mod warn;

use super::Rules;
use super::check::text;
use crate::api::field::{Errors, Path};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

impl Rules for Pod {
    fn default(&mut self) {
        default::pod(self);
    }

    fn prepare_create(&mut self) {
        if let Some(spec) = &mut self.spec
            && spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        {
            spec.termination_grace_period_seconds = Some(1);
        }
        self.status = Some(status::initial(self));
    }

    fn prepare_update(&mut self, old: &Pod) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Pod) {
        self.spec.clone_from(&old.spec);
        // Set once, by what the pod asks for.
        let class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        if let Some(status) = &mut self.status
            && text(&status.qos_class).is_empty()
        {
            status.qos_class = class;
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = PodSpec::default();
        let name = text(&self.metadata.name);
        spec::validate(errors, &path.child("spec"), self.spec.as_ref().unwrap_or(&none), name, &[]);
    }

    fn validate_create(&self, errors: &mut Errors, path: &Path) {
        let Some(spec) = &self.spec else { return };
        let at = path.child("spec");
        if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
            errors.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
        }
        let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        if gated && !text(&spec.node_name).is_empty() {
            let why = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden(&at.child("nodeName"), why);
        }
    }

    fn validate_update(&self, old: &Pod, errors: &mut Errors, path: &Path) {
        update::pod(self, old, errors, path);
    }

    fn prepare_part(&mut self, part: &str, old: &Pod) {
        match part {
            "ephemeralcontainers" => update::prepare_ephemeral(self, old),
            "resize" => update::prepare_resize(self, old),
            _ => {}
        }
    }

    fn validate_part(&self, part: &str, old: &Pod, errors: &mut Errors, path: &Path) {
        match part {
            "ephemeralcontainers" => update::ephemeral(self, old, errors, path),
            "resize" => update::resize(self, old, errors, path),
            _ => {}
        }
    }

    fn warnings(&self) -> Vec<String> {
        warn::pod(self)
    }
}
