//! Deployments: defaults, validation, what may not change.

use super::check::{at_most_all, is_nothing, json, maybe_non_negative, share, text};
use super::pod::default::{self as pod, set};
use super::replicas::{same_selector, usable_selector};
use super::{Rules, labels, template};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

impl Rules for Deployment {
    fn decode(mut object: Value) -> serde_json::Result<Deployment> {
        labels::note_absence(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        set(&mut strategy.type_, "RollingUpdate");
        if text(&strategy.type_) == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            let quarter = || IntOrString::String("25%".to_owned());
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        pod::template(&mut spec.template);
    }

    fn prepare_create(&mut self) {
        self.status = Some(DeploymentStatus::default());
    }

    fn prepare_update(&mut self, old: &Deployment) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Deployment) {
        self.spec.clone_from(&old.spec);
        self.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = DeploymentSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        maybe_non_negative(errors, &path.child("replicas"), spec.replicas);
        let at = path.child("selector");
        if usable_selector(errors, &at, &spec.selector, "deployment", "invalid label selector") {
            let selector = labels::given(&spec.selector);
            // Upstream calls it so, wherever the template is.
            template::replaced(errors, &path.child("template"), &spec.template, selector, "ReplicaSet");
        }
        if let Some(given) = &spec.strategy {
            strategy(errors, &path.child("strategy"), given);
        }
        maybe_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        maybe_non_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
        if let Some(seconds) = spec.progress_deadline_seconds {
            let at = path.child("progressDeadlineSeconds");
            maybe_non_negative(errors, &at, Some(seconds));
            if seconds <= spec.min_ready_seconds.unwrap_or(0) {
                errors.invalid(&at, seconds, "must be greater than minReadySeconds");
            }
        }
    }

    fn validate_update(&self, old: &Deployment, errors: &mut Errors, path: &Path) {
        if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
            same_selector(errors, &path.child("spec").child("selector"), &new.selector, &old.selector);
        }
    }

    fn validate_status(&self, _old: &Deployment, errors: &mut Errors, path: &Path) {
        let Some(status) = &self.status else { return };
        let at = path.child("status");
        for (field, count) in [
            ("replicas", status.replicas),
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("unavailableReplicas", status.unavailable_replicas),
            ("collisionCount", status.collision_count),
        ] {
            maybe_non_negative(errors, &at.child(field), count);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        spec.map(|spec| template::warnings(&spec.template, &["spec", "template"])).unwrap_or_default()
    }
}

fn strategy(errors: &mut Errors, path: &Path, strategy: &DeploymentStrategy) {
    let at = path.child("rollingUpdate");
    match text(&strategy.type_) {
        "Recreate" if strategy.rolling_update.is_some() => {
            errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else {
                return errors.required(&at, "this should be defaulted and never be nil");
            };
            let (none, unavailable) = (IntOrString::Int(0), at.child("maxUnavailable"));
            let (down, up) = (rolling.max_unavailable.as_ref().unwrap_or(&none), rolling.max_surge.as_ref());
            let up = up.unwrap_or(&none);
            share(errors, &unavailable, down);
            share(errors, &at.child("maxSurge"), up);
            if is_nothing(down) && is_nothing(up) {
                errors.invalid(&unavailable, json(down), "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(errors, &unavailable, down);
        }
        other => {
            let rolling = json(&strategy.rolling_update);
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", json(other));
            let words = "supported values: \"Recreate\", \"RollingUpdate\"";
            errors.add_shown(Reason::NotSupported, path, shown, words);
        }
    }
}
