//! A pod's row. Its status is the one word that says most: what it waits for, how it ended, what holds it.

use super::cell::{self, NONE};
use super::{AGE, NAME, Printer};
use crate::api::object;
use serde_json::{Value, json};
use std::time::SystemTime;

pub(super) static POD: Printer = Printer {
    columns: &[
        NAME,
        ("Ready", "string", "", false),
        ("Status", "string", "", false),
        ("Restarts", "string", "", false),
        AGE,
        ("IP", "string", "", true),
        ("Node", "string", "", true),
        ("Nominated Node", "string", "", true),
        ("Readiness Gates", "string", "", true),
    ],
    cells,
};

/// What the containers' states come to.
#[derive(Default)]
struct Sum {
    reason: String,
    total: usize,
    ready: usize,
    restarts: i64,
    last_restart: Option<SystemTime>,
}

fn cells(pod: &Value, now: SystemTime) -> Vec<Value> {
    let sum = sum(pod);
    let restarts = match sum.last_restart {
        Some(at) if sum.restarts != 0 => {
            format!("{} ({} ago)", sum.restarts, cell::human(now.duration_since(at).unwrap_or_default()))
        }
        _ => sum.restarts.to_string(),
    };
    vec![
        object::name(pod).into(),
        format!("{}/{}", sum.ready, sum.total).into(),
        sum.reason.into(),
        restarts.into(),
        cell::age(pod, now),
        cell::text(pod, "/status/podIP", NONE),
        cell::text(pod, "/spec/nodeName", NONE),
        cell::text(pod, "/status/nominatedNodeName", NONE),
        gates(pod),
    ]
}

fn gates(pod: &Value) -> Value {
    let gates: Vec<_> = cell::list(pod, "/spec/readinessGates").collect();
    if gates.is_empty() {
        return NONE.into();
    }
    let met = gates.iter().filter(|gate| condition(pod, &gate["conditionType"], "True")).count();
    format!("{met}/{}", gates.len()).into()
}

fn condition(pod: &Value, of: &Value, status: &str) -> bool {
    cell::list(pod, "/status/conditions").any(|c| c["type"] == *of && c["status"] == status)
}

fn sum(pod: &Value) -> Sum {
    let containers = cell::list(pod, "/spec/containers").count();
    let mut sum = Sum { total: containers, ..Sum::default() };
    sum.reason = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
    if let Some(reason) = pod["status"]["reason"].as_str().filter(|reason| !reason.is_empty()) {
        reason.clone_into(&mut sum.reason);
    }
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if cell::list(pod, "/status/conditions").any(gated) {
        sum.reason = "SchedulingGated".to_owned();
    }
    let initialising = init(pod, &mut sum);
    if !initialising || condition(pod, &"Initialized".into(), "True") {
        main(pod, &mut sum);
    }
    if object::deleting(pod) {
        let lost = pod["status"]["reason"] == "NodeLost";
        let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        match (lost, over) {
            (true, _) => sum.reason = "Unknown".to_owned(),
            (false, false) => sum.reason = "Terminating".to_owned(),
            (false, true) => {}
        }
    }
    sum
}

/// Notes a restart's time, the latest of all.
fn restarted(sum: &mut Sum, status: &Value) {
    let at = status.pointer("/lastState/terminated/finishedAt").and_then(Value::as_str);
    let at = at.and_then(object::read_time);
    sum.last_restart = sum.last_restart.max(at);
}

/// Init containers, in order, up to the first that is not done. Whether there is such a one.
fn init(pod: &Value, sum: &mut Sum) -> bool {
    let specs: Vec<_> = cell::list(pod, "/spec/initContainers").collect();
    let sidecar = |name: &Value| specs.iter().any(|s| s["name"] == *name && s["restartPolicy"] == "Always");
    sum.total += specs.iter().filter(|spec| spec["restartPolicy"] == "Always").count();
    let mut restarts = 0;
    let mut sidecar_restarts = 0;
    let mut restart_times = Sum::default();
    let mut initialising = false;
    for (index, status) in cell::list(pod, "/status/initContainerStatuses").enumerate() {
        restarts += status["restartCount"].as_i64().unwrap_or(0);
        restarted(&mut restart_times, status);
        let is_sidecar = sidecar(&status["name"]);
        if is_sidecar {
            sidecar_restarts += status["restartCount"].as_i64().unwrap_or(0);
            restarted(sum, status);
        }
        let ended = &status["state"]["terminated"];
        if ended.is_object() && ended["exitCode"] == 0 {
            continue;
        }
        if is_sidecar && status["started"] == true {
            sum.ready += usize::from(status["ready"] == true);
            continue;
        }
        sum.reason =
            match (ended.is_object(), status.pointer("/state/waiting/reason").and_then(Value::as_str)) {
                (true, _) => format!("Init:{}", end(ended)),
                (false, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
                    format!("Init:{reason}")
                }
                _ => format!("Init:{index}/{}", specs.len()),
            };
        initialising = true;
        break;
    }
    if initialising {
        sum.restarts = restarts;
        sum.last_restart = restart_times.last_restart;
    } else {
        sum.restarts = sidecar_restarts;
    }
    initialising
}

/// How a container ended, in a word.
fn end(ended: &Value) -> String {
    match ended["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => match ended["signal"].as_i64().unwrap_or(0) {
            0 => format!("ExitCode:{}", ended["exitCode"]),
            signal => format!("Signal:{signal}"),
        },
    }
}

fn main(pod: &Value, sum: &mut Sum) {
    let mut running = false;
    let statuses: Vec<_> = cell::list(pod, "/status/containerStatuses").collect();
    for status in statuses.iter().rev() {
        sum.restarts += status["restartCount"].as_i64().unwrap_or(0);
        restarted(sum, status);
        let (waiting, ended) = (&status["state"]["waiting"], &status["state"]["terminated"]);
        match waiting["reason"].as_str() {
            Some(reason) if !reason.is_empty() => reason.clone_into(&mut sum.reason),
            _ if ended.is_object() => sum.reason = end(ended),
            _ if status["ready"] == true && status["state"]["running"].is_object() => {
                running = true;
                sum.ready += 1;
            }
            _ => {}
        }
    }
    // One that ended well says nothing while others run.
    if sum.reason == "Completed" && running {
        let ready = condition(pod, &"Ready".into(), "True");
        sum.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

/// What a row says of a pod that is over, so that clients can leave it out.
pub(super) fn over(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}
