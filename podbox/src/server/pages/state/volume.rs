//! What is told of volumes, of claims to them, and of their classes.

use super::{Name, Subject, amount, at, condition, some};
use crate::api::allowed::Allowed;
use crate::metrics::text::{Family, Page, gauge};
use crate::store::Store;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

const VOLUMES: Subject<PersistentVolume> = Subject {
    collection: "/persistentvolumes",
    prefix: "kube_persistentvolume",
    name: Name::Alone("persistentvolume"),
    families: VOLUME,
};
const CLAIMS: Subject<PersistentVolumeClaim> = Subject {
    collection: "/persistentvolumeclaims",
    prefix: "kube_persistentvolumeclaim",
    name: Name::Spaced("persistentvolumeclaim"),
    families: CLAIM,
};
const CLASSES: Subject<StorageClass> = Subject {
    collection: "storage.k8s.io/storageclasses",
    prefix: "kube_storageclass",
    name: Name::Alone("storageclass"),
    families: CLASS,
};

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    VOLUMES.write(page, store, allowed);
    CLAIMS.write(page, store, allowed);
    CLASSES.write(page, store, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    [VOLUMES.names(), CLAIMS.names(), CLASSES.names()].concat()
}

const VOLUME: &[Family<PersistentVolume>] = &[
    gauge("kube_persistentvolume_info", "What a volume is.", |volume, series| {
        let spec = volume.spec.clone().unwrap_or_default();
        let path = spec.host_path.as_ref().map_or("", |host| &host.path);
        let local = spec.local.as_ref().map_or("", |local| &local.path);
        let csi = |of: fn(&k8s_openapi::api::core::v1::CSIPersistentVolumeSource) -> &str| {
            spec.csi.as_ref().map_or("", of)
        };
        series.info(&[
            ("storageclass", spec.storage_class_name.as_deref().unwrap_or_default()),
            ("csi_driver", csi(|csi| &csi.driver)),
            ("csi_volume_handle", csi(|csi| &csi.volume_handle)),
            ("nfs_server", spec.nfs.as_ref().map_or("", |nfs| &nfs.server)),
            ("nfs_path", spec.nfs.as_ref().map_or("", |nfs| &nfs.path)),
            ("local_path", local),
            ("host_path", path),
            (
                "host_path_type",
                spec.host_path.as_ref().and_then(|host| host.type_.as_deref()).unwrap_or_default(),
            ),
            ("reclaim_policy", spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default()),
        ]);
    }),
    gauge("kube_persistentvolume_status_phase", "Whether it is anybody's.", |volume, series| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        series.state("phase", &["Pending", "Available", "Bound", "Released", "Failed"], phase);
    }),
    gauge("kube_persistentvolume_capacity_bytes", "How large it is.", |volume, series| {
        let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
        some(series, capacity.and_then(|capacity| capacity.get("storage")).and_then(amount));
    }),
    gauge("kube_persistentvolume_claim_ref", "Whose it is.", |volume, series| {
        if let Some(claim) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) {
            let word = |word: &Option<String>| word.clone().unwrap_or_default();
            series.info(&[("claim_namespace", &word(&claim.namespace)), ("name", &word(&claim.name))]);
        }
    }),
    gauge("kube_persistentvolume_deletion_timestamp", "When it is to be gone.", |volume, series| {
        at(series, volume.metadata.deletion_timestamp.as_ref());
    }),
];

const CLAIM: &[Family<PersistentVolumeClaim>] = &[
    gauge("kube_persistentvolumeclaim_info", "What a claim is to.", |claim, series| {
        let word = |word: Option<&String>| word.cloned().unwrap_or_default();
        let spec = claim.spec.as_ref();
        series.info(&[
            ("storageclass", &word(spec.and_then(|spec| spec.storage_class_name.as_ref()))),
            ("volumename", &word(spec.and_then(|spec| spec.volume_name.as_ref()))),
            ("volumemode", &word(spec.and_then(|spec| spec.volume_mode.as_ref()))),
        ]);
    }),
    gauge("kube_persistentvolumeclaim_status_phase", "Whether it has a volume.", |claim, series| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        series.state("phase", &["Lost", "Bound", "Pending"], phase);
    }),
    gauge(
        "kube_persistentvolumeclaim_resource_requests_storage_bytes",
        "How large a volume it wants.",
        |claim, series| {
            let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
            let wanted = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
            some(series, wanted.and_then(amount));
        },
    ),
    gauge("kube_persistentvolumeclaim_access_mode", "Who may use it at the same time.", |claim, series| {
        for mode in claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten()) {
            series.info(&[("access_mode", mode)]);
        }
    }),
    gauge("kube_persistentvolumeclaim_status_condition", "How it is.", |claim, series| {
        for own in claim.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
            condition(series, &[("condition", &own.type_)], &own.status);
        }
    }),
    gauge("kube_persistentvolumeclaim_deletion_timestamp", "When it is to be gone.", |claim, series| {
        at(series, claim.metadata.deletion_timestamp.as_ref());
    }),
];

const CLASS: &[Family<StorageClass>] =
    &[gauge("kube_storageclass_info", "What a class is.", |class, series| {
        series.info(&[
            ("provisioner", &class.provisioner),
            ("reclaim_policy", class.reclaim_policy.as_deref().unwrap_or("Delete")),
            ("volume_binding_mode", class.volume_binding_mode.as_deref().unwrap_or("Immediate")),
        ]);
    })];
