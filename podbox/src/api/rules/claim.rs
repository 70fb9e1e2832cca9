//! PersistentVolumeClaims: defaults, validation, what may change.

use super::check::{self, changes, json, maybe, one_of, present, text};
use super::pod::default::{canonical, set};
use super::{Rules, labels, names};
use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference,
};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const MAY_CHANGE: &str = "spec is immutable after creation except resources.requests and \
    volumeAttributesClassName for bound claims";

impl Rules for PersistentVolumeClaim {
    fn default(&mut self) {
        default_spec(self.spec.get_or_insert_default());
        set(&mut self.status.get_or_insert_default().phase, "Pending");
        if let Some(status) = &mut self.status {
            [&mut status.capacity, &mut status.allocated_resources].into_iter().flatten().for_each(canonical);
        }
    }

    fn prepare_create(&mut self) {
        let phase = Some("Pending".to_owned());
        self.status = Some(PersistentVolumeClaimStatus { phase, ..Default::default() });
        if let Some(spec) = &mut self.spec {
            one_source(spec);
        }
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        if let Some(spec) = &mut self.spec {
            one_source(spec);
        }
    }

    fn prepare_status(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = PersistentVolumeClaimSpec::default();
        spec(errors, &path.child("spec"), self.spec.as_ref().unwrap_or(&none));
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors, path: &Path) {
        let mut new = self.spec.clone().unwrap_or_default();
        let before = old.spec.clone().unwrap_or_default();
        let bound = old.status.as_ref().is_some_and(|status| text(&status.phase) == "Bound");
        // Binding sets the volume's name, once.
        if text(&before.volume_name).is_empty() {
            new.volume_name.clone_from(&before.volume_name);
        }
        // So does the class, of one that came before there was a class for claims that name none.
        if before.storage_class_name.is_none() {
            new.storage_class_name = None;
        }
        if bound {
            not_smaller(errors, path, &new, &before);
            new.resources.clone_from(&before.resources);
            new.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
        }
        if new != before {
            let changed = changes(&json(&before), &json(&new));
            errors.forbidden(&path.child("spec"), format!("{MAY_CHANGE}\n{changed}"));
        }
    }
}

/// Defaults a claim's spec.
pub fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    set(&mut spec.volume_mode, "Filesystem");
    if let Some(resources) = &mut spec.resources {
        [&mut resources.limits, &mut resources.requests].into_iter().flatten().for_each(canonical);
    }
}

/// Where a claim's data come from has two fields; each is told by the other.
fn one_source(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if source.namespace.is_none() => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

fn storage(spec: &PersistentVolumeClaimSpec) -> Option<&str> {
    Some(&spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.0)
}

fn not_smaller(
    errors: &mut Errors,
    path: &Path,
    new: &PersistentVolumeClaimSpec,
    old: &PersistentVolumeClaimSpec,
) {
    let size = |spec| storage(spec).and_then(|text| Quantity::parse(text).ok());
    if size(new) < size(old) {
        let (spec, why) = (path.child("spec"), "field can not be less than previous value");
        let at = spec.child("resources");
        errors.forbidden(&at.child("requests").child("storage"), why);
    }
}

/// How volumes may be used, of claims and volumes alike.
pub fn access_modes(errors: &mut Errors, path: &Path, modes: &[String]) {
    for mode in modes {
        one_of(errors, path, mode, ACCESS_MODES);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(path, why);
    }
}

/// A claim's spec.
pub fn spec(errors: &mut Errors, path: &Path, spec: &PersistentVolumeClaimSpec) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let at = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&at, "at least 1 access mode is required");
    }
    labels::maybe_selector(errors, &path.child("selector"), &spec.selector);
    access_modes(errors, &at, modes);
    let at = path.child("resources");
    match storage(spec) {
        None => errors.required(&at.key("storage"), ""),
        Some(size) => match Quantity::parse(size) {
            Err(error) => errors.invalid(&at.key("storage"), size, error.to_string()),
            Ok(amount) if amount.is_negative() || amount.is_zero() => {
                errors.invalid(&at.key("storage"), amount.to_string(), "must be greater than zero");
            }
            Ok(_) => {}
        },
    }
    maybe(errors, &path.child("storageClassName"), &spec.storage_class_name, names::subdomain);
    if let Some(mode) = &spec.volume_mode {
        one_of(errors, &path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    if let Some(source) = &spec.data_source {
        let at = path.child("dataSource");
        present(errors, &at.child("name"), &source.name);
        present(errors, &at.child("kind"), &source.kind);
        if text(&source.api_group).is_empty() && source.kind != "PersistentVolumeClaim" {
            let why = "apiGroup is required when `kind` is not 'PersistentVolumeClaim'";
            errors.invalid(&at, source.kind.as_str(), why);
        }
    }
    if let Some(class) = spec.volume_attributes_class_name.as_deref().filter(|class| !class.is_empty()) {
        check::all(errors, &path.child("volumeAttributesClassName"), class, names::subdomain(class));
    }
}
