//! Services: defaults, validation, what may not change, what goes when the type changes.
//!
//! This is a cluster with IPv4 addresses. Allocating them, and node ports, is the server's.

use super::check::{self, all, json, one_of, required_word, text};
use super::pod::default::set;
use super::{Rules, date_conditions, labels, names};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::core::v1::{
    ClientIPConfig, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use std::collections::BTreeSet;

mod address;
mod change;

/// The address of a Service that has none.
const NONE: &str = "None";

fn kind(spec: &ServiceSpec) -> &str {
    text(&spec.type_)
}

/// Whether it has ports of the node.
fn is_external(spec: &ServiceSpec) -> bool {
    ["NodePort", "LoadBalancer"].contains(&kind(spec))
}

fn is_headless(spec: &ServiceSpec) -> bool {
    text(&spec.cluster_ip) == NONE || spec.cluster_ips.iter().flatten().next().is_some_and(|ip| ip == NONE)
}

impl Rules for Service {
    fn decode(mut object: Value) -> serde_json::Result<Service> {
        date_conditions(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set(&mut spec.session_affinity, NONE);
        match text(&spec.session_affinity) {
            NONE => spec.session_affinity_config = None,
            "ClientIP" => {
                let config = spec.session_affinity_config.get_or_insert_default();
                let config = config.client_ip.get_or_insert_with(ClientIPConfig::default);
                config.timeout_seconds.get_or_insert(10_800);
            }
            _ => {}
        }
        set(&mut spec.type_, "ClusterIP");
        spec.ports.iter_mut().flatten().for_each(port_default);
        if is_external(spec) {
            set(&mut spec.external_traffic_policy, "Cluster");
        }
        if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&kind(spec)) {
            set(&mut spec.internal_traffic_policy, "Cluster");
        }
        if kind(spec) == "LoadBalancer" {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        self.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        let load_balancer = Some(LoadBalancerStatus::default());
        self.status = Some(ServiceStatus { load_balancer, ..ServiceStatus::default() });
        address::complete(self.spec.get_or_insert_default());
    }

    fn prepare_update(&mut self, old: &Service) {
        self.status.clone_from(&old.status);
        let (spec, none) = (self.spec.get_or_insert_default(), ServiceSpec::default());
        let old = old.spec.as_ref().unwrap_or(&none);
        change::keep_allocated(spec, old);
        change::drop_with_type(spec, old);
        address::complete(spec);
    }

    fn prepare_status(&mut self, old: &Service) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = ServiceSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        ports(errors, &path, spec);
        labels::labels(errors, &path.child("selector"), &spec.selector);
        affinity(errors, &path, spec);
        address::addresses(errors, &path, spec);
        let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
        required_word(errors, &path.child("type"), kind(spec), &types);
        port_conflicts(errors, &path.child("ports"), spec);
        balancing(errors, &path, spec);
        traffic(errors, &path, spec);
    }

    fn validate_update(&self, old: &Service, errors: &mut Errors, path: &Path) {
        if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
            change::addresses(errors, &path.child("spec"), new, old);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let given =
            self.spec.as_ref().and_then(|spec| spec.external_ips.as_ref()).is_some_and(|ips| !ips.is_empty());
        let why = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        given.then(|| why.to_owned()).into_iter().collect()
    }
}

fn port_default(port: &mut ServicePort) {
    set(&mut port.protocol, "TCP");
    let unset = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

fn ports(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let (list, at) = (spec.ports.as_deref().unwrap_or_default(), path.child("ports"));
    let by_name = kind(spec) == "ExternalName";
    if list.is_empty() && !is_headless(spec) && !by_name {
        errors.required(&at, "");
    }
    if by_name {
        let (at, name) = (path.child("externalName"), text(&spec.external_name));
        // A trailing dot is a resolver's way to say that nothing follows.
        let bare = name.strip_suffix('.').unwrap_or(name);
        match bare {
            "" => errors.required(&at, ""),
            bare => all(errors, &at, name, names::subdomain(bare)),
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in list.iter().enumerate() {
        let at = at.index(index);
        match text(&port.name) {
            "" if list.len() > 1 => errors.required(&at.child("name"), ""),
            "" => {}
            name => {
                all(errors, &at.child("name"), name, names::label(name));
                if !seen.insert(name) {
                    errors.duplicate(&at.child("name"), name);
                }
            }
        }
        check::port(errors, &at.child("port"), port.port);
        let protocol = text(&port.protocol);
        required_word(errors, &at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        if let Some(target) = &port.target_port {
            check::port_or_name(errors, &at.child("targetPort"), target);
        }
        if let Some(protocol) = &port.app_protocol {
            all(errors, &at.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

fn affinity(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let word = text(&spec.session_affinity);
    required_word(errors, &path.child("sessionAffinity"), word, &["ClientIP", NONE]);
    let seconds = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = seconds.and_then(|config| config.timeout_seconds);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=86_400).contains(seconds)) {
        let at = path.child("sessionAffinityConfig");
        let why = "must be greater than 0 and less than 86400";
        errors.invalid(&at.child("clientIP").child("timeoutSeconds"), seconds, why);
    }
}

/// No two ports may be alike, in the cluster or on the node; and only some types have ports of the node.
fn port_conflicts(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let (mut seen, mut on_node) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let at = path.index(index);
        let node = port.node_port.unwrap_or(0);
        if node != 0 && kind(spec) == "ClusterIP" {
            errors.forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        if node != 0 && !on_node.insert((text(&port.protocol), node)) {
            errors.duplicate(&at.child("nodePort"), node);
        }
        if !seen.insert((text(&port.protocol), port.port)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                json(&port.protocol),
                port.port
            );
            errors.add_shown(Reason::Duplicate, &at, shown, "");
        }
    }
}

fn balancing(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let balances = kind(spec) == "LoadBalancer";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let at = path.child("loadBalancerSourceRanges");
    let only = "may only be used when `type` is 'LoadBalancer'";
    if !ranges.is_empty() && !balances {
        errors.forbidden(&at, only);
    }
    for (index, range) in ranges.iter().enumerate() {
        all(errors, &at.index(index), range, names::cidr(range.trim()));
    }
    for (field, set) in [
        ("allocateLoadBalancerNodePorts", spec.allocate_load_balancer_node_ports.is_some()),
        ("loadBalancerClass", spec.load_balancer_class.is_some()),
    ] {
        if set && !balances {
            errors.forbidden(&path.child(field), only);
        }
    }
    if balances && spec.allocate_load_balancer_node_ports.is_none() {
        errors.required(&path.child("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = &spec.load_balancer_class {
        all(errors, &path.child("loadBalancerClass"), class, names::qualified(class));
    }
}

fn traffic(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let reachable = is_external(spec)
        || (kind(spec) == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()));
    let (at, policy) = (path.child("externalTrafficPolicy"), text(&spec.external_traffic_policy));
    match policy {
        "" if is_external(spec) => errors.required(&at, ""),
        "" => {}
        policy if !reachable => {
            errors.invalid(&at, policy, "may only be set for externally-accessible services");
        }
        policy => one_of(errors, &at, policy, &["Cluster", "Local"]),
    }
    let health = spec.health_check_node_port.unwrap_or(0);
    if health != 0 && !(kind(spec) == "LoadBalancer" && policy == "Local") {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), health, why);
    }
    if let Some(policy) = &spec.internal_traffic_policy {
        one_of(errors, &path.child("internalTrafficPolicy"), policy, &["Cluster", "Local"]);
    }
    if let Some(how) = &spec.traffic_distribution {
        let words = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        one_of(errors, &path.child("trafficDistribution"), how, &words);
    }
}
