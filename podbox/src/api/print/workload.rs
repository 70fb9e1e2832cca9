//! Rows of the kinds that make pods, and of those that count them.

use super::cell::{self, NONE};
use super::{AGE, Column, NAME, Printer};
use crate::api::object;
use serde_json::{Value, json};
use std::time::SystemTime;

const CONTAINERS: Column = ("Containers", "string", "", true);
const IMAGES: Column = ("Images", "string", "", true);
const SELECTOR: Column = ("Selector", "string", "", true);
const READY: Column = ("Ready", "string", "", false);
const TEMPLATE: &str = "/spec/template/spec/containers";

pub(super) static POD_TEMPLATE: Printer = Printer {
    columns: &[
        NAME,
        ("Containers", "string", "", false),
        ("Images", "string", "", false),
        ("Pod Labels", "string", "", false),
    ],
    cells: |object, _| {
        let [names, images] = cell::containers(object, "/template/spec/containers");
        let labels = cell::labels(object, "/template/metadata/labels", NONE);
        vec![object::name(object).into(), names, images, labels]
    },
};

pub(super) static REPLICA_SET: Printer = Printer {
    columns: &[
        NAME,
        ("Desired", "integer", "", false),
        ("Current", "integer", "", false),
        ("Ready", "integer", "", false),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = cell::containers(object, TEMPLATE);
        // A replication controller's is a plain map.
        let selector = match object
            .pointer("/spec/selector/matchLabels")
            .or(object.pointer("/spec/selector/matchExpressions"))
        {
            Some(_) => cell::selector(object, "/spec/selector"),
            None => cell::labels(object, "/spec/selector", NONE),
        };
        vec![
            object::name(object).into(),
            cell::number(object, "/spec/replicas").into(),
            cell::number(object, "/status/replicas").into(),
            cell::number(object, "/status/readyReplicas").into(),
            cell::age(object, now),
            names,
            images,
            selector,
        ]
    },
};

fn ready_of_wanted(object: &Value) -> Value {
    let ready = cell::number(object, "/status/readyReplicas");
    format!("{ready}/{}", cell::number(object, "/spec/replicas")).into()
}

pub(super) static DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        READY,
        ("Up-to-date", "string", "", false),
        ("Available", "string", "", false),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = cell::containers(object, TEMPLATE);
        vec![
            object::name(object).into(),
            ready_of_wanted(object),
            cell::number(object, "/status/updatedReplicas").into(),
            cell::number(object, "/status/availableReplicas").into(),
            cell::age(object, now),
            names,
            images,
            cell::selector(object, "/spec/selector"),
        ]
    },
};

pub(super) static STATEFUL_SET: Printer = Printer {
    columns: &[NAME, READY, AGE, CONTAINERS, IMAGES],
    cells: |object, now| {
        let [names, images] = cell::containers(object, TEMPLATE);
        vec![object::name(object).into(), ready_of_wanted(object), cell::age(object, now), names, images]
    },
};

pub(super) static DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        ("Desired", "integer", "", false),
        ("Current", "integer", "", false),
        ("Ready", "integer", "", false),
        ("Up-to-date", "integer", "", false),
        ("Available", "integer", "", false),
        ("Node Selector", "string", "", false),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = cell::containers(object, TEMPLATE);
        let count = |field: &str| Value::from(cell::number(object, &format!("/status/{field}")));
        vec![
            object::name(object).into(),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            cell::labels(object, "/spec/template/spec/nodeSelector", NONE),
            cell::age(object, now),
            names,
            images,
            cell::selector(object, "/spec/selector"),
        ]
    },
};

pub(super) static JOB: Printer = Printer {
    columns: &[
        NAME,
        ("Status", "string", "", false),
        ("Completions", "string", "", false),
        ("Duration", "string", "", false),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: job,
};

fn job(job: &Value, now: SystemTime) -> Vec<Value> {
    let [names, images] = cell::containers(job, TEMPLATE);
    let done = cell::number(job, "/status/succeeded");
    let completions = match (job["spec"]["completions"].as_i64(), cell::number(job, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    };
    let time = |pointer: &str| job.pointer(pointer).and_then(Value::as_str).and_then(object::read_time);
    let end = time("/status/completionTime").unwrap_or(now);
    let duration = time("/status/startTime")
        .map(|start| cell::human(end.duration_since(start).unwrap_or_default()))
        .unwrap_or_default();
    vec![
        object::name(job).into(),
        job_status(job).into(),
        completions.into(),
        duration.into(),
        cell::age(job, now),
        names,
        images,
        cell::selector(job, "/spec/selector"),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let is =
        |of: &str| cell::list(job, "/status/conditions").any(|c| c["type"] == of && c["status"] == "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if object::deleting(job) => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

pub(super) static CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        ("Schedule", "string", "", false),
        ("Timezone", "string", "", false),
        ("Suspend", "boolean", "", false),
        ("Active", "integer", "", false),
        ("Last Schedule", "string", "", false),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = cell::containers(object, "/spec/jobTemplate/spec/template/spec/containers");
        let last = object.pointer("/status/lastScheduleTime");
        vec![
            object::name(object).into(),
            cell::text(object, "/spec/schedule", ""),
            cell::text(object, "/spec/timeZone", NONE),
            if cell::flag(object, "/spec/suspend") { "True" } else { "False" }.into(),
            cell::list(object, "/status/active").count().into(),
            last.map_or_else(|| NONE.to_owned(), |last| cell::since(Some(last), now)).into(),
            cell::age(object, now),
            names,
            images,
            cell::selector(object, "/spec/jobTemplate/spec/selector"),
        ]
    },
};

pub(super) static CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, ("Controller", "string", "", false), ("Revision", "string", "", false), AGE],
    cells: |object, now| {
        let owner = cell::list(object, "/metadata/ownerReferences").find(|owner| owner["controller"] == true);
        let owner = owner.map_or(NONE.to_owned(), |owner| {
            let version = owner["apiVersion"].as_str().unwrap_or_default();
            let group = version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            let kind = owner["kind"].as_str().unwrap_or_default().to_lowercase();
            format!("{kind}{group}/{}", owner["name"].as_str().unwrap_or_default())
        });
        let revision = cell::number(object, "/revision").into();
        vec![object::name(object).into(), owner.into(), revision, cell::age(object, now)]
    },
};

pub(super) static DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        NAME,
        ("Min Available", "string", "", false),
        ("Max Unavailable", "string", "", false),
        ("Allowed Disruptions", "integer", "", false),
        AGE,
    ],
    cells: |object, now| {
        let amount = |field: &str| match &object["spec"][field] {
            Value::Null => "N/A".into(),
            Value::String(text) => text.as_str().into(),
            number => Value::from(number.to_string()),
        };
        vec![
            object::name(object).into(),
            amount("minAvailable"),
            amount("maxUnavailable"),
            cell::number(object, "/status/disruptionsAllowed").into(),
            cell::age(object, now),
        ]
    },
};

pub(super) static AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        ("Reference", "string", "", false),
        ("Targets", "string", "", false),
        ("MinPods", "string", "", false),
        ("MaxPods", "string", "", false),
        ("Replicas", "string", "", false),
        AGE,
    ],
    cells: |object, now| {
        let target = &object["spec"]["scaleTargetRef"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let least = object["spec"]["minReplicas"].as_i64();
        vec![
            object::name(object).into(),
            format!("{}/{}", word(&target["kind"]), word(&target["name"])).into(),
            metrics(object).into(),
            least.map_or(cell::UNSET.to_owned(), |least| least.to_string()).into(),
            cell::number(object, "/spec/maxReplicas").into(),
            cell::number(object, "/status/currentReplicas").into(),
            cell::age(object, now),
        ]
    },
};

/// How many metrics are told before the rest is only counted.
const METRICS: usize = 2;

/// What an autoscaler measures, beside what it wants; of the kind's older version only processors are known.
fn metrics(object: &Value) -> String {
    let percent = |value: &Value| value.as_i64().map_or("<unknown>".to_owned(), |p| format!("{p}%"));
    let first = &object["spec"]["targetCPUUtilizationPercentage"];
    if first.is_number() {
        let current = percent(&object["status"]["currentCPUUtilizationPercentage"]);
        return format!("cpu: {current}/{}", percent(first));
    }
    let all: Vec<_> = cell::list(object, "/spec/metrics").collect();
    let now: Vec<_> = cell::list(object, "/status/currentMetrics").collect();
    let told = all
        .iter()
        .enumerate()
        .take(METRICS)
        .map(|(index, metric)| metric_cell(metric, now.get(index).copied().unwrap_or(&Value::Null)));
    let told = told.collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => "<none>".to_owned(),
        count if count > METRICS => format!("{told} + {} more...", count - METRICS),
        _ => told,
    }
}

fn metric_cell(metric: &Value, now: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let field = match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        _ => "resource",
    };
    let (spec, now) = (&metric[field], &now[field]["current"]);
    let target = &spec["target"];
    let text = |value: &Value| value.as_str().unwrap_or("<unknown>").to_owned();
    let percent = |value: &Value| value.as_i64().map_or("<unknown>".to_owned(), |p| format!("{p}%"));
    let amounts = match (target["averageUtilization"].is_number(), target["averageValue"].is_string()) {
        (true, _) => {
            format!("{}/{}", percent(&now["averageUtilization"]), percent(&target["averageUtilization"]))
        }
        (_, true) => {
            let average = if kind == "External" || kind == "Object" { " (avg)" } else { "" };
            format!("{}/{}{average}", text(&now["averageValue"]), text(&target["averageValue"]))
        }
        _ => format!("{}/{}", text(&now["value"]), text(&target["value"])),
    };
    match kind {
        "Resource" | "ContainerResource" => {
            format!("{}: {amounts}", spec["name"].as_str().unwrap_or_default())
        }
        _ => amounts,
    }
}

pub(super) static SCALE: Printer = Printer {
    columns: &[
        ("Name", "string", "", false),
        ("Desired", "integer", "", false),
        ("Available", "integer", "", false),
        AGE,
    ],
    cells: |object, now| {
        let count = |pointer: &str| json!(cell::number(object, pointer));
        let (wanted, there) = (count("/spec/replicas"), count("/status/replicas"));
        vec![object::name(object).into(), wanted, there, cell::age(object, now)]
    },
};
