//! DaemonSets: defaults, validation, what may not change.

use super::check::{at_most_all, is_nothing, json, maybe_non_negative, share, text};
use super::pod::default::{self as pod, set};
use super::replicas::same_selector;
use super::{Rules, labels, template};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

/// How often the template has changed. Upstream keeps it for those who once asked for it.
const GENERATION: &str = "deprecated.daemonset.template.generation";

impl Rules for DaemonSet {
    fn decode(mut object: Value) -> serde_json::Result<DaemonSet> {
        labels::note_absence(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        let strategy = spec.update_strategy.get_or_insert_default();
        set(&mut strategy.type_, "RollingUpdate");
        if text(&strategy.type_) == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        spec.revision_history_limit.get_or_insert(10);
        pod::template(&mut spec.template);
    }

    fn prepare_create(&mut self) {
        self.status = Some(DaemonSetStatus::default());
        self.metadata.annotations.get_or_insert_default().insert(GENERATION.to_owned(), "1".to_owned());
    }

    fn prepare_update(&mut self, old: &DaemonSet) {
        self.status.clone_from(&old.status);
        let annotation = old.metadata.annotations.as_ref().and_then(|all| all.get(GENERATION));
        let mut generation = annotation.and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        let template = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.template.clone());
        if template(self) != template(old) {
            generation = generation.saturating_add(1);
        }
        let annotations = self.metadata.annotations.get_or_insert_default();
        annotations.insert(GENERATION.to_owned(), generation.to_string());
    }

    fn prepare_status(&mut self, old: &DaemonSet) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = DaemonSetSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        let (selector, at) = (labels::given(&spec.selector), path.child("selector"));
        labels::selector(errors, &at, &spec.selector);
        if labels::is_sound(&spec.selector) {
            template::matches(errors, &path.child("template"), &spec.template, selector);
        }
        if let Some(selector) = selector.filter(|selector| labels::is_empty(selector)) {
            let why = "empty selector is invalid for daemonset";
            errors.add_shown(Reason::Invalid, &at, labels::shown(Some(selector)), why);
        }
        let at = path.child("template");
        template::validate(errors, &at, &spec.template, &[]);
        template::always_restarts(errors, &at, &spec.template, "DaemonSet");
        maybe_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        if let Some(strategy) = &spec.update_strategy {
            self::strategy(errors, &path.child("updateStrategy"), strategy);
        }
        maybe_non_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
    }

    fn validate_update(&self, old: &DaemonSet, errors: &mut Errors, path: &Path) {
        if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
            same_selector(errors, &path.child("spec").child("selector"), &new.selector, &old.selector);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        spec.map(|spec| template::warnings(&spec.template, &["spec", "template"])).unwrap_or_default()
    }
}

fn strategy(errors: &mut Errors, path: &Path, strategy: &DaemonSetUpdateStrategy) {
    let at = path.child("rollingUpdate");
    match text(&strategy.type_) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else { return errors.required(&at, "") };
            let none = IntOrString::Int(0);
            let down = rolling.max_unavailable.as_ref().unwrap_or(&none);
            let up = rolling.max_surge.as_ref().unwrap_or(&none);
            let (down_at, up_at) = (at.child("maxUnavailable"), at.child("maxSurge"));
            share(errors, &down_at, down);
            share(errors, &up_at, up);
            match (is_nothing(down), is_nothing(up)) {
                (false, false) => {
                    errors.invalid(&up_at, json(up), "may not be set when maxUnavailable is non-zero");
                }
                (true, true) => {
                    errors.invalid(&down_at, json(down), "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
            at_most_all(errors, &down_at, down);
            at_most_all(errors, &up_at, up);
        }
        other => errors.not_supported(path, other, &["OnDelete", "RollingUpdate"]),
    }
}
