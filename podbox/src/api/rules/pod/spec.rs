//! A pod's spec as a whole: what is wrong with it, in upstream's order. For pods and templates alike.

use super::container::{self, Around};
use super::{affinity, resources, scheduling, security, volume};
use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use crate::api::rules::check::{all, maybe, maybe_non_negative, required_word, text, within};
use crate::api::rules::{labels, names};
use k8s_openapi::api::core::v1::PodSpec;
use std::collections::BTreeSet;

/// Judges a spec. `pod` is the pod's name, empty in templates; `more_volumes` are those that come from elsewhere,
/// as a StatefulSet's do.
pub fn validate(errors: &mut Errors, path: &Path, spec: &PodSpec, pod: &str, more_volumes: &[&str]) {
    let list = spec.volumes.as_deref().unwrap_or_default();
    let mut volumes = volume::all_of(errors, &path.child("volumes"), list, pod);
    volumes.extend(more_volumes);
    let claims = spec.resource_claims.as_deref().unwrap_or_default();
    resources::claims(errors, &path.child("resourceClaims"), claims);
    let claims: BTreeSet<_> = claims.iter().map(|claim| claim.name.as_str()).collect();
    let around = Around { spec, volumes: &volumes, claims: &claims };
    container::apps(errors, &path.child("containers"), &around);
    container::init(errors, &path.child("initContainers"), &around);
    container::ephemeral(errors, &path.child("ephemeralContainers"), &around);
    if let Some(given) = &spec.resources {
        resources::pod(errors, &path.child("resources"), given);
    }
    policies(errors, path, spec);
    placement(errors, path, spec);
    identity(errors, path, spec);
}

fn policies(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let restart = text(&spec.restart_policy);
    required_word(errors, &path.child("restartPolicy"), restart, &["Always", "OnFailure", "Never"]);
    required_word(
        errors,
        &path.child("dnsPolicy"),
        text(&spec.dns_policy),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    labels::labels(errors, &path.child("nodeSelector"), &spec.node_selector);
    security::pod(errors, path, spec);
}

fn placement(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    if let Some(given) = &spec.affinity {
        affinity::affinity(errors, &path.child("affinity"), given);
    }
    scheduling::dns(errors, &path.child("dnsConfig"), spec);
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let list = path.child("readinessGates");
        let at = list.index(index);
        all(errors, &at.child("conditionType"), &gate.condition_type, names::qualified(&gate.condition_type));
    }
    let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
    scheduling::gates(errors, &path.child("schedulingGates"), gates);
    let spread = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    scheduling::spread(errors, &path.child("topologySpreadConstraints"), spread);
}

fn identity(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    maybe(errors, &path.child("serviceAccountName"), &spec.service_account_name, names::subdomain);
    maybe(errors, &path.child("nodeName"), &spec.node_name, names::subdomain);
    if let Some(seconds) = spec.active_deadline_seconds {
        within(errors, &path.child("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
    }
    maybe(errors, &path.child("hostname"), &spec.hostname, names::label);
    maybe(errors, &path.child("subdomain"), &spec.subdomain, names::label);
    maybe(errors, &path.child("hostnameOverride"), &spec.hostname_override, names::subdomain);
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    scheduling::tolerations(errors, &path.child("tolerations"), tolerations);
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    scheduling::host_aliases(errors, &path.child("hostAliases"), aliases);
    maybe(errors, &path.child("priorityClassName"), &spec.priority_class_name, names::subdomain);
    if let Some(class) = &spec.runtime_class_name {
        all(errors, &path.child("runtimeClassName"), class, names::subdomain(class));
    }
    scheduling::preemption(errors, &path.child("preemptionPolicy"), &spec.preemption_policy);
    for (name, amount) in spec.overhead.iter().flatten() {
        let at = path.child("overhead");
        let value = Quantity::parse(&amount.0).map_or(0, Quantity::value);
        maybe_non_negative(errors, &at.key(name), Some(value));
    }
    scheduling::os(errors, &path.child("os"), spec);
}
