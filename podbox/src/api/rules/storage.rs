//! PersistentVolumes, storage classes and CSI's objects: defaults, validation, what may not change.

use super::check::{self, IMMUTABLE, immutable, json, named, one_of, present, required_word, text};
use super::pod::default::{canonical, set};
use super::pod::{affinity, volume};
use super::{Rules, claim, names};
use crate::api::field::{Errors, Path, Reason};
use crate::api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, StorageClass, VolumeAttachment, VolumeAttachmentStatus,
};
use serde_json::Value;

/// How large a class's parameters may be together.
const PARAMETERS_BYTES: usize = 256 << 10;

impl Rules for StorageClass {
    fn default(&mut self) {
        set(&mut self.reclaim_policy, "Delete");
        set(&mut self.volume_binding_mode, "Immediate");
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("provisioner");
        if self.provisioner.is_empty() {
            errors.required(&at, "");
        } else {
            check::all(errors, &at, &self.provisioner, names::qualified(&self.provisioner.to_lowercase()));
        }
        let at = path.child("parameters");
        let parameters = self.parameters.iter().flatten();
        let size: usize = parameters.map(|(key, value)| key.len() + value.len()).sum();
        if size > PARAMETERS_BYTES {
            let why = format!("may not be more than {PARAMETERS_BYTES} bytes");
            errors.add(Reason::TooLong, &at, Value::Null, why);
        }
        let policy = text(&self.reclaim_policy);
        one_of(errors, &path.child("reclaimPolicy"), policy, &["Delete", "Retain"]);
        let mode = text(&self.volume_binding_mode);
        required_word(errors, &path.child("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"]);
    }

    fn validate_update(&self, old: &StorageClass, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("parameters"), &self.parameters, &old.parameters);
        immutable(errors, &path.child("provisioner"), &self.provisioner, &old.provisioner);
        immutable(errors, &path.child("reclaimPolicy"), &self.reclaim_policy, &old.reclaim_policy);
        immutable(
            errors,
            &path.child("volumeBindingMode"),
            &self.volume_binding_mode,
            &old.volume_binding_mode,
        );
    }
}

impl Rules for PersistentVolume {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set(&mut spec.persistent_volume_reclaim_policy, "Retain");
        set(&mut spec.volume_mode, "Filesystem");
        spec.capacity.iter_mut().for_each(canonical);
        if let Some(host) = &mut spec.host_path {
            host.type_.get_or_insert_default();
        }
        set(&mut self.status.get_or_insert_default().phase, "Pending");
    }

    /// The time of the first phase is that of the volume.
    fn prepare_create(&mut self) {
        self.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: self.metadata.creation_timestamp.clone(),
            ..PersistentVolumeStatus::default()
        });
    }

    fn prepare_update(&mut self, old: &PersistentVolume) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &PersistentVolume) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = PersistentVolumeSpec::default();
        self::volume(errors, &path.child("spec"), self.spec.as_ref().unwrap_or(&none));
    }

    fn validate_update(&self, old: &PersistentVolume, errors: &mut Errors, path: &Path) {
        let none = PersistentVolumeSpec::default();
        let (new, old) = (self.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        let at = path.child("spec");
        let (source, before) = (source_of(new), source_of(old));
        if source != before {
            let why = "spec.persistentvolumesource is immutable after creation";
            let changed = check::changes(&Value::from_iter(before), &Value::from_iter(source));
            errors.forbidden(&at.child("persistentvolumesource"), format!("{why}\n{changed}"));
        }
        immutable(errors, &path.child("volumeMode"), &new.volume_mode, &old.volume_mode);
        if old.node_affinity.is_some() && new.node_affinity != old.node_affinity {
            errors.invalid(&path.child("nodeAffinity"), json(&new.node_affinity), IMMUTABLE);
        }
    }
}

/// Of a volume's spec, where its data lie, and none of the other fields.
fn source_of(spec: &PersistentVolumeSpec) -> Vec<(String, Value)> {
    const OTHERS: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let Value::Object(fields) = json(spec) else { return Vec::new() };
    fields.into_iter().filter(|(field, _)| !OTHERS.contains(&field.as_str())).collect()
}

fn volume(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let at = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&at, "");
    }
    claim::access_modes(errors, &at, modes);
    capacity(errors, &path.child("capacity"), spec);
    let policy = text(&spec.persistent_volume_reclaim_policy);
    if !policy.is_empty() {
        let words = ["Delete", "Recycle", "Retain"];
        one_of(errors, &path.child("persistentVolumeReclaimPolicy"), policy, &words);
    }
    if let Some(nodes) = &spec.node_affinity {
        let at = path.child("nodeAffinity");
        match &nodes.required {
            Some(required) => affinity::node_selector(errors, &at.child("required"), required),
            None => errors.required(&at.child("required"), "must specify required node constraints"),
        }
    }
    sources(errors, path, spec);
    check::maybe(errors, &path.child("storageClassName"), &spec.storage_class_name, names::subdomain);
    if let Some(mode) = &spec.volume_mode {
        one_of(errors, &path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

fn capacity(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    let amounts = spec.capacity.as_ref().filter(|amounts| !amounts.is_empty());
    if amounts.is_none() {
        errors.required(path, "");
    }
    if amounts.is_none_or(|amounts| amounts.len() > 1 || !amounts.contains_key("storage")) {
        errors.not_supported(path, json(&spec.capacity), &["storage"]);
    }
    for (name, amount) in amounts.into_iter().flatten() {
        match Quantity::parse(&amount.0) {
            Err(error) => errors.invalid(&path.key(name), amount.0.as_str(), error.to_string()),
            Ok(given) if given.is_negative() || given.is_zero() => {
                errors.invalid(&path.key(name), given.to_string(), "must be greater than zero");
            }
            Ok(_) => {}
        }
    }
}

/// Exactly one source; the first in upstream's order is the one that counts.
fn sources(errors: &mut Errors, path: &Path, spec: &PersistentVolumeSpec) {
    let set = source_of(spec);
    let mut fields: Vec<_> = set.iter().map(|(field, _)| field.as_str()).collect();
    const ORDER: [&str; 9] = [
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "flocker",
        "nfs",
        "rbd",
        "iscsi",
        "local",
    ];
    fields.sort_by_key(|field| ORDER.iter().position(|one| one == field).unwrap_or(ORDER.len()));
    let Some((first, others)) = fields.split_first() else {
        return errors.required(path, "must specify a volume type");
    };
    let at = path.child(first);
    if let Some(source) = &spec.host_path {
        volume::host_path(errors, &at, source);
        if source.path == "/" && text(&spec.persistent_volume_reclaim_policy) == "Recycle" {
            let why = "may not be 'recycle' for a hostPath mount of '/'";
            errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
        }
    } else if let Some(source) = &spec.nfs {
        volume::nfs(errors, &at, &source.server, &source.path);
    } else if let Some(source) = &spec.local {
        present(errors, &at.child("path"), &source.path);
        check::no_backsteps(errors, &at.child("path"), &source.path);
        if spec.node_affinity.is_none() {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    } else if let Some(source) = &spec.csi {
        named(errors, &at.child("driver"), &source.driver, names::subdomain);
        present(errors, &at.child("volumeHandle"), &source.volume_handle);
    }
    for other in others {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

impl Rules for CSIDriver {
    fn default(&mut self) {
        let spec = &mut self.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        if spec.volume_lifecycle_modes.as_ref().is_none_or(Vec::is_empty) {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
        set(&mut spec.fs_group_policy, "ReadWriteOnceWithFSType");
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("spec");
        for mode in self.spec.volume_lifecycle_modes.iter().flatten() {
            one_of(errors, &at.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
        }
        one_of(
            errors,
            &at.child("fsGroupPolicy"),
            text(&self.spec.fs_group_policy),
            &["File", "None", "ReadWriteOnceWithFSType"],
        );
    }
}

impl Rules for CSINode {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let spec = path.child("spec");
        for (index, driver) in self.spec.drivers.iter().enumerate() {
            let list = spec.child("drivers");
            let at = list.index(index);
            named(errors, &at.child("name"), &driver.name, names::subdomain);
            present(errors, &at.child("nodeID"), &driver.node_id);
        }
    }
}

impl Rules for VolumeAttachment {
    fn prepare_create(&mut self) {
        self.status = Some(VolumeAttachmentStatus::default());
    }

    fn prepare_update(&mut self, old: &VolumeAttachment) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &VolumeAttachment) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("spec");
        named(errors, &at.child("attacher"), &self.spec.attacher, names::subdomain);
        present(errors, &at.child("nodeName"), &self.spec.node_name);
        let source = &self.spec.source;
        if source.persistent_volume_name.is_none() && source.inline_volume_spec.is_none() {
            let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.required(&at.child("source"), why);
        }
    }

    fn validate_update(&self, old: &VolumeAttachment, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("spec"), &self.spec, &old.spec);
    }
}
