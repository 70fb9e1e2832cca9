//! PriorityClasses, RuntimeClasses and leases: defaults, validation, what may not change.

use super::check::{immutable, maybe_non_negative, named, text};
use super::pod::default::{canonical, set};
use super::pod::scheduling;
use super::{Rules, labels, names};
use crate::api::admission::SYSTEM_CLASSES;
use crate::api::field::{Errors, Path};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;

/// The highest priority but for the system's own.
const HIGHEST: i32 = 1_000_000_000;

impl Rules for PriorityClass {
    fn default(&mut self) {
        set(&mut self.preemption_policy, "PreemptLowerPriority");
        self.value.get_or_insert(0);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let name = text(&self.metadata.name);
        if name.starts_with("system-") {
            if let Some(why) = unknown_system_class(self, name) {
                let metadata = path.child("metadata");
                let rule = "priority class names with 'system-' prefix are reserved for system use only";
                errors.forbidden(&metadata.child("name"), format!("{rule}. error: {why}"));
            }
        } else if self.value.unwrap_or(0) > HIGHEST {
            let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(&path.child("value"), why);
        }
        scheduling::preemption(errors, &path.child("preemptionPolicy"), &self.preemption_policy);
    }

    fn validate_update(&self, old: &PriorityClass, errors: &mut Errors, path: &Path) {
        if self.value != old.value {
            errors.forbidden(&path.child("value"), "may not be changed in an update.");
        }
        let at = path.child("preemptionPolicy");
        immutable(errors, &at, &self.preemption_policy, &old.preemption_policy);
    }
}

fn unknown_system_class(class: &PriorityClass, name: &str) -> Option<String> {
    let Some((_, value)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.value != Some(*value) {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    (class.global_default == Some(true))
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

impl Rules for RuntimeClass {
    fn default(&mut self) {
        self.overhead.iter_mut().filter_map(|overhead| overhead.pod_fixed.as_mut()).for_each(canonical);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        named(errors, &path.child("handler"), &self.handler, names::label);
        let Some(scheduling) = &self.scheduling else { return };
        let at = path.child("scheduling");
        labels::labels(errors, &at.child("nodeSelector"), &scheduling.node_selector);
        let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
        scheduling::tolerations(errors, &at.child("tolerations"), tolerations);
    }

    fn validate_update(&self, old: &RuntimeClass, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("handler"), &self.handler, &old.handler);
    }
}

impl Rules for Lease {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let Some(spec) = &self.spec else { return };
        let at = path.child("spec");
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        maybe_non_negative(errors, &at.child("leaseTransitions"), spec.lease_transitions);
    }
}
