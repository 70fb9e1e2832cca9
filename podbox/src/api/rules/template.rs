//! Pod templates, as controllers have them, and what their selectors have to do with them.

use super::check::{json, text};
use super::{labels, pod};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

/// A template by itself. `more_volumes` come from elsewhere.
pub fn validate(errors: &mut Errors, path: &Path, template: &PodTemplateSpec, more_volumes: &[&str]) {
    let (none, nothing) = (ObjectMeta::default(), PodSpec::default());
    let meta = template.metadata.as_ref().unwrap_or(&none);
    let spec = template.spec.as_ref().unwrap_or(&nothing);
    // Upstream's paths have no `metadata` here.
    labels::labels(errors, &path.child("labels"), &meta.labels);
    labels::annotations(errors, &path.child("annotations"), &meta.annotations);
    let at = path.child("spec");
    pod::spec::validate(errors, &at, spec, "", more_volumes);
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        errors
            .forbidden(&at.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Pods that a controller replaces must not end by themselves.
pub fn always_restarts(errors: &mut Errors, path: &Path, template: &PodTemplateSpec, owner: &str) {
    let Some(spec) = &template.spec else { return };
    let at = path.child("spec");
    if text(&spec.restart_policy) != "Always" {
        errors.not_supported(&at.child("restartPolicy"), text(&spec.restart_policy), &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden(&at.child("activeDeadlineSeconds"), why);
    }
}

/// A controller must select the pods it makes. A selector that asks for nothing is refused elsewhere.
pub fn matches(
    errors: &mut Errors,
    path: &Path,
    template: &PodTemplateSpec,
    selector: Option<&LabelSelector>,
) {
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    if !selector.is_some_and(|selector| labels::matches(selector, labels)) {
        let at = path.child("metadata");
        errors.invalid(&at.child("labels"), json(labels), "`selector` does not match template `labels`");
    }
}

/// A template whose pods are replaced when they end, as `owner` does.
pub fn replaced(
    errors: &mut Errors,
    path: &Path,
    template: &PodTemplateSpec,
    selector: Option<&LabelSelector>,
    owner: &str,
) {
    matches(errors, path, template, selector);
    validate(errors, path, template, &[]);
    always_restarts(errors, path, template, owner);
}

/// What of a template at a path such as `spec.template` is worth a word.
pub fn warnings(template: &PodTemplateSpec, path: &[&'static str]) -> Vec<String> {
    match (&template.spec, path) {
        (Some(spec), [step, rest @ ..]) => below(spec, &Path::ROOT.child(step), rest),
        _ => Vec::new(),
    }
}

fn below(spec: &PodSpec, path: &Path, steps: &[&str]) -> Vec<String> {
    match steps {
        [] => pod::warn::spec(spec, &path.child("spec")),
        [step, rest @ ..] => below(spec, &path.child(step), rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_templates_warnings_name_the_whole_path() {
        let given: PodTemplateSpec = serde_json::from_value(json!({"spec": {"containers": [{"name": "c",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}}))
        .unwrap();
        assert_eq!(
            warnings(&given, &["spec", "template"]),
            [
                "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped \
              when using apply"
            ]
        );
    }
}
