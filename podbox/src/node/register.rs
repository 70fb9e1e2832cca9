//! This node as the API knows it: an object with its addresses, capacity and conditions, and a lease that says that
//! it lives.

use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::pod::compose::NodeFacts;
use crate::{clock, limits};
use serde_json::{Value, json};
use std::fs;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    address: String,
    cpu_milli: u64,
    memory_bytes: u64,
    /// Where a Prometheus finds this node's metrics: upstream has the kubelet's port there.
    metrics_port: u16,
    info: Value,
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
    pub fn new(name: String, facts: &NodeFacts, metrics_port: u16) -> Identity {
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
        });
        let address = facts.host_ip.to_string();
        Identity {
            name,
            address,
            cpu_milli: facts.cpu_milli,
            memory_bytes: facts.memory_bytes,
            metrics_port,
            info,
        }
    }

    fn object(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": {
                    "kubernetes.io/hostname": self.name,
                    "kubernetes.io/arch": architecture(),
                    "kubernetes.io/os": "linux",
                },
            },
        })
    }

    fn status(&self) -> Value {
        let now = object::time(clock::wall());
        let condition = |of: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": of, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        let capacity = json!({
            "cpu": format!("{}m", self.cpu_milli),
            "memory": format!("{}Ki", self.memory_bytes / 1024),
            "pods": limits::PODS.to_string(),
        });
        json!({
            "addresses": [
                {"type": "InternalIP", "address": self.address},
                {"type": "Hostname", "address": self.name},
            ],
            "capacity": capacity,
            "allocatable": capacity,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.metrics_port}},
            "nodeInfo": self.info,
            "conditions": [condition("Ready", "True", "KubeletReady", "podbox runs pods on this node")],
        })
    }

    /// Puts the node into the API, or says that it is there again.
    pub async fn register(&self, objects: &impl Objects) -> Result<(), ApiError> {
        objects.ensure(self.object()).await?;
        let status = self.status();
        let set = |node: &mut Value| {
            let before = node["status"]["conditions"].take();
            node["status"] = status.clone();
            keep_transitions(&mut node["status"]["conditions"], &before);
        };
        objects.update_status(&ObjectRef::node(&self.name), set).await.map(drop)
    }

    /// Renews the node's lease, which says that it lives: a small write where the node's status is a large one.
    pub async fn renew(&self, objects: &impl Objects) -> Result<(), ApiError> {
        let time = object::micro_time(clock::wall());
        let spec = json!({
            "holderIdentity": self.name,
            "leaseDurationSeconds": limits::LEASE.as_secs(),
            "renewTime": time,
        });
        let at = ObjectRef::lease(&self.name);
        let renewed = objects.update(&at, |lease: &mut Value| lease["spec"] = spec.clone()).await;
        match renewed {
            Err(error) if error.code == 404 => {
                let metadata = json!({"name": at.name, "namespace": at.namespace});
                let new = json!({
                    "apiVersion": at.api_version, "kind": at.kind, "metadata": metadata, "spec": spec,
                });
                objects.ensure(new).await
            }
            renewed => renewed.map(drop),
        }
    }
}

/// A condition that was so before has been so since then.
fn keep_transitions(conditions: &mut Value, before: &Value) {
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let same = |old: &&Value| old["type"] == condition["type"] && old["status"] == condition["status"];
        if let Some(old) = before.as_array().into_iter().flatten().find(same) {
            condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
    }
}
