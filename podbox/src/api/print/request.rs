//! Rows of what judges, orders or signs: admission policies and their bindings, levels of priority, requests for certificates.

use super::cell::{self, NONE, UNSET};
use super::{AGE, NAME, Printer};
use crate::api::object;
use serde_json::Value;
use std::time::Duration;

pub(super) static SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        ("SignerName", "string", "", false),
        ("Requestor", "string", "", false),
        ("RequestedDuration", "string", "", false),
        ("Condition", "string", "", false),
    ],
    cells: |object, now| {
        let seconds = object["spec"]["expirationSeconds"].as_u64();
        let asked = seconds.map_or(NONE.to_owned(), |seconds| cell::human(Duration::from_secs(seconds)));
        let is = |word: &str| cell::list(object, "/status/conditions").any(|one| one["type"] == word);
        let decided = match (is("Denied"), is("Approved")) {
            (true, _) => "Denied",
            (false, true) => "Approved",
            (false, false) => "Pending",
        };
        let failed = if is("Failed") { ",Failed" } else { "" };
        let certificate = object["status"]["certificate"].as_str().unwrap_or_default();
        let issued = if certificate.is_empty() { "" } else { ",Issued" };
        vec![
            object::name(object).into(),
            cell::age(object, now),
            cell::text(object, "/spec/signerName", NONE),
            cell::text(object, "/spec/username", ""),
            asked.into(),
            format!("{decided}{failed}{issued}").into(),
        ]
    },
};

pub(super) static FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        ("PriorityLevel", "string", "", false),
        ("MatchingPrecedence", "string", "", false),
        ("DistinguisherMethod", "string", "", false),
        AGE,
        ("MissingPL", "string", "", false),
    ],
    cells: |object, now| {
        let dangling = cell::list(object, "/status/conditions").find(|one| one["type"] == "Dangling");
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/priorityLevelConfiguration/name", ""),
            cell::number(object, "/spec/matchingPrecedence").into(),
            cell::text(object, "/spec/distinguisherMethod/type", NONE),
            cell::age(object, now),
            dangling.map_or("?".into(), |one| one["status"].clone()),
        ]
    },
};

pub(super) static PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        ("Type", "string", "", false),
        ("NominalConcurrencyShares", "string", "", false),
        ("Queues", "string", "", false),
        ("HandSize", "string", "", false),
        ("QueueLengthLimit", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let of = |pointer: &str| object.pointer(pointer).filter(|there| there.is_i64()).cloned();
        let shares = of("/spec/limited/nominalConcurrencyShares");
        let queuing =
            |field: &str| of(&format!("/spec/limited/limitResponse/queuing/{field}")).unwrap_or(NONE.into());
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/type", ""),
            shares.or_else(|| of("/spec/exempt/nominalConcurrencyShares")).unwrap_or(NONE.into()),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            cell::age(object, now),
        ]
    },
};

const PARAMETERS: super::Column = ("ParamKind", "string", "", false);

pub(super) static VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, ("Validations", "integer", "", false), PARAMETERS, AGE],
    cells: |object, now| policy(object, "/spec/validations", cell::age(object, now)),
};

pub(super) static MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, ("Mutations", "integer", "", false), PARAMETERS, AGE],
    cells: |object, now| policy(object, "/spec/mutations", cell::age(object, now)),
};

fn policy(object: &Value, list: &str, age: Value) -> Vec<Value> {
    let kind = &object["spec"]["paramKind"];
    let parameters = match (kind["apiVersion"].as_str(), kind["kind"].as_str()) {
        (Some(version), Some(kind)) => {
            let core = if version.contains('/') { "" } else { "/" };
            format!("{core}{version}, Kind={kind}")
        }
        _ => UNSET.to_owned(),
    };
    vec![object::name(object).into(), cell::list(object, list).count().into(), parameters.into(), age]
}

pub(super) static POLICY_BINDING: Printer = Printer {
    columns: &[NAME, ("PolicyName", "string", "", false), ("ParamRef", "string", "", false), AGE],
    cells: |object, now| {
        let parameters = &object["spec"]["paramRef"];
        let of = match parameters["name"].as_str() {
            Some(name) => format!("{}/{name}", parameters["namespace"].as_str().unwrap_or("*")).into(),
            None if parameters["selector"].is_object() => cell::selector(object, "/spec/paramRef/selector"),
            None => UNSET.into(),
        };
        let policy = cell::text(object, "/spec/policyName", "");
        vec![object::name(object).into(), policy, of, cell::age(object, now)]
    },
};
