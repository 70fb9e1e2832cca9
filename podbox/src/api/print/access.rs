//! Rows of accounts and of who may do what.

use super::cell;
use super::{AGE, NAME, Printer};
use crate::api::object;
use serde_json::Value;

pub(super) static SERVICE_ACCOUNT: Printer = Printer {
    columns: &[NAME, AGE],
    cells: |object, now| vec![object::name(object).into(), cell::age(object, now)],
};

pub(super) static BINDING: Printer = Printer {
    columns: &[
        NAME,
        ("Role", "string", "", false),
        AGE,
        ("Users", "string", "", true),
        ("Groups", "string", "", true),
        ("ServiceAccounts", "string", "", true),
    ],
    cells: |object, now| {
        let role = &object["roleRef"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subjects = |kind: &'static str| {
            let chosen = cell::list(object, "/subjects").filter(move |subject| subject["kind"] == kind);
            let names = chosen.map(|subject| match subject["namespace"].as_str() {
                Some(namespace) if kind == "ServiceAccount" => {
                    format!("{namespace}/{}", word(&subject["name"]))
                }
                _ => word(&subject["name"]),
            });
            Value::from(names.collect::<Vec<_>>().join(", "))
        };
        vec![
            object::name(object).into(),
            format!("{}/{}", word(&role["kind"]), word(&role["name"])).into(),
            cell::age(object, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};
