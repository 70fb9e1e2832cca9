//! Volumes: defaults, and what is wrong with them. Each must have one source; of sources that podbox does not
//! have, what upstream requires.

use super::default::{field_ref, resource_ref, set};
use super::env;
use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use crate::api::rules::check::{self, local_path, mode, named, one_of, present, text};
use crate::api::rules::{claim, names};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, Volume,
};
use std::collections::BTreeSet;

mod projected;

/// Permission bits of the files of a volume.
const FILE_MODE: i32 = 0o644;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Defaults a volume.
pub fn default(volume: &mut Volume) {
    if *volume == (Volume { name: volume.name.clone(), ..Volume::default() }) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(limit) = volume.empty_dir.as_mut().and_then(|source| source.size_limit.as_mut()) {
        super::default::canonical_amount(limit);
    }
    if let Some(host) = &mut volume.host_path {
        host.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        source.items.iter_mut().flatten().for_each(downward);
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        source.sources.iter_mut().flatten().for_each(projected::default);
    }
    if let Some(template) = volume.ephemeral.as_mut().and_then(|source| source.volume_claim_template.as_mut())
    {
        template.metadata.get_or_insert_default();
        claim::default_spec(&mut template.spec);
    }
    if let Some(source) = &mut volume.image {
        let moves = text(&source.reference).rsplit('/').next().is_some_and(|name| {
            !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
        });
        set(&mut source.pull_policy, if moves { "Always" } else { "IfNotPresent" });
    }
    elsewhere(volume);
}

/// Sources that podbox does not have.
fn elsewhere(volume: &mut Volume) {
    if let Some(source) = &mut volume.iscsi {
        set(&mut source.iscsi_interface, "default");
    }
    if let Some(source) = &mut volume.rbd {
        set(&mut source.pool, "rbd");
        set(&mut source.user, "admin");
        set(&mut source.keyring, "/etc/ceph/keyring");
    }
    if let Some(source) = &mut volume.scale_io {
        set(&mut source.storage_mode, "ThinProvisioned");
        set(&mut source.fs_type, "xfs");
    }
    if let Some(source) = &mut volume.azure_disk {
        set(&mut source.caching_mode, "ReadWrite");
        set(&mut source.kind, "Shared");
        set(&mut source.fs_type, "ext4");
        source.read_only.get_or_insert(false);
    }
}

fn downward(file: &mut DownwardAPIVolumeFile) {
    file.field_ref.iter_mut().for_each(field_ref);
    file.resource_field_ref.iter_mut().for_each(resource_ref);
}

/// A pod's volumes. Gives their names.
pub fn all_of<'a>(errors: &mut Errors, path: &Path, volumes: &'a [Volume], pod: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = path.index(index);
        one(errors, &at, volume, pod);
        named(errors, &at.child("name"), &volume.name, names::label);
        if !seen.insert(volume.name.as_str()) {
            errors.duplicate(&at.child("name"), volume.name.as_str());
        }
    }
    seen
}

/// The sources that are set, in upstream's order.
fn sources(volume: &Volume) -> Vec<&'static str> {
    [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("secret", volume.secret.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("projected", volume.projected.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
    .collect()
}

fn one(errors: &mut Errors, path: &Path, volume: &Volume, pod: &str) {
    let found = sources(volume);
    let Some((first, others)) = found.split_first() else {
        return errors.required(path, "must specify a volume type");
    };
    source(errors, &path.child(first), volume, first, pod);
    for other in others {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

fn source(errors: &mut Errors, path: &Path, volume: &Volume, field: &str, pod: &str) {
    match field {
        "emptyDir" => empty_dir(errors, path, volume),
        "hostPath" => volume.host_path.iter().for_each(|source| host_path(errors, path, source)),
        "configMap" => {
            if let Some(source) = &volume.config_map {
                present(errors, &path.child("name"), &source.name);
                mode(errors, &path.child("defaultMode"), source.default_mode);
                items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
            }
        }
        "secret" => {
            if let Some(source) = &volume.secret {
                present(errors, &path.child("secretName"), text(&source.secret_name));
                mode(errors, &path.child("defaultMode"), source.default_mode);
                items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
            }
        }
        "downwardAPI" => {
            if let Some(source) = &volume.downward_api {
                mode(errors, &path.child("defaultMode"), source.default_mode);
                files(errors, path, source.items.as_deref().unwrap_or_default());
            }
        }
        "projected" => {
            if let Some(source) = &volume.projected {
                mode(errors, &path.child("defaultMode"), source.default_mode);
                projected::sources(errors, path, source.sources.as_deref().unwrap_or_default());
            }
        }
        "ephemeral" => ephemeral(errors, path, volume, pod),
        _ => source_elsewhere(errors, path, volume),
    }
}

/// Of what podbox does not have, the fields that must be there.
fn source_elsewhere(errors: &mut Errors, path: &Path, volume: &Volume) {
    if let Some(source) = &volume.persistent_volume_claim {
        present(errors, &path.child("claimName"), &source.claim_name);
    } else if let Some(source) = &volume.nfs {
        nfs(errors, path, &source.server, &source.path);
    } else if let Some(source) = &volume.csi {
        named(errors, &path.child("driver"), &source.driver, names::subdomain);
    } else if let Some(source) = &volume.image {
        present(errors, &path.child("reference"), text(&source.reference));
        one_of(
            errors,
            &path.child("pullPolicy"),
            text(&source.pull_policy),
            &["Always", "IfNotPresent", "Never"],
        );
    } else if let Some(source) = &volume.iscsi {
        present(errors, &path.child("targetPortal"), &source.target_portal);
        present(errors, &path.child("iqn"), &source.iqn);
        check::within(errors, &path.child("lun"), source.lun, 0, 255);
    } else if let Some(source) = &volume.git_repo {
        present(errors, &path.child("repository"), &source.repository);
        local_path(errors, &path.child("directory"), text(&source.directory));
    }
}

/// A share of an NFS server.
pub fn nfs(errors: &mut Errors, path: &Path, server: &str, share: &str) {
    present(errors, &path.child("server"), server);
    present(errors, &path.child("path"), share);
    if !share.is_empty() && !share.starts_with('/') {
        errors.invalid(&path.child("path"), share, "must be an absolute path");
    }
}

fn empty_dir(errors: &mut Errors, path: &Path, volume: &Volume) {
    let limit = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
    let Some(limit) = limit else { return };
    let at = path.child("sizeLimit");
    match Quantity::parse(&limit.0) {
        Err(error) => errors.invalid(&at, limit.0.as_str(), error.to_string()),
        Ok(amount) if amount.is_negative() => {
            errors.forbidden(&at, "SizeLimit field must be a valid resource quantity");
        }
        Ok(_) => {}
    }
}

/// A path of the host.
pub fn host_path(errors: &mut Errors, path: &Path, source: &HostPathVolumeSource) {
    let at = path.child("path");
    if source.path.is_empty() {
        return errors.required(&at, "");
    }
    check::no_backsteps(errors, &at, &source.path);
    one_of(errors, &path.child("type"), text(&source.type_), HOST_PATH_TYPES);
}

fn ephemeral(errors: &mut Errors, path: &Path, volume: &Volume, pod: &str) {
    let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
    let at = path.child("volumeClaimTemplate");
    let Some(template) = template else { return errors.required(&at, "") };
    claim::spec(errors, &at.child("spec"), &template.spec);
    let name = format!("{pod}-{}", volume.name);
    if !pod.is_empty() && !names::subdomain(&name).is_empty() {
        errors.invalid(&path.child("name"), volume.name.as_str(), "the claim's name would not be valid");
    }
}

/// Keys and the files they become.
fn items(errors: &mut Errors, path: &Path, items: &[KeyToPath]) {
    for (index, item) in items.iter().enumerate() {
        let at = path.index(index);
        present(errors, &at.child("key"), &item.key);
        present(errors, &at.child("path"), &item.path);
        if !item.path.is_empty() {
            below(errors, &at.child("path"), &item.path);
        }
        mode(errors, &at.child("mode"), item.mode);
    }
}

/// A file's path below its volume, of which names that start with `..` are the volume's own.
fn below(errors: &mut Errors, path: &Path, value: &str) {
    local_path(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") && value != ".." {
        errors.invalid(path, value, "must not start with '..'");
    }
}

fn files(errors: &mut Errors, path: &Path, files: &[DownwardAPIVolumeFile]) {
    for file in files {
        present(errors, &path.child("path"), &file.path);
        if !file.path.is_empty() {
            below(errors, &path.child("path"), &file.path);
        }
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(_), Some(_)) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", why);
            }
            (Some(reference), None) => {
                env::field(errors, &path.child("fieldRef"), reference, env::FILE_FIELDS);
            }
            (None, Some(reference)) => {
                env::resource(errors, &path.child("resourceFieldRef"), reference, true);
            }
            (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(errors, &path.child("mode"), file.mode);
    }
}
