//! Rows of devices and of claims to them.

use super::cell;
use super::{AGE, NAME, Printer};
use crate::api::object;

pub(super) static PLAIN: Printer = Printer {
    columns: &[NAME, AGE],
    cells: |object, now| vec![object::name(object).into(), cell::age(object, now)],
};

pub(super) static CLAIM: Printer = Printer {
    columns: &[NAME, ("State", "string", "", false), AGE],
    cells: |object, now| {
        let mut states = Vec::new();
        if object::deleting(object) {
            states.push("deleted");
        }
        match object["status"]["allocation"].is_object() {
            true => states.push("allocated"),
            false if states.is_empty() => states.push("pending"),
            false => {}
        }
        if cell::list(object, "/status/reservedFor").next().is_some() {
            states.push("reserved");
        }
        vec![object::name(object).into(), states.join(",").into(), cell::age(object, now)]
    },
};

pub(super) static SLICE: Printer = Printer {
    columns: &[
        NAME,
        ("Node", "string", "", false),
        ("Driver", "string", "", false),
        ("Pool", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/nodeName", cell::UNSET),
            cell::text(object, "/spec/driver", ""),
            cell::text(object, "/spec/pool/name", ""),
            cell::age(object, now),
        ]
    },
};
