//! podbox's own provisioner, as far as it is a decision: whether a claim's volume is to be made on a node, and as what; whether one
//! is to go. Its volumes are directories of one node. Pure; `node::provisioner` does it.
//!
//! What a directory cannot give is refused in words: block devices, copies of others' data. How much a volume holds is not limited: it is
//! the disk that it lies on.

use super::shelf::{PROVISIONED, PROVISIONER, SELECTED};
use crate::api::admission::{NODE_LOCAL, VOLUME_PROTECTION};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

/// Its name, in classes and on what it has made.
pub const NAME: &str = NODE_LOCAL;
/// Holds a volume until its data are gone.
pub const FINALIZER: &str = "podbox.io/node-local-data";
/// The label that says which node one is.
const HOST: &str = "kubernetes.io/hostname";

/// The node that was chosen for a claim's volume.
pub fn selected(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.metadata.annotations.as_ref()?.get(SELECTED).map(String::as_str)
}

/// Whether a claim's volume is to be made, and on the node of this name.
pub fn is_wanted(claim: &PersistentVolumeClaim, class: &StorageClass, node: &str) -> bool {
    let annotation = |name: &str| claim.metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let spec = claim.spec.as_ref();
    let open = spec.is_none_or(|spec| spec.volume_name.as_deref().unwrap_or_default().is_empty());
    let delayed = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    let here = match selected(claim) {
        Some(name) => name == node,
        None => !delayed,
    };
    open && here
        && claim.metadata.deletion_timestamp.is_none()
        && annotation(PROVISIONER) == Some(NAME)
        && class.provisioner == NAME
}

/// The name of a claim's volume: the same whenever it is asked for.
pub fn name(uid: &str) -> String {
    format!("pvc-{uid}")
}

/// The volume of a claim, at a path of a node; or what cannot be had.
pub fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    (node, path): (&str, &str),
) -> Result<Value, String> {
    let (meta, spec) = (&claim.metadata, claim.spec.clone().unwrap_or_default());
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("{NAME} has no block volumes: use volumeMode Filesystem"));
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err(format!("{NAME} does not copy data: leave out spec.dataSource"));
    }
    if spec.selector.is_some() {
        return Err(format!("{NAME} makes no volumes for claims with a selector"));
    }
    if let Some((name, _)) = class.parameters.iter().flatten().next() {
        return Err(format!("{NAME} takes no parameters, and does not know {name:?} of the class"));
    }
    if let Some(options) = class.mount_options.as_ref().filter(|options| !options.is_empty()) {
        let options = options.join(",");
        return Err(format!(
            "{NAME} mounts nothing, so the class's mountOptions {options:?} cannot be kept to"
        ));
    }
    let uid = meta.uid.as_deref().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    Ok(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name(uid),
            "annotations": {PROVISIONED: NAME},
            "finalizers": [VOLUME_PROTECTION, FINALIZER],
        },
        "spec": {
            "capacity": {"storage": requests.get("storage")},
            "accessModes": spec.access_modes,
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": class.metadata.name,
            "local": {"path": path},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace,
                "name": meta.name, "uid": uid, "resourceVersion": meta.resource_version,
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": HOST, "operator": "In", "values": [node]}]},
            ]}},
        },
    }))
}

/// What is to become of a volume that this provisioner has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its data go, and then it.
    Remove,
    /// It may go; its data stay.
    Release,
}

/// What is to become of a volume; nothing, if it is another's, or in use.
pub fn end(volume: &PersistentVolume) -> Option<End> {
    let (meta, spec) = (&volume.metadata, volume.spec.as_ref()?);
    let own = meta.annotations.as_ref()?.get(PROVISIONED).is_some_and(|name| name == NAME);
    let phase = volume.status.as_ref()?.phase.as_deref();
    let held = meta.finalizers.iter().flatten().any(|name| name == FINALIZER);
    let delete = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let going = meta.deletion_timestamp.is_some();
    match phase {
        _ if !own => None,
        Some("Released" | "Failed") if delete && (held || !going) => Some(End::Remove),
        Some("Released" | "Failed" | "Available") if going && held => Some(End::Release),
        _ => None,
    }
}
