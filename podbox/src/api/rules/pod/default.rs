//! What the API server fills in where a pod's manifest is silent. Idempotent.
//!
//! [`spec`] is for pods and templates alike; [`pod`] adds what only a pod gets. What admission adds with the help
//! of other objects is `api::admission`'s.

use super::volume;
use crate::api::quantity::Quantity;
use crate::api::rules::check::text;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EphemeralContainer, HTTPGetAction, Lifecycle, ObjectFieldSelector, Pod,
    PodSpec, PodTemplateSpec, Probe, ResourceFieldSelector, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use std::collections::BTreeMap;

/// Amounts by the names of resources.
pub type Amounts = BTreeMap<String, Amount>;

/// Sets a text that is missing or empty: Go's strings are never absent.
pub fn set(field: &mut Option<String>, default: &str) {
    if text(field).is_empty() {
        *field = Some(default.to_owned());
    }
}

/// Sets a number that is missing or zero.
pub fn set_number(field: &mut Option<i32>, default: i32) {
    if field.unwrap_or(0) == 0 {
        *field = Some(default);
    }
}

/// Defaults a pod.
pub fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    self::spec(spec);
    spec.enable_service_links.get_or_insert(true);
    let host_network = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        requests_from_limits(container.resources.get_or_insert_default());
        if host_network {
            container.ports.iter_mut().flatten().for_each(on_host);
        }
    }
    pod_level(spec);
}

/// Defaults a template.
pub fn template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    spec(template.spec.get_or_insert_default());
}

/// Defaults what pods and templates have in common.
pub fn spec(spec: &mut PodSpec) {
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_default();
    // Two names of one field.
    if text(&spec.service_account_name).is_empty() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    spec.service_account.clone_from(&spec.service_account_name);
    spec.volumes.iter_mut().flatten().for_each(volume::default);
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(container);
    spec.ephemeral_containers.iter_mut().flatten().for_each(ephemeral);
    [&mut spec.resources].into_iter().flatten().for_each(canonical_resources);
    spec.overhead.iter_mut().for_each(canonical);
}

/// On the host's network a port is the host's.
fn on_host(port: &mut ContainerPort) {
    set_number(&mut port.host_port, port.container_port);
}

fn container(container: &mut Container) {
    set(&mut container.image_pull_policy, pull_policy(text(&container.image)));
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    container.ports.iter_mut().flatten().for_each(|port| set(&mut port.protocol, "TCP"));
    canonical_resources(container.resources.get_or_insert_default());
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    container.lifecycle.iter_mut().for_each(lifecycle);
    for source in container.env.iter_mut().flatten().filter_map(|variable| variable.value_from.as_mut()) {
        source.field_ref.iter_mut().for_each(field_ref);
        source.resource_field_ref.iter_mut().for_each(resource_ref);
        source.file_key_ref.iter_mut().for_each(|reference| {
            reference.optional.get_or_insert(false);
        });
    }
}

fn ephemeral(one: &mut EphemeralContainer) {
    set(&mut one.image_pull_policy, pull_policy(text(&one.image)));
    set(&mut one.termination_message_path, "/dev/termination-log");
    set(&mut one.termination_message_policy, "File");
    one.resources.get_or_insert_default();
    for source in one.env.iter_mut().flatten().filter_map(|variable| variable.value_from.as_mut()) {
        source.field_ref.iter_mut().for_each(field_ref);
        source.resource_field_ref.iter_mut().for_each(resource_ref);
    }
}

/// A reference to a field of the pod itself.
pub fn field_ref(reference: &mut ObjectFieldSelector) {
    set(&mut reference.api_version, "v1");
}

/// A reference to a resource of a container.
pub fn resource_ref(reference: &mut ResourceFieldSelector) {
    canonical_amount(reference.divisor.get_or_insert_with(|| Amount("0".to_owned())));
}

fn pull_policy(image: &str) -> &'static str {
    match tag(image) {
        Some("latest") | None => "Always",
        Some(_) => "IfNotPresent",
    }
}

/// An image's tag; a digest counts as one that never moves, and no tag is `latest`.
fn tag(image: &str) -> Option<&str> {
    if image.contains('@') {
        return Some("@");
    }
    // A colon before a slash is a registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').map(|(_, tag)| tag)
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// Of the pod as a whole: what its containers ask for together, or else what it may use at most.
fn pod_level(spec: &mut PodSpec) {
    let Some(resources) = &mut spec.resources else { return };
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        let asked = spec.containers.iter().filter_map(|container| request(container, name));
        let total = asked.reduce(|total, amount| total.plus(amount));
        requests.entry(name.clone()).or_insert_with(|| match total {
            Some(total) => Amount(total.to_string()),
            None => limit.clone(),
        });
    }
}

fn request(container: &Container, name: &str) -> Option<Quantity> {
    let amount = container.resources.as_ref()?.requests.as_ref()?.get(name)?;
    Quantity::parse(&amount.0).ok()
}

fn canonical_resources(resources: &mut ResourceRequirements) {
    [&mut resources.limits, &mut resources.requests].into_iter().flatten().for_each(canonical);
}

/// Writes amounts canonically.
pub fn canonical(amounts: &mut Amounts) {
    amounts.values_mut().for_each(canonical_amount);
}

/// Writes an amount canonically. What is none is left for validation to name; less than a thousandth rounds up.
pub fn canonical_amount(amount: &mut Amount) {
    if let Ok(quantity) = Quantity::parse(&amount.0) {
        amount.0 = quantity.at_least_milli().to_string();
    }
}

fn probe(probe: &mut Probe) {
    // Zero is not a choice but an absence, as in Go.
    set_number(&mut probe.timeout_seconds, 1);
    set_number(&mut probe.period_seconds, 10);
    set_number(&mut probe.success_threshold, 1);
    set_number(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    handlers.into_iter().flatten().filter_map(|handler| handler.http_get.as_mut()).for_each(http_get);
}

fn http_get(get: &mut HTTPGetAction) {
    set(&mut get.path, "/");
    set(&mut get.scheme, "HTTP");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("reg.example:5000/x/y", "Always"),
            ("reg.example:5000/x/y:1", "IfNotPresent"),
            ("nginx@sha256:aa", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
