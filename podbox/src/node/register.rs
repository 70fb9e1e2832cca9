//! This node as the API knows it: an object with its addresses, capacity and conditions, and a lease that says that
//! it lives.
//!
//! Labels, taints and whatever else people set on the node stays: podbox writes its own labels and its own part of the status. What its
//! conditions mean for pods, `control::node_lifecycle` says in taints.

pub(super) mod capacity;

use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::pressure::Condition;
use crate::api::status::ApiError;
use crate::config::Config;
use crate::pod::compose::{HANDLERS, NodeFacts};
use crate::{clock, limits};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

/// The condition of a node that does not keep containers to their limits: podbox's own.
const UNENFORCED: &str = "LimitsNotEnforced";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    address: String,
    pod_range: String,
    /// Where a Prometheus finds this node's metrics: upstream has the kubelet's port there.
    metrics_port: u16,
    capacity: Value,
    allocatable: Value,
    info: Value,
}

/// What does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// What the node is short of.
    pub short: BTreeSet<Condition>,
    /// Why it cannot run pods; empty if it can.
    pub unready: String,
    /// The cgroup controllers that this host lacks, by what the limits of containers are written to.
    pub lacking: BTreeSet<&'static str>,
    /// Its images: names, and bytes.
    pub images: Vec<(Vec<String>, u64)>,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Go's word for this processor, as node labels have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Identity {
    /// From what is known of the host.
    pub fn new(name: String, facts: &NodeFacts, config: &Config) -> Identity {
        let os = read("/etc/os-release");
        let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let version = env!("CARGO_PKG_VERSION");
        let info = json!({
            "machineID": read("/etc/machine-id"),
            "systemUUID": read("/sys/class/dmi/id/product_uuid"),
            "bootID": read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": read("/proc/sys/kernel/osrelease"),
            "osImage": pretty.unwrap_or("Linux").trim_matches('"'),
            "containerRuntimeVersion": format!("podbox://{version}"),
            "kubeletVersion": format!("v1.36.0+podbox-{version}"),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
            "swap": {"capacity": capacity::swap_bytes()},
        });
        let (capacity, allocatable) = capacity::of_host(facts, config);
        Identity {
            name,
            address: facts.host_ip.to_string(),
            pod_range: config.pod_cidr.to_string(),
            metrics_port: config.metrics_addr.port(),
            capacity,
            allocatable,
            info,
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> [(&'static str, &str); 5] {
        [
            ("beta.kubernetes.io/arch", architecture()),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture()),
            ("kubernetes.io/hostname", &self.name),
            ("kubernetes.io/os", "linux"),
        ]
    }

    fn object(&self) -> Value {
        let labels: Map<String, Value> =
            self.labels().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": labels,
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "spec": {"podCIDR": self.pod_range, "podCIDRs": [self.pod_range]},
        })
    }

    /// Puts the node into the API, or its own labels right if it is there. Gives it back with the status that it had.
    pub async fn register(&self, objects: &impl Objects) -> Result<Value, ApiError> {
        objects.ensure(self.object()).await?;
        let set = |node: &mut Value| {
            for (key, value) in self.labels() {
                node["metadata"]["labels"][key] = value.into();
            }
        };
        objects.update(&ObjectRef::node(&self.name), set).await
    }

    /// What is to be told of the node whose status was `before`: type, reason and message of Events, in upstream's words.
    pub fn news(&self, before: &Value, health: &Health) -> Vec<(&'static str, &'static str, String)> {
        let (name, boot) = (&self.name, &self.info["bootID"]);
        let mut all = Vec::new();
        if before["nodeInfo"]["bootID"].as_str().is_some_and(|known| !known.is_empty() && boot != known) {
            let id = boot.as_str().unwrap_or_default();
            all.push(("Warning", "Rebooted", format!("Node {name} has been rebooted, boot id: {id}")));
        }
        let conditions = before["conditions"].as_array().into_iter().flatten();
        let known = conditions.into_iter().find(|one| one["type"] == "Ready").map(|one| &one["status"]);
        let (now, reason) =
            if health.unready.is_empty() { ("True", "NodeReady") } else { ("False", "NodeNotReady") };
        if known.is_none_or(|known| known != now) {
            all.push(("Normal", reason, format!("Node {name} status is now: {reason}")));
        }
        all
    }

    /// Says how the node is.
    pub async fn report(&self, objects: &impl Objects, health: &Health) -> Result<(), ApiError> {
        let now = clock::wall();
        let set = |node: &mut Value| {
            let before = node["status"].take();
            node["status"] = self.status(&before, health, now);
        };
        objects.update_status(&ObjectRef::node(&self.name), set).await.map(drop)
    }

    /// The status that follows one.
    fn status(&self, before: &Value, health: &Health, now: SystemTime) -> Value {
        let image = |(names, bytes): &(Vec<String>, u64)| json!({"names": names, "sizeBytes": bytes});
        let images: Vec<Value> = health.images.iter().take(limits::IMAGES_TOLD).map(image).collect();
        let mut status = before.as_object().cloned().unwrap_or_default();
        let own = json!({
            "addresses": [
                {"type": "InternalIP", "address": self.address},
                {"type": "Hostname", "address": self.name},
            ],
            "capacity": with_extended(&self.capacity, &before["capacity"]),
            "allocatable": with_extended(&self.allocatable, &before["capacity"]),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.metrics_port}},
            "nodeInfo": self.info,
            "conditions": conditions(&before["conditions"], health, now),
            "images": images,
            "features": {"supplementalGroupsPolicy": true},
            "runtimeHandlers": HANDLERS.map(handler),
        });
        status.extend(own.as_object().cloned().unwrap_or_default());
        Value::Object(status)
    }
}

/// Renews the lease of the node of this name and uid, which says that it lives: a small write where the node's status is a large one.
pub async fn renew(objects: &impl Objects, node: &str, uid: &str) -> Result<(), ApiError> {
    let time = object::micro_time(clock::wall());
    let spec = json!({
        "holderIdentity": node,
        "leaseDurationSeconds": limits::LEASE.as_secs(),
        "renewTime": time,
    });
    let at = ObjectRef::lease(node);
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}]);
    let renew = |lease: &mut Value| {
        lease["spec"] = spec.clone();
        object::set(lease, "ownerReferences", owner.clone());
    };
    match objects.update(&at, renew).await {
        Err(error) if error.code == 404 => {
            let metadata = json!({"name": at.name, "namespace": at.namespace, "ownerReferences": owner});
            let new = json!({
                "apiVersion": at.api_version, "kind": at.kind, "metadata": metadata, "spec": spec,
            });
            objects.ensure(new).await
        }
        renewed => renewed.map(drop),
    }
}

/// A way to run pods, and what it can do.
fn handler(name: &str) -> Value {
    json!({"name": name, "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}})
}

/// Amounts of the host, and those of resources that somebody else has put there: theirs have a domain.
fn with_extended(own: &Value, there: &Value) -> Value {
    let mut all = own.clone();
    for (name, amount) in there.as_object().into_iter().flatten() {
        if name.contains('/') {
            all[name] = amount.clone();
        }
    }
    all
}

/// The node's own conditions, after those of others. One that was so before has been so since then.
fn conditions(before: &Value, health: &Health, now: SystemTime) -> Vec<Value> {
    let before: Vec<&Value> = before.as_array().into_iter().flatten().collect();
    let now = object::time(now);
    let condition = |of: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let same = before.iter().find(|old| old["type"] == of && old["status"] == status);
        let since = same.map_or_else(|| now.as_str().into(), |old| old["lastTransitionTime"].clone());
        json!({
            "type": of, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since,
        })
    };
    let short = Condition::ALL.map(|one| {
        let holds = health.short.contains(&one);
        let (reason, message) = one.told(holds);
        condition(one.word(), holds, reason, message)
    });
    let ready = match health.unready.as_str() {
        "" => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        why => condition("Ready", false, "KubeletNotReady", why),
    };
    let limits = match health.lacking.iter().copied().collect::<Vec<_>>().join(", ").as_str() {
        "" => condition(UNENFORCED, false, "ControllersPresent", "limits of containers are enforced"),
        lacking => {
            let why = format!(
                "limits of containers are not enforced: this host lacks cgroup v2 controllers: {lacking}"
            );
            condition(UNENFORCED, true, "ControllersMissing", &why)
        }
    };
    let own: Vec<Value> = [limits].into_iter().chain(short).chain([ready]).collect();
    let others = before.iter().filter(|old| !own.iter().any(|one| one["type"] == old["type"]));
    others.copied().cloned().chain(own.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(of: &[Condition]) -> Health {
        Health { short: of.iter().copied().collect(), ..Health::default() }
    }

    #[test]
    fn conditions_say_since_when() {
        let (then, now) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + limits::LEASE);
        let other = json!([{"type": "KernelDeadlock", "status": "False"}]);
        let before = conditions(&other, &short(&[]), then);
        let after = conditions(&json!(before), &short(&[Condition::Memory]), now);
        let since = |of: &str| {
            let found = after.iter().find(|condition| condition["type"] == of).unwrap();
            (found["status"].as_str().unwrap(), found["lastTransitionTime"].as_str().unwrap_or_default())
        };
        assert_eq!(since("MemoryPressure"), ("True", "1970-01-01T00:00:40Z"));
        assert_eq!(since("Ready"), ("True", "1970-01-01T00:00:00Z"));
        assert_eq!(since("KernelDeadlock"), ("False", ""));
        assert_eq!(since("LimitsNotEnforced"), ("False", "1970-01-01T00:00:00Z"));
        assert_eq!(after.len(), 6);
    }

    #[test]
    fn what_others_promise_for_a_node_stays() {
        let there = json!({"cpu": "1", "example.com/dongle": "4"});
        assert_eq!(
            with_extended(&json!({"cpu": "2"}), &there),
            json!({"cpu": "2", "example.com/dongle": "4"})
        );
    }
}
