//! What of a pod is accepted but worth a word.

use super::default::Amounts;
use crate::api::field::Path;
use crate::api::quantity::Quantity;
use crate::api::rules::check::text;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Warnings about a pod.
pub fn pod(pod: &Pod) -> Vec<String> {
    pod.spec.as_ref().map(|given| spec(given, &Path::ROOT.child("spec"))).unwrap_or_default()
}

/// Warnings about a pod's spec.
pub fn spec(spec: &PodSpec, path: &Path) -> Vec<String> {
    let mut told = Vec::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let list = path.child("volumes");
        let at = list.index(index);
        if volume.git_repo.is_some() {
            told.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                at.child("gitRepo")
            ));
        }
    }
    for (index, reference) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if reference.name.trim().is_empty() {
            let list = path.child("imagePullSecrets");
            let at = list.index(index);
            told.push(format!("{}: invalid empty name {:?}", at.child("name"), reference.name));
        }
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !canonical_ip(&alias.ip) {
            let list = path.child("hostAliases");
            let at = list.index(index);
            told.push(format!("{}: non-standard IP address {:?}", at.child("ip"), alias.ip));
        }
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (field, containers) in [("initContainers", init), ("containers", &spec.containers)] {
        for (index, one) in containers.iter().enumerate() {
            let list = path.child(field);
            container(one, &list.index(index), &mut told);
        }
    }
    let ports = spec.containers.iter().enumerate();
    let list = path.child("containers");
    let ports: Vec<_> = ports
        .flat_map(|(index, container)| {
            let ports = container.ports.iter().flatten().enumerate();
            ports.map(move |(number, port)| (index, number, port))
        })
        .collect();
    duplicate_ports(&ports, &list, &mut told);
    told
}

fn canonical_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_string() == text)
}

fn container(container: &Container, path: &Path, told: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if !names.insert(variable.name.as_str()) {
            let list = path.child("env");
            told.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                list.index(index),
                variable.name
            ));
        }
    }
    let Some(resources) = &container.resources else { return };
    let at = path.child("resources");
    fractions(&resources.limits, &at.child("limits"), told);
    fractions(&resources.requests, &at.child("requests"), told);
}

/// There are no parts of bytes.
fn fractions(amounts: &Option<Amounts>, path: &Path, told: &mut Vec<String>) {
    for (name, amount) in amounts.iter().flatten() {
        let bytes = ["memory", "ephemeral-storage"].contains(&name.as_str());
        if bytes && Quantity::parse(&amount.0).is_ok_and(|amount| !amount.is_whole()) {
            told.push(format!(
                "{}: fractional byte value {:?} is invalid, must be an integer",
                path.key(name),
                amount.0
            ));
        }
    }
}

/// Ports that are there twice in one container, or in two.
fn duplicate_ports(ports: &[(usize, usize, &ContainerPort)], path: &Path, told: &mut Vec<String>) {
    let key = |port: &ContainerPort| {
        let protocol = text(&port.protocol);
        (port.container_port, if protocol.is_empty() { "TCP" } else { protocol }.to_owned())
    };
    let mut seen = BTreeMap::new();
    for (index, number, port) in ports {
        let (other, at, first) = *seen.entry(key(port)).or_insert((*index, *number, *port));
        if (other, at) == (*index, *number) {
            continue;
        }
        let distinct = (text(&first.host_ip), first.host_port) != (text(&port.host_ip), port.host_port);
        // Ports of different addresses of the host do not collide, though their names in the pod do.
        if distinct && first.host_port.is_some() && port.host_port.is_some() {
            continue;
        }
        let (one, two) = (path.index(*index), path.index(other));
        let (one, two) = (one.child("ports"), two.child("ports"));
        told.push(format!("{}: duplicate port definition with {}", one.index(*number), two.index(at)));
    }
}
