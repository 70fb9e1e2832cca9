//! What is said of a node that is short of something.

use crate::api::object;
use crate::{chance, clock};
use serde_json::{Value, json};

/// An Event about the node.
pub(super) fn event(node: &str, of: &str, reason: &str, message: &str) -> Value {
    let now = object::time(clock::wall());
    let suffix = u64::from_le_bytes(chance::bytes());
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{node}.{suffix:016x}"), "namespace": "default"},
        // As upstream: a node's Events call it by its name twice.
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "type": of,
        "reason": reason,
        "message": message,
        "source": {"component": "podbox", "host": node},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "reportingComponent": "podbox",
        "reportingInstance": node,
    })
}

/// Says in a pod's status that its node made it go.
pub(super) fn disrupted(pod: &mut Value, message: &str, now: &str) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message,
        "lastTransitionTime": now,
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(all) => {
            all.retain(|one| one["type"] != "DisruptionTarget");
            all.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}
