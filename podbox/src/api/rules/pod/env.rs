//! Environment variables and references to fields and resources of the pod itself: what is wrong with them.

use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use crate::api::rules::check::{self, all, maybe, named, present, text};
use crate::api::rules::names;
use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
};
use std::collections::BTreeSet;

/// Fields of a pod that a variable can be set from.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a file can be made from.
pub const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// A container's variables.
pub fn variables(errors: &mut Errors, path: &Path, variables: &[EnvVar], volumes: &BTreeSet<&str>) {
    for (index, variable) in variables.iter().enumerate() {
        let at = path.index(index);
        named(errors, &at.child("name"), &variable.name, names::variable);
        if let Some(source) = &variable.value_from {
            self::source(errors, &at.child("valueFrom"), source, text(&variable.value), volumes);
        }
    }
}

fn source(errors: &mut Errors, path: &Path, source: &EnvVarSource, value: &str, volumes: &BTreeSet<&str>) {
    let mut count = 0;
    if let Some(reference) = &source.field_ref {
        count += 1;
        field(errors, &path.child("fieldRef"), reference, FIELDS);
    }
    if let Some(reference) = &source.resource_field_ref {
        count += 1;
        resource(errors, &path.child("resourceFieldRef"), reference, false);
    }
    if let Some(reference) = &source.config_map_key_ref {
        count += 1;
        key(errors, &path.child("configMapKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.secret_key_ref {
        count += 1;
        key(errors, &path.child("secretKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.file_key_ref {
        count += 1;
        file(errors, &path.child("fileKeyRef"), reference, volumes);
    }
    if count == 0 {
        let choice = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                      `fileKeyRef`";
        errors.invalid(path, "", choice);
    } else if !value.is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key(errors: &mut Errors, path: &Path, name: &str, key: &str) {
    present(errors, &path.child("name"), name);
    named(errors, &path.child("key"), key, names::config_key);
}

fn file(errors: &mut Errors, path: &Path, reference: &FileKeySelector, volumes: &BTreeSet<&str>) {
    let volume = path.child("volumeName");
    present(errors, &volume, &reference.volume_name);
    if !reference.volume_name.is_empty() && !volumes.contains(reference.volume_name.as_str()) {
        errors.not_found(&volume, reference.volume_name.as_str());
    }
    present(errors, &path.child("path"), &reference.path);
    check::local_path(errors, &path.child("path"), &reference.path);
    named(errors, &path.child("key"), &reference.key, names::variable);
}

/// A reference to one of `allowed` fields of the pod.
pub fn field(errors: &mut Errors, path: &Path, reference: &ObjectFieldSelector, allowed: &[&str]) {
    let at = path.child("fieldPath");
    let given = reference.field_path.as_str();
    if text(&reference.api_version).is_empty() {
        errors.required(&path.child("apiVersion"), "");
    } else if given.is_empty() {
        errors.required(&at, "");
    } else if let Some((field, key)) = subscript(given) {
        match field {
            "metadata.annotations" => all(errors, &at, key, names::qualified(&key.to_lowercase())),
            "metadata.labels" => all(errors, &at, key, names::qualified(key)),
            _ => errors.invalid(&at, given, format!("{field} does not support subscript")),
        }
    } else if text(&reference.api_version) != "v1"
        || !(FIELDS.contains(&given) || FILE_FIELDS.contains(&given))
    {
        let why = format!("error converting fieldPath: field label not supported: {given}");
        errors.invalid(&at, given, why);
    } else {
        check::one_of(errors, &at, given, allowed);
    }
}

/// `metadata.labels['key']` in its parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A reference to a resource of a container. In a volume it must say which container.
pub fn resource(errors: &mut Errors, path: &Path, reference: &ResourceFieldSelector, in_volume: bool) {
    if in_volume && text(&reference.container_name).is_empty() {
        errors.required(&path.child("containerName"), "");
    }
    let (at, name) = (path.child("resource"), reference.resource.as_str());
    if name.is_empty() {
        errors.required(&at, "");
    } else if !RESOURCES.contains(&name) && !name.contains(".hugepages-") {
        errors.not_supported(&at, name, RESOURCES);
    }
    if let Some(divisor) = &reference.divisor {
        self::divisor(errors, &path.child("divisor"), name, &divisor.0);
    }
}

fn divisor(errors: &mut Errors, path: &Path, resource: &str, text: &str) {
    let Ok(divisor) = Quantity::parse(text) else { return };
    const BYTES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (allowed, what): (&[&str], _) = match resource.split_once('.').map(|(_, what)| what) {
        Some("cpu") => (&["1m", "1"], "cpu"),
        Some("memory") => (&BYTES, "memory"),
        Some("ephemeral-storage") => (&BYTES, "local ephemeral storage"),
        Some(name) if name.starts_with("hugepages-") => (&BYTES, "hugepages"),
        _ => return,
    };
    if !divisor.is_zero() && !allowed.contains(&divisor.to_string().as_str()) {
        let list = allowed.join(if what == "cpu" { " and " } else { ", " });
        let why = format!("only divisor's values {list} are supported with the {what} resource");
        errors.invalid(path, text, why);
    }
}

/// Sources of many variables at once.
pub fn from(errors: &mut Errors, path: &Path, sources: &[EnvFromSource]) {
    for (index, source) in sources.iter().enumerate() {
        let at = path.index(index);
        maybe(errors, &at.child("prefix"), &source.prefix, names::variable);
        let config_map = source.config_map_ref.as_ref().map(|reference| &reference.name);
        let secret = source.secret_ref.as_ref().map(|reference| &reference.name);
        for (field, name) in [("configMapRef", config_map), ("secretRef", secret)] {
            if let Some(name) = name {
                present(errors, &at.child(field).child("name"), name);
            }
        }
        // Upstream names the list here, not the element.
        match (config_map, secret) {
            (None, None) => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            (Some(_), Some(_)) => {
                errors.invalid(path, "", "may not have more than one field specified at a time");
            }
            _ => {}
        }
    }
}
