//! What is said of a node that is short of something.

use crate::api::eviction::DISRUPTED;
use crate::api::object;
use crate::api::stats::Filesystem;
use crate::node::recorder::COMPONENT;
use crate::{chance, clock};
use serde_json::{Value, json};

/// An Event about the node.
pub fn event(node: &str, of: &str, reason: &str, message: &str) -> Value {
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
        "source": {"component": COMPONENT, "host": node},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    })
}

/// Why images go, and too few of them, in the kubelet's words.
pub(super) fn too_full(disk: &Filesystem, freed: u64) -> String {
    let used = u128::from(disk.capacity_bytes.saturating_sub(disk.available_bytes));
    let percent = 100 * used / u128::from(disk.capacity_bytes.max(1));
    let size = size(disk.capacity_bytes);
    format!(
        "Insufficient free disk space on the node's image filesystem ({percent}% of {size} used). Failed to free sufficient \
         space by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by active images, \
         logs, volumes, or other data."
    )
}

/// Bytes for people: `40.6 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut amount, mut unit) = (bytes as f64 / 1024.0, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// Says in a pod's status that its node made it go.
pub(super) fn disrupted(pod: &mut Value, message: &str, now: &str) {
    let condition = json!({
        "type": DISRUPTED, "status": "True", "reason": "TerminationByKubelet", "message": message,
        "lastTransitionTime": now, "observedGeneration": object::generation(pod),
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(all) => {
            all.retain(|one| one["type"] != DISRUPTED);
            all.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stays_too_full_is_told_in_the_kubelets_words() {
        let (capacity_bytes, available_bytes) = (100 << 30, 10 << 30);
        let free_bytes = available_bytes;
        let disk = Filesystem { capacity_bytes, available_bytes, free_bytes, inodes: 0, inodes_free: 0 };
        let expected = "Insufficient free disk space on the node's image filesystem (90% of 100.0 GiB used). Failed to \
                        free sufficient space by deleting unused images (freed 7 bytes). Investigate disk usage, as it \
                        could be used by active images, logs, volumes, or other data.";
        assert_eq!(too_full(&disk, 7), expected);
        assert_eq!([0, 512 << 10, 3 << 29].map(size), ["0.0 KiB", "512.0 KiB", "1.5 GiB"]);
    }
}
