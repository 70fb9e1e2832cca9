//! Node selectors and affinity: what is wrong with them.

use crate::api::field::{Errors, Path};
use crate::api::rules::check::{all, one_of};
use crate::api::rules::{labels, names};
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
    WeightedPodAffinityTerm,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A pod's affinity.
pub fn affinity(errors: &mut Errors, path: &Path, affinity: &Affinity) {
    if let Some(nodes) = &affinity.node_affinity {
        node_affinity(errors, &path.child("nodeAffinity"), nodes);
    }
    let with = affinity.pod_affinity.as_ref().map(|pods| {
        (
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let without = affinity.pod_anti_affinity.as_ref().map(|pods| {
        (
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, terms) in [("podAffinity", with), ("podAntiAffinity", without)] {
        let Some((required, preferred)) = terms else { continue };
        let at = path.child(field);
        pod_terms(errors, &at.child(REQUIRED), required.as_deref().unwrap_or_default());
        weighted(errors, &at.child(PREFERRED), preferred.as_deref().unwrap_or_default());
    }
}

fn node_affinity(errors: &mut Errors, path: &Path, affinity: &NodeAffinity) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector(errors, &path.child(REQUIRED), selector);
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        let list = path.child(PREFERRED);
        let at = list.index(index);
        weight(errors, &at, term.weight);
        node_term(errors, &at.child("preference"), &term.preference);
    }
}

fn weight(errors: &mut Errors, path: &Path, weight: i32) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A selector of nodes.
pub fn node_selector(errors: &mut Errors, path: &Path, selector: &NodeSelector) {
    let at = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        return errors.required(&at, "must have at least one node selector term");
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        node_term(errors, &at.index(index), term);
    }
}

fn node_term(errors: &mut Errors, path: &Path, term: &NodeSelectorTerm) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let list = path.child("matchExpressions");
        node_requirement(errors, &list.index(index), requirement);
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        let list = path.child("matchFields");
        node_field(errors, &list.index(index), requirement);
    }
}

fn node_requirement(errors: &mut Errors, path: &Path, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let at = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    all(errors, &path.child("key"), &requirement.key, names::qualified(&requirement.key));
    for (index, value) in values.iter().enumerate() {
        all(errors, &at.index(index), value, names::label_value(value));
    }
}

fn node_field(errors: &mut Errors, path: &Path, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&path.child("values"), why);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    if requirement.key == "metadata.name" {
        for (index, value) in values.iter().enumerate() {
            let at = path.child("values");
            all(errors, &at.index(index), value, names::subdomain(value));
        }
    } else {
        errors.invalid(&path.child("key"), requirement.key.as_str(), "not a valid field selector key");
    }
}

fn pod_terms(errors: &mut Errors, path: &Path, terms: &[PodAffinityTerm]) {
    for (index, term) in terms.iter().enumerate() {
        pod_term(errors, &path.index(index), term);
    }
}

fn weighted(errors: &mut Errors, path: &Path, terms: &[WeightedPodAffinityTerm]) {
    for (index, term) in terms.iter().enumerate() {
        let at = path.index(index);
        weight(errors, &at, term.weight);
        pod_term(errors, &at.child("podAffinityTerm"), &term.pod_affinity_term);
    }
}

fn pod_term(errors: &mut Errors, path: &Path, term: &PodAffinityTerm) {
    labels::maybe_selector(errors, &path.child("labelSelector"), &term.label_selector);
    labels::maybe_selector(errors, &path.child("namespaceSelector"), &term.namespace_selector);
    for name in term.namespaces.iter().flatten() {
        all(errors, &path.child("namespace"), name, names::label(name));
    }
    for (field, keys) in
        [("matchLabelKeys", &term.match_label_keys), ("mismatchLabelKeys", &term.mismatch_label_keys)]
    {
        label_keys(errors, &path.child(field), keys, term.label_selector.is_some());
    }
    let at = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.required(&at, "can not be empty");
    }
    all(errors, &at, &term.topology_key, names::qualified(&term.topology_key));
}

/// Keys of labels whose values are the pod's own.
pub fn label_keys(errors: &mut Errors, path: &Path, keys: &Option<Vec<String>>, selects: bool) {
    let keys = keys.as_deref().unwrap_or_default();
    if !keys.is_empty() && !selects {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        all(errors, &path.index(index), key, names::qualified(key));
    }
}

/// What a node's taint or a toleration does.
pub fn effect(errors: &mut Errors, path: &Path, effect: &str) {
    one_of(errors, path, effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}
