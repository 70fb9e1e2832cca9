//! Containers of a pod: app, init and ephemeral ones. What is wrong with each, and with all of them together.

use super::probe::{self, Which};
use super::{env, resources, scheduling, security};
use crate::api::field::{Errors, Path, Reason};
use crate::api::rules::check::{self, all, named, one_of, present, required_word, text};
use crate::api::rules::names;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerRestartRule, EphemeralContainer, Lifecycle, PodSpec, VolumeDevice,
    VolumeMount,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a container's fields refer to.
pub struct Around<'a> {
    /// The pod's.
    pub spec: &'a PodSpec,
    /// Names of the pod's volumes.
    pub volumes: &'a BTreeSet<&'a str>,
    /// Names of the pod's claims of devices.
    pub claims: &'a BTreeSet<&'a str>,
}

/// All app containers.
pub fn apps(errors: &mut Errors, path: &Path, around: &Around) {
    let containers = &around.spec.containers;
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = path.index(index);
        common(errors, &at, container, around);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.duplicate(&at.child("name"), container.name.as_str());
        }
        running(errors, &at, container, around);
        restarts(errors, &at, container);
    }
    host_ports(errors, path, containers);
}

/// All init containers. One that restarts always is a sidecar, and may have what an app container may.
pub fn init(errors: &mut Errors, path: &Path, around: &Around) {
    let containers = around.spec.init_containers.as_deref().unwrap_or_default();
    let mut seen: BTreeSet<_> = around.spec.containers.iter().map(|other| other.name.as_str()).collect();
    for (index, container) in containers.iter().enumerate() {
        let at = path.index(index);
        common(errors, &at, container, around);
        restarts(errors, &at, container);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.duplicate(&at.child("name"), container.name.as_str());
        }
        if text(&container.restart_policy) == "Always" {
            running(errors, &at, container, around);
        } else {
            let why = "may not be set for init containers without restartPolicy=Always";
            for (field, set) in [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ] {
                if set {
                    errors.forbidden(&at.child(field), why);
                }
            }
        }
    }
    host_ports(errors, path, containers);
}

/// All ephemeral containers.
pub fn ephemeral(errors: &mut Errors, path: &Path, around: &Around) {
    let init = around.spec.init_containers.iter().flatten();
    let others: BTreeSet<_> =
        around.spec.containers.iter().chain(init).map(|one| one.name.as_str()).collect();
    let mut seen = others.clone();
    for (index, one) in around.spec.ephemeral_containers.iter().flatten().enumerate() {
        let at = path.index(index);
        common(errors, &at, &as_container(one), around);
        if !one.name.is_empty() && !seen.insert(one.name.as_str()) {
            errors.duplicate(&at.child("name"), one.name.as_str());
        }
        let target = text(&one.target_container_name);
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&at.child("targetContainerName"), target);
        }
        let why = "cannot be set for an Ephemeral Container";
        let resources = one.resources.as_ref();
        let limited =
            resources.is_some_and(|resources| resources.limits.is_some() || resources.requests.is_some());
        for (field, set) in [
            ("ports", one.ports.as_ref().is_some_and(|ports| !ports.is_empty())),
            ("livenessProbe", one.liveness_probe.is_some()),
            ("readinessProbe", one.readiness_probe.is_some()),
            ("startupProbe", one.startup_probe.is_some()),
            ("lifecycle", one.lifecycle.is_some()),
            ("resources", limited),
            ("resizePolicy", one.resize_policy.is_some()),
            ("restartPolicy", one.restart_policy.is_some()),
        ] {
            if set {
                errors.forbidden(&at.child(field), why);
            }
        }
    }
}

/// What an ephemeral container has in common with the others.
fn as_container(one: &EphemeralContainer) -> Container {
    Container {
        name: one.name.clone(),
        image: one.image.clone(),
        env: one.env.clone(),
        env_from: one.env_from.clone(),
        image_pull_policy: one.image_pull_policy.clone(),
        security_context: one.security_context.clone(),
        termination_message_policy: one.termination_message_policy.clone(),
        volume_devices: one.volume_devices.clone(),
        volume_mounts: one.volume_mounts.clone(),
        ..Container::default()
    }
}

fn common(errors: &mut Errors, path: &Path, container: &Container, around: &Around) {
    named(errors, &path.child("name"), &container.name, names::label);
    let image = text(&container.image);
    present(errors, &path.child("image"), image);
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.invalid(&path.child("image"), image, why);
    }
    let policy = text(&container.termination_message_policy);
    let at = path.child("terminationMessagePolicy");
    required_word(errors, &at, policy, &["File", "FallbackToLogsOnError"]);
    ports(errors, &path.child("ports"), container.ports.as_deref().unwrap_or_default());
    let env = container.env.as_deref().unwrap_or_default();
    env::variables(errors, &path.child("env"), env, around.volumes);
    env::from(errors, &path.child("envFrom"), container.env_from.as_deref().unwrap_or_default());
    mounts(errors, &path.child("volumeMounts"), container, around.volumes);
    devices(
        errors,
        &path.child("volumeDevices"),
        container.volume_devices.as_deref().unwrap_or_default(),
        around.volumes,
    );
    let pull = text(&container.image_pull_policy);
    required_word(errors, &path.child("imagePullPolicy"), pull, &["Always", "IfNotPresent", "Never"]);
    if let Some(given) = &container.resources {
        resources::container(errors, &path.child("resources"), given, around.claims);
    }
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    let restarts = around.spec.restart_policy.as_deref();
    resources::resize_policy(errors, &path.child("resizePolicy"), policies, restarts);
    if let Some(context) = &container.security_context {
        security::container(errors, &path.child("securityContext"), context, around.spec.host_users);
    }
}

/// What only a container that keeps running has.
fn running(errors: &mut Errors, path: &Path, container: &Container, around: &Around) {
    if let Some(lifecycle) = &container.lifecycle {
        self::lifecycle(errors, &path.child("lifecycle"), lifecycle, around.spec);
    }
    for (field, probe, which) in [
        ("livenessProbe", &container.liveness_probe, Which::Liveness),
        ("readinessProbe", &container.readiness_probe, Which::Readiness),
        ("startupProbe", &container.startup_probe, Which::Startup),
    ] {
        if let Some(probe) = probe {
            probe::probe(errors, &path.child(field), probe, which);
        }
    }
}

fn lifecycle(errors: &mut Errors, path: &Path, lifecycle: &Lifecycle, spec: &PodSpec) {
    let grace = spec.termination_grace_period_seconds;
    for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(handler) = handler {
            probe::handler(errors, &path.child(field), handler, grace);
        }
    }
    if lifecycle.stop_signal.is_some() && spec.os.is_none() {
        let why = "may not be set for containers with empty `spec.os.name`";
        errors.forbidden(&path.child("stopSignal"), why);
    }
}

fn restarts(errors: &mut Errors, path: &Path, container: &Container) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    match text(&container.restart_policy) {
        "" if container.restart_policy.is_none() && rules.is_empty() => {}
        "" => errors
            .required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used"),
        policy => {
            one_of(errors, &path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
    }
    let list = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.add(Reason::TooMany, &list, Value::Null, "must have at most 20 items");
    }
    for (index, rule) in rules.iter().enumerate() {
        restart_rule(errors, &list.index(index), rule);
    }
}

fn restart_rule(errors: &mut Errors, path: &Path, rule: &ContainerRestartRule) {
    required_word(errors, &path.child("action"), &rule.action, &["Restart", "RestartAllContainers"]);
    let at = path.child("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        return errors.required(&at, "must be specified");
    };
    required_word(errors, &at.child("operator"), &codes.operator, &["In", "NotIn"]);
    if codes.values.as_ref().is_none_or(Vec::is_empty) {
        errors.invalid(&at.child("values"), Value::Null, "at least one value is required");
    }
}

fn ports(errors: &mut Errors, path: &Path, ports: &[ContainerPort]) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        let name = text(&port.name);
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if !wrong.is_empty() {
                all(errors, &at.child("name"), name, wrong);
            } else if !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        match port.container_port {
            0 => errors.required(&at.child("containerPort"), ""),
            number => check::port(errors, &at.child("containerPort"), number),
        }
        scheduling::host_port(errors, &at.child("hostPort"), port.host_port);
        let protocol = text(&port.protocol);
        required_word(errors, &at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}

/// No two containers of a pod may have the same port of the host.
fn host_ports(errors: &mut Errors, path: &Path, containers: &[Container]) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let Some(host) = port.host_port.filter(|host| *host != 0) else { continue };
            let claim = format!("{}/{}/{host}", text(&port.protocol), text(&port.host_ip));
            if !taken.insert(claim.clone()) {
                let at = path.index(index);
                errors.duplicate(&at.child("ports").index(number).child("hostPort"), claim);
            }
        }
    }
}

fn mounts(errors: &mut Errors, path: &Path, container: &Container, volumes: &BTreeSet<&str>) {
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mut targets = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = path.index(index);
        if mount.name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if !volumes.contains(mount.name.as_str()) {
            errors.not_found(&at.child("name"), mount.name.as_str());
        }
        let (target, name) = (mount.mount_path.as_str(), mount.name.as_str());
        present(errors, &at.child("mountPath"), target);
        if !target.is_empty() && !targets.insert(target) {
            errors.invalid(&at.child("mountPath"), target, "must be unique");
        }
        if devices.iter().any(|device| device.name == name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.device_path == target) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(&at.child("mountPath"), target, why);
        }
        sub_paths(errors, path, &at, mount);
        propagation(errors, path, &at, mount, container);
    }
}

/// Upstream names these fields without the mount's index.
fn sub_paths(errors: &mut Errors, path: &Path, at: &Path, mount: &VolumeMount) {
    let (plain, expanded) = (text(&mount.sub_path), text(&mount.sub_path_expr));
    check::local_path(errors, &path.child("subPath"), plain);
    if !expanded.is_empty() {
        if !plain.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&at.child("subPathExpr"), expanded, why);
        }
        check::local_path(errors, &path.child("subPathExpr"), expanded);
    }
}

fn propagation(errors: &mut Errors, path: &Path, at: &Path, mount: &VolumeMount, container: &Container) {
    let privileged = container.security_context.as_ref().and_then(|context| context.privileged) == Some(true);
    if let Some(mode) = mount.mount_propagation.as_deref() {
        let field = path.child("mountPropagation");
        one_of(errors, &field, mode, &["Bidirectional", "HostToContainer", "None"]);
        if mode == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&field, why);
        }
    }
    let recursive = text(&mount.recursive_read_only);
    if recursive.is_empty() {
        return;
    }
    let field = at.child("recursiveReadOnly");
    one_of(errors, &field, recursive, &["Disabled", "Enabled", "IfPossible"]);
    if recursive != "Disabled" && mount.read_only != Some(true) {
        errors.forbidden(&field, "may only be specified when readOnly is true");
    }
}

fn devices(errors: &mut Errors, path: &Path, devices: &[VolumeDevice], volumes: &BTreeSet<&str>) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in devices.iter().enumerate() {
        let at = path.index(index);
        let name = device.name.as_str();
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !names.insert(name) {
            errors.invalid(&at.child("name"), name, "must be unique");
        }
        if !name.is_empty() && !volumes.contains(name) {
            errors.not_found(&at.child("name"), name);
        }
        if device.device_path.is_empty() {
            errors.required(&at.child("devicePath"), "");
        } else if !paths.insert(device.device_path.as_str()) {
            errors.invalid(&at.child("devicePath"), device.device_path.as_str(), "must be unique");
        }
        check::no_backsteps(errors, &at.child("devicePath"), &device.device_path);
    }
}
