//! What happens to a Service's addresses and ports when it is changed.

use super::{is_external, kind};
use crate::api::field::{Errors, Path};
use crate::api::rules::check::text;
use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

/// Whether it has an address.
fn has_address(spec: &ServiceSpec) -> bool {
    ["ClusterIP", "NodePort", "LoadBalancer"].contains(&kind(spec))
}

/// Keeps what was allocated where the update is silent.
pub fn keep_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if has_address(spec) && has_address(old) {
        if text(&spec.cluster_ip).is_empty() && spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            spec.cluster_ip.clone_from(&old.cluster_ip);
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
            spec.ip_families.clone_from(&old.ip_families);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if is_external(spec) && is_external(old) {
        let same = |port: &ServicePort, other: &ServicePort| {
            port.port == other.port && port.protocol == other.protocol
        };
        for port in spec.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or(0) == 0) {
            let before = old.ports.iter().flatten().find(|other| same(port, other));
            port.node_port = before.and_then(|other| other.node_port);
        }
    }
    let local =
        |spec: &ServiceSpec| kind(spec) == "LoadBalancer" && text(&spec.external_traffic_policy) == "Local";
    if local(spec) && local(old) && spec.health_check_node_port.unwrap_or(0) == 0 {
        spec.health_check_node_port = old.health_check_node_port;
    }
}

/// Drops what the old type had and the new one cannot have, as long as nobody changed it in the same breath.
pub fn drop_with_type(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if has_address(old) && !has_address(spec) {
        if spec.cluster_ip == old.cluster_ip && spec.cluster_ips == old.cluster_ips {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
        }
        if spec.ip_families == old.ip_families {
            spec.ip_families = None;
        }
        if spec.ip_family_policy == old.ip_family_policy {
            spec.ip_family_policy = None;
        }
        if spec.internal_traffic_policy == old.internal_traffic_policy {
            spec.internal_traffic_policy = None;
        }
    }
    if is_external(old) && !is_external(spec) {
        let numbers = |spec: &ServiceSpec| -> Vec<_> {
            spec.ports.iter().flatten().map(|port| port.node_port).collect()
        };
        if numbers(spec) == numbers(old) {
            spec.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
        }
        if spec.external_traffic_policy == old.external_traffic_policy {
            spec.external_traffic_policy = None;
        }
    }
    if kind(old) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        if spec.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if spec.load_balancer_class == old.load_balancer_class {
            spec.load_balancer_class = None;
        }
        if spec.health_check_node_port == old.health_check_node_port {
            spec.health_check_node_port = None;
        }
    }
}

/// An address may not change while the Service has one.
pub fn addresses(errors: &mut Errors, path: &Path, new: &ServiceSpec, old: &ServiceSpec) {
    if !has_address(new) || !has_address(old) {
        return;
    }
    let (after, before) =
        (new.cluster_ips.as_deref().unwrap_or_default(), old.cluster_ips.as_deref().unwrap_or_default());
    let at = path.child("clusterIPs");
    for (index, ip) in before.iter().enumerate() {
        if after.get(index) != Some(ip) && !ip.is_empty() {
            errors.invalid(&at.index(index), after.to_vec(), "may not change once set");
        }
    }
}
