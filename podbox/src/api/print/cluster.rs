//! Rows of nodes, namespaces, configuration, events and other kinds that many clusters have few of.

use super::cell::{self, NONE};
use super::{AGE, NAME, Printer};
use crate::api::object;
use serde_json::Value;
use std::time::SystemTime;

pub(super) static NODE: Printer = Printer {
    columns: &[
        NAME,
        ("Status", "string", "", false),
        ("Roles", "string", "", false),
        AGE,
        ("Version", "string", "", false),
        ("Internal-IP", "string", "", true),
        ("External-IP", "string", "", true),
        ("OS-Image", "string", "", true),
        ("Kernel-Version", "string", "", true),
        ("Container-Runtime", "string", "", true),
    ],
    cells: node,
};

fn node(node: &Value, now: SystemTime) -> Vec<Value> {
    let ready = cell::list(node, "/status/conditions").find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| &condition["status"]) {
        Some(status) if status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if cell::flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |of: &str| {
        let found = cell::list(node, "/status/addresses").find(|address| address["type"] == of);
        found.and_then(|address| address["address"].as_str()).unwrap_or(NONE)
    };
    let info = |field: &str| cell::text(node, &format!("/status/nodeInfo/{field}"), "<unknown>");
    let kernel = match (info("kernelVersion"), cell::text(node, "/status/nodeInfo/architecture", "")) {
        (Value::String(kernel), Value::String(arch)) if kernel != "<unknown>" && !arch.is_empty() => {
            format!("{kernel} ({arch})").into()
        }
        (kernel, _) => kernel,
    };
    vec![
        object::name(node).into(),
        status.into(),
        roles(node),
        cell::age(node, now),
        cell::text(node, "/status/nodeInfo/kubeletVersion", ""),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage"),
        kernel,
        info("containerRuntimeVersion"),
    ]
}

fn roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object();
    let roles = labels.into_iter().flatten().filter_map(|(key, value)| {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()).map(str::to_owned),
            _ => None,
        }
    });
    let mut roles: Vec<_> = roles.collect();
    roles.sort();
    cell::joined(roles, NONE)
}

pub(super) static NAMESPACE: Printer = Printer {
    columns: &[NAME, ("Status", "string", "", false), AGE],
    cells: |object, now| {
        vec![object::name(object).into(), cell::text(object, "/status/phase", ""), cell::age(object, now)]
    },
};

fn entries(object: &Value, pointer: &str) -> usize {
    object.pointer(pointer).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

pub(super) static CONFIG_MAP: Printer = Printer {
    columns: &[NAME, ("Data", "string", "", false), AGE],
    cells: |object, now| {
        let count = entries(object, "/data") + entries(object, "/binaryData");
        vec![object::name(object).into(), count.into(), cell::age(object, now)]
    },
};

pub(super) static SECRET: Printer = Printer {
    columns: &[NAME, ("Type", "string", "", false), ("Data", "string", "", false), AGE],
    cells: |object, now| {
        let of = cell::text(object, "/type", "");
        vec![object::name(object).into(), of, entries(object, "/data").into(), cell::age(object, now)]
    },
};

pub(super) static EVENT: Printer = Printer {
    columns: &[
        ("Last Seen", "string", "", false),
        ("Type", "string", "", false),
        ("Reason", "string", "", false),
        ("Object", "string", "", false),
        ("Subobject", "string", "", true),
        ("Source", "string", "", true),
        ("Message", "string", "", false),
        ("First Seen", "string", "", true),
        ("Count", "string", "", true),
        ("Name", "string", "name", true),
    ],
    cells: event,
};

/// The field of either form of an event: the core's, or that of its own group.
fn either<'a>(event: &'a Value, core: &str, own: &str) -> Option<&'a Value> {
    event.pointer(core).or_else(|| event.pointer(own)).filter(|value| !value.is_null())
}

fn event(event: &Value, now: SystemTime) -> Vec<Value> {
    let about = either(event, "/involvedObject", "/regarding");
    let word = |field: &str| about.and_then(|about| about[field].as_str()).unwrap_or_default();
    let subject = format!("{}/{}", word("kind").to_lowercase(), word("name"));
    let first =
        either(event, "/firstTimestamp", "/deprecatedFirstTimestamp").or_else(|| event.get("eventTime"));
    let last = event.pointer("/series/lastObservedTime");
    let last = last.or_else(|| either(event, "/lastTimestamp", "/deprecatedLastTimestamp")).or(first);
    let count = event.pointer("/series/count").or_else(|| either(event, "/count", "/deprecatedCount"));
    vec![
        cell::since(last, now).into(),
        cell::text(event, "/type", ""),
        cell::text(event, "/reason", ""),
        subject.into(),
        word("fieldPath").into(),
        source(event).into(),
        either(event, "/message", "/note").and_then(Value::as_str).unwrap_or_default().trim().into(),
        cell::since(first, now).into(),
        count.and_then(Value::as_i64).unwrap_or(1).max(1).into(),
        object::name(event).into(),
    ]
}

fn source(event: &Value) -> String {
    let source = either(event, "/source", "/deprecatedSource");
    let of = |field: &str| source.and_then(|source| source[field].as_str()).unwrap_or_default();
    let reporter = either(event, "/reportingComponent", "/reportingController");
    let reporter = reporter.and_then(Value::as_str).unwrap_or_default();
    let instance = event["reportingInstance"].as_str().unwrap_or_default();
    let (component, host) = match of("component") {
        "" => (reporter, instance),
        component => (component, of("host")),
    };
    [component, host].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

pub(super) static QUOTA: Printer = Printer {
    columns: &[NAME, ("Request", "string", "", false), ("Limit", "string", "", false), AGE],
    cells: |object, now| {
        let hard = object["status"]["hard"].as_object();
        let used = |name: &str| object["status"]["used"][name].as_str().unwrap_or("0").to_owned();
        let of = |limits: bool| {
            let chosen = hard.into_iter().flatten().filter(|(name, _)| name.starts_with("limits") == limits);
            let told = chosen
                .map(|(name, most)| format!("{name}: {}/{}", used(name), most.as_str().unwrap_or_default()));
            told.collect::<Vec<_>>().join(", ")
        };
        vec![object::name(object).into(), of(false).into(), of(true).into(), cell::age(object, now)]
    },
};

pub(super) static PRIORITY_CLASS: Printer = Printer {
    columns: &[
        NAME,
        ("Value", "integer", "", false),
        ("Global-Default", "boolean", "", false),
        AGE,
        ("PreemptionPolicy", "string", "", false),
    ],
    cells: |object, now| {
        vec![
            object::name(object).into(),
            cell::number(object, "/value").into(),
            cell::flag(object, "/globalDefault").into(),
            cell::age(object, now),
            cell::text(object, "/preemptionPolicy", ""),
        ]
    },
};

pub(super) static RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, ("Handler", "string", "", false), AGE],
    cells: |object, now| {
        vec![object::name(object).into(), cell::text(object, "/handler", ""), cell::age(object, now)]
    },
};

pub(super) static LEASE: Printer = Printer {
    columns: &[NAME, ("Holder", "string", "", false), AGE],
    cells: |object, now| {
        let holder = cell::text(object, "/spec/holderIdentity", "");
        vec![object::name(object).into(), holder, cell::age(object, now)]
    },
};
