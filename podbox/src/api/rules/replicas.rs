//! ReplicaSets, ReplicationControllers, PodTemplates, ControllerRevisions and Scale: defaults, validation, what may
//! not change.

use super::check::{IMMUTABLE, json, maybe_non_negative, non_negative};
use super::pod::default as pod;
use super::{Rules, labels, template};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{
    PodTemplate, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

/// Whether a selector can be used; if not, it was told why.
pub fn usable_selector(
    errors: &mut Errors,
    path: &Path,
    selector: &LabelSelector,
    what: &str,
    unusable: &str,
) -> bool {
    let Some(selector) = labels::given(selector) else {
        errors.required(path, "");
        return true;
    };
    labels::selector(errors, path, selector);
    if labels::is_empty(selector) {
        let shown = labels::shown(Some(selector));
        errors.add_shown(Reason::Invalid, path, shown, format!("empty selector is invalid for {what}"));
    }
    let sound = labels::is_sound(selector);
    if !sound {
        errors.add_shown(Reason::Invalid, path, labels::shown(Some(selector)), unusable);
    }
    sound
}

/// The selector of a controller may not change.
pub fn same_selector(errors: &mut Errors, path: &Path, new: &LabelSelector, old: &LabelSelector) {
    if new != old {
        errors.add_shown(Reason::Invalid, path, labels::shown(Some(new)), IMMUTABLE);
    }
}

impl Rules for ReplicaSet {
    fn decode(mut object: Value) -> serde_json::Result<ReplicaSet> {
        labels::note_absence(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        pod::template(spec.template.get_or_insert_default());
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicaSetStatus::default());
    }

    fn prepare_update(&mut self, old: &ReplicaSet) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ReplicaSet) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = ReplicaSetSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        maybe_non_negative(errors, &path.child("replicas"), spec.replicas);
        maybe_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let at = path.child("selector");
        // Upstream's words, though it is none.
        if usable_selector(errors, &at, &spec.selector, "deployment", "invalid label selector") {
            let nothing = Default::default();
            let given = spec.template.as_ref().unwrap_or(&nothing);
            let selector = labels::given(&spec.selector);
            template::replaced(errors, &path.child("template"), given, selector, "ReplicaSet");
        }
    }

    fn validate_update(&self, old: &ReplicaSet, errors: &mut Errors, path: &Path) {
        if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
            same_selector(errors, &path.child("spec").child("selector"), &new.selector, &old.selector);
        }
    }

    fn validate_status(&self, _old: &ReplicaSet, errors: &mut Errors, path: &Path) {
        let Some(status) = &self.status else { return };
        let at = path.child("status");
        let all = status.replicas;
        non_negative(errors, &at.child("replicas"), all);
        for (field, count) in [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            let count = count.unwrap_or(0);
            non_negative(errors, &at.child(field), count);
            if count > all {
                errors.invalid(&at.child(field), count, "cannot be greater than status.replicas");
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let given = self.spec.as_ref().and_then(|spec| spec.template.as_ref());
        given.map(|given| template::warnings(given, &["spec", "template"])).unwrap_or_default()
    }
}

impl Rules for ReplicationController {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let Some(given) = &mut spec.template else { return };
        pod::template(given);
        // What is selected, and how it is labelled itself, follows from its pods.
        let labels = given.metadata.as_ref().and_then(|meta| meta.labels.clone());
        if labels.is_some() && spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
            spec.selector.clone_from(&labels);
        }
        if labels.is_some() && self.metadata.labels.as_ref().is_none_or(|own| own.is_empty()) {
            self.metadata.labels = labels;
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicationControllerStatus::default());
    }

    fn prepare_update(&mut self, old: &ReplicationController) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ReplicationController) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = ReplicationControllerSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        maybe_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty());
        if selector.is_none() {
            errors.required(&path.child("selector"), "");
        }
        maybe_non_negative(errors, &path.child("replicas"), spec.replicas);
        let at = path.child("template");
        let Some(given) = &spec.template else { return errors.required(&at, "") };
        let selector = selector
            .map(|labels| LabelSelector { match_labels: Some(labels.clone()), ..LabelSelector::default() });
        if let Some(selector) = &selector {
            template::matches(errors, &at, given, Some(selector));
        }
        template::validate(errors, &at, given, &[]);
        template::always_restarts(errors, &at, given, "ReplicationController");
    }

    fn warnings(&self) -> Vec<String> {
        let given = self.spec.as_ref().and_then(|spec| spec.template.as_ref());
        given.map(|given| template::warnings(given, &["spec", "template"])).unwrap_or_default()
    }
}

impl Rules for PodTemplate {
    fn default(&mut self) {
        pod::template(self.template.get_or_insert_default());
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        if let Some(given) = &self.template {
            template::validate(errors, &path.child("template"), given, &[]);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let given = self.template.as_ref();
        given.map(|given| template::warnings(given, &["template"])).unwrap_or_default()
    }
}

impl Rules for ControllerRevision {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        if self.data.is_none() {
            errors.required(&path.child("data"), "data is mandatory");
        }
        non_negative(errors, &path.child("revision"), self.revision);
    }

    fn validate_update(&self, old: &ControllerRevision, errors: &mut Errors, path: &Path) {
        if self.data != old.data {
            errors.invalid(&path.child("data"), json(&self.data), IMMUTABLE);
        }
    }
}

impl Rules for Scale {
    fn default(&mut self) {
        self.spec.get_or_insert_default().replicas.get_or_insert(0);
    }

    fn prepare_update(&mut self, old: &Scale) {
        self.status.clone_from(&old.status);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let replicas = self.spec.as_ref().and_then(|spec| spec.replicas);
        maybe_non_negative(errors, &path.child("spec").child("replicas"), replicas);
    }
}
