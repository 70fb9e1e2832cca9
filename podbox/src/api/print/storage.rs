//! Rows of volumes, claims and what provides them.

use super::cell::{self, UNSET};
use super::{AGE, Column, NAME, Printer};
use crate::api::object;
use serde_json::Value;

const MODE: Column = ("VolumeMode", "string", "", true);

fn modes(object: &Value, pointer: &str) -> Value {
    let mut short: Vec<&str> = Vec::new();
    for (mode, word) in [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ] {
        if cell::list(object, pointer).any(|one| one == mode) {
            short.push(word);
        }
    }
    short.join(",").into()
}

/// A class by its field, or by the annotation that came before it.
fn class(object: &Value) -> Value {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    match annotation.as_str() {
        Some(class) => class.into(),
        None => cell::text(object, "/spec/storageClassName", ""),
    }
}

pub(super) static VOLUME: Printer = Printer {
    columns: &[
        NAME,
        ("Capacity", "string", "", false),
        ("Access Modes", "string", "", false),
        ("Reclaim Policy", "string", "", false),
        ("Status", "string", "", false),
        ("Claim", "string", "", false),
        ("StorageClass", "string", "", false),
        ("VolumeAttributesClass", "string", "", false),
        ("Reason", "string", "", false),
        AGE,
        MODE,
    ],
    cells: |object, now| {
        let claim = &object["spec"]["claimRef"];
        let word = |field: &str| claim[field].as_str().unwrap_or_default();
        let claim = match claim.is_object() {
            true => format!("{}/{}", word("namespace"), word("name")),
            false => String::new(),
        };
        let phase = match object::deleting(object) {
            true => "Terminating".into(),
            false => cell::text(object, "/status/phase", ""),
        };
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/capacity/storage", ""),
            modes(object, "/spec/accessModes"),
            cell::text(object, "/spec/persistentVolumeReclaimPolicy", ""),
            phase,
            claim.into(),
            class(object),
            cell::text(object, "/spec/volumeAttributesClassName", UNSET),
            cell::text(object, "/status/reason", ""),
            cell::age(object, now),
            cell::text(object, "/spec/volumeMode", UNSET),
        ]
    },
};

pub(super) static CLAIM: Printer = Printer {
    columns: &[
        NAME,
        ("Status", "string", "", false),
        ("Volume", "string", "", false),
        ("Capacity", "string", "", false),
        ("Access Modes", "string", "", false),
        ("StorageClass", "string", "", false),
        ("VolumeAttributesClass", "string", "", false),
        AGE,
        MODE,
    ],
    cells: |object, now| {
        let bound = object["spec"]["volumeName"].as_str().is_some_and(|name| !name.is_empty());
        let phase = match object::deleting(object) {
            true => "Terminating".into(),
            false => cell::text(object, "/status/phase", ""),
        };
        let (capacity, access) = match bound {
            true => {
                (cell::text(object, "/status/capacity/storage", ""), modes(object, "/status/accessModes"))
            }
            false => ("".into(), "".into()),
        };
        vec![
            object::name(object).into(),
            phase,
            cell::text(object, "/spec/volumeName", ""),
            capacity,
            access,
            class(object),
            cell::text(object, "/spec/volumeAttributesClassName", UNSET),
            cell::age(object, now),
            cell::text(object, "/spec/volumeMode", UNSET),
        ]
    },
};

pub(super) static CLASS: Printer = Printer {
    columns: &[
        NAME,
        ("Provisioner", "string", "", false),
        ("ReclaimPolicy", "string", "", false),
        ("VolumeBindingMode", "string", "", false),
        ("AllowVolumeExpansion", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let default = marks.iter().any(|mark| object["metadata"]["annotations"][*mark] == "true");
        let name = object::name(object);
        vec![
            if default { format!("{name} (default)").into() } else { name.into() },
            cell::text(object, "/provisioner", ""),
            cell::text(object, "/reclaimPolicy", "Delete"),
            cell::text(object, "/volumeBindingMode", UNSET),
            cell::flag(object, "/allowVolumeExpansion").into(),
            cell::age(object, now),
        ]
    },
};

pub(super) static DRIVER: Printer = Printer {
    columns: &[
        NAME,
        ("AttachRequired", "boolean", "", false),
        ("PodInfoOnMount", "boolean", "", false),
        ("StorageCapacity", "boolean", "", false),
        ("TokenRequests", "string", "", false),
        ("RequiresRepublish", "boolean", "", false),
        ("Modes", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let audiences =
            cell::list(object, "/spec/tokenRequests").filter_map(|request| request["audience"].as_str());
        let modes = cell::list(object, "/spec/volumeLifecycleModes").filter_map(Value::as_str);
        vec![
            object::name(object).into(),
            object["spec"]["attachRequired"].as_bool().unwrap_or(true).into(),
            cell::flag(object, "/spec/podInfoOnMount").into(),
            cell::flag(object, "/spec/storageCapacity").into(),
            cell::joined(audiences.map(str::to_owned), UNSET),
            cell::flag(object, "/spec/requiresRepublish").into(),
            cell::joined(modes.map(str::to_owned), "<none>"),
            cell::age(object, now),
        ]
    },
};

pub(super) static NODE: Printer = Printer {
    columns: &[NAME, ("Drivers", "integer", "", false), AGE],
    cells: |object, now| {
        let drivers = cell::list(object, "/spec/drivers").count();
        vec![object::name(object).into(), drivers.into(), cell::age(object, now)]
    },
};

pub(super) static CAPACITY: Printer = Printer {
    columns: &[NAME, ("StorageClassName", "string", "", false), ("Capacity", "string", "", false)],
    cells: |object, _| {
        let [class, capacity] =
            ["/storageClassName", "/capacity"].map(|pointer| cell::text(object, pointer, ""));
        vec![object::name(object).into(), class, capacity]
    },
};

pub(super) static ATTRIBUTES: Printer = Printer {
    columns: &[NAME, ("DriverName", "string", "", false), AGE],
    cells: |object, now| {
        vec![object::name(object).into(), cell::text(object, "/driverName", ""), cell::age(object, now)]
    },
};

pub(super) static ATTACHMENT: Printer = Printer {
    columns: &[
        NAME,
        ("Attacher", "string", "name", false),
        ("PV", "string", "", false),
        ("Node", "string", "", false),
        ("Attached", "boolean", "", false),
        AGE,
    ],
    cells: |object, now| {
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/attacher", ""),
            cell::text(object, "/spec/source/persistentVolumeName", ""),
            cell::text(object, "/spec/nodeName", ""),
            cell::flag(object, "/status/attached").into(),
            cell::age(object, now),
        ]
    },
};
