//! Where the volume of a claim is on this node: claim → bound volume → path, or the kubelet's words for what is missing.
//! Binding claims to volumes is somebody else's.

use crate::api::identity::PodRef;
use crate::pod::references::ClaimRef;
use crate::pod::sources::Place;
use crate::pod::volumes::host_kind;
use crate::sandbox::spec::HostKind;
use crate::store::{Key, Store};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde::de::DeserializeOwned;

/// Where a pod's claim leads.
pub fn place(store: &Store, pod: &PodRef, wanted: &ClaimRef) -> Result<Place, String> {
    let ClaimRef { name, own } = wanted;
    let claim: PersistentVolumeClaim =
        read(store, "/persistentvolumeclaims", &Key::new(&pod.namespace, name)).ok_or_else(|| {
            format!("failed to fetch PVC from API server: persistentvolumeclaims \"{name}\" not found")
        })?;
    let owners = claim.metadata.owner_references.iter().flatten();
    let owned = owners.filter(|owner| owner.controller == Some(true)).any(|owner| owner.uid == pod.uid);
    if *own && !owned {
        let PodRef { namespace, name: pod, .. } = pod;
        return Err(format!(
            "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
        ));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".to_owned());
    }
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let spec = claim.spec.unwrap_or_default();
    let volume = spec.volume_name.filter(|name| bound && !name.is_empty());
    let volume = volume.ok_or("PVC is not bound")?;
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("PVC {name} has volumeMode Block, and is mounted as a file system"));
    }
    let uid = claim.metadata.uid.unwrap_or_default();
    path(store, &volume, &uid)
}

fn path(store: &Store, name: &str, claim: &str) -> Result<Place, String> {
    let volume: PersistentVolume = read(store, "/persistentvolumes", &Key::new("", name)).ok_or_else(|| {
        format!(
            "failed to fetch PV {name} from API server: failed to get PV {name} from API server: persistentvolumes \"{name}\" not found"
        )
    })?;
    let spec = volume.spec.unwrap_or_default();
    match &spec.claim_ref {
        None => return Err(format!("found PV object {name} bound to no claim")),
        Some(reference) if reference.uid.as_deref() != Some(claim) => {
            let uid = reference.uid.as_deref().unwrap_or_default();
            return Err(format!(
                "found PV object {name} with claimRef.UID {uid} that does not point to claim {claim}"
            ));
        }
        Some(_) => {}
    }
    if let Some(host) = &spec.host_path {
        let kind = host_kind(host.type_.as_deref().unwrap_or_default());
        return Ok(Place { path: (&host.path).into(), kind, owned: false });
    }
    match &spec.local {
        // It must be there: making it would hide that a disk is not mounted.
        Some(local) => Ok(Place { path: (&local.path).into(), kind: HostKind::Directory, owned: true }),
        None => Err(format!("no volume plugin matched for PV {name}: podbox has hostPath and local")),
    }
}

fn read<T: DeserializeOwned>(store: &Store, collection: &str, key: &Key) -> Option<T> {
    serde_json::from_slice(&store.get(collection, key)?.bytes).ok()
}
