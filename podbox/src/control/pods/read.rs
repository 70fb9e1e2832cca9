//! Reading pods as they are stored: of all that they are, what controllers make use of. Pure.

use super::{Address, Batch, Member, Phase};
use crate::control::daemonset::{Affinity, Daemon};
use crate::control::disrupted;
use crate::control::job;
use crate::control::key::Key;
use crate::control::meta::Meta;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::sync::Arc;

impl Member {
    /// A pod as it is stored, and its metadata.
    pub(super) fn read(key: &Key, bytes: &[u8]) -> Option<(Meta, Member)> {
        let Raw { metadata, spec, status } = serde_json::from_slice(bytes).ok()?;
        let cost = metadata.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        let ready =
            status.conditions.iter().find(|condition| condition.is == "Ready" && condition.status == "True");
        let member = Member {
            key: key.clone(),
            uid: metadata.uid.as_str().into(),
            controller: metadata.controller().map(|owner| owner.uid.as_str().into()),
            labels: Arc::default(),
            phase: match status.phase.as_str() {
                "Running" => Phase::Running,
                "Unknown" => Phase::Unknown,
                "Succeeded" | "Failed" => Phase::Ended,
                _ => Phase::Pending,
            },
            deleting: metadata.deleting(),
            ready: ready.map(|ready| ready.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH)),
            created: metadata.creation_timestamp,
            evicted: status.phase == "Failed" && status.reason == "Evicted",
            disrupted: status.conditions.iter().any(Condition::is_disruption),
            deletion_cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
            restarts: (most(&status.container_statuses, |_| true), sidecars(&spec, &status)),
            address: address(&spec, &status),
            batch: batch(&metadata, &spec, &status),
            daemon: daemon(&metadata, &spec, &status),
            node: spec.node_name.filter(|node| !node.is_empty()).map(Into::into),
        };
        Some((metadata, member))
    }
}

/// What a Job reads, of a pod that is or was some Job's.
fn batch(meta: &Meta, spec: &Spec, status: &Status) -> Option<Arc<Batch>> {
    let tracked = meta.held_by(job::TRACKING);
    if !tracked && meta.controller().is_none_or(|owner| owner.kind != "Job") {
        return None;
    }
    let number = |name: &str| meta.annotations.get(name).and_then(|text| text.parse().ok());
    let succeeded = match status.phase.as_str() {
        "Succeeded" => Some(true),
        "Failed" => Some(false),
        _ => None,
    };
    let containers = || status.container_statuses.iter().chain(&status.init_container_statuses);
    Some(Arc::new(Batch {
        tracked,
        succeeded,
        finished: (succeeded.is_some() || meta.deleting()).then(|| finished(meta, spec, status)).flatten(),
        index: number(job::INDEX),
        failures: (number(job::INDEX_FAILURES).unwrap_or(0), number(job::INDEX_IGNORED).unwrap_or(0)),
        restarts: containers().map(|one| one.restart_count).sum(),
    }))
}

/// When a pod that has ended, or is to go, came to its end, as far as its Job can tell.
fn finished(meta: &Meta, spec: &Spec, status: &Status) -> Option<Timestamp> {
    let ready = || status.conditions.iter().find(|condition| condition.is == "Ready");
    let unready = || ready().filter(|ready| ready.status == "False")?.last_transition_time;
    let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(0));
    let told_to_go = || meta.deletion_timestamp?.checked_sub(grace).ok();
    last_end(spec, status).or_else(unready).or_else(told_to_go).or(meta.creation_timestamp)
}

/// When the last container ended, once all have, sidecars included.
fn last_end(spec: &Spec, status: &Status) -> Option<Timestamp> {
    let sidecars = status.init_container_statuses.iter().filter(|one| spec.is_sidecar(&one.name));
    let ends = status.container_statuses.iter().chain(sidecars);
    let ends = ends.map(|one| one.state.terminated.as_ref()?.finished_at);
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// What a DaemonSet reads, of a pod that is one's.
fn daemon(meta: &Meta, spec: &Spec, status: &Status) -> Option<Arc<Daemon>> {
    meta.controller().filter(|owner| owner.kind == "DaemonSet")?;
    let node = spec.affinity.node().filter(|_| spec.node_name.as_deref().is_none_or(str::is_empty));
    Some(Arc::new(Daemon { node: node.map(Into::into), failed: status.phase == "Failed" }))
}

fn most(statuses: &[Container], which: impl Fn(&Container) -> bool) -> i32 {
    statuses.iter().filter(|status| which(status)).map(|status| status.restart_count).max().unwrap_or(0)
}

fn sidecars(spec: &Spec, status: &Status) -> i32 {
    most(&status.init_container_statuses, |status| spec.is_sidecar(&status.name))
}

/// Where a pod is reached, once it is. Ports of sidecars count, after those of containers; those of other init containers do not.
fn address(spec: &Spec, status: &Status) -> Option<Arc<Address>> {
    if status.pod_ip.is_empty() {
        return None;
    }
    let sidecars = spec.init_containers.iter().filter(|one| one.restart_policy == "Always");
    let ports = spec.containers.iter().chain(sidecars).flat_map(|one| &one.ports);
    let named = ports.filter(|port| !port.name.is_empty());
    let host = (!spec.hostname.is_empty()).then(|| (spec.hostname.clone(), spec.subdomain.clone()));
    Some(Arc::new(Address {
        ip: status.pod_ip.clone(),
        host,
        named: named.map(|port| (port.name.clone(), port.protocol.clone(), port.container_port)).collect(),
    }))
}

/// What of a pod is read.
#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    hostname: String,
    subdomain: String,
    affinity: Affinity,
    init_containers: Vec<Init>,
    containers: Vec<Init>,
}

impl Spec {
    /// Whether an init container goes on beside the containers.
    fn is_sidecar(&self, name: &str) -> bool {
        self.init_containers.iter().any(|one| one.name == name && one.restart_policy == "Always")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Init {
    name: String,
    restart_policy: String,
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    protocol: String,
    container_port: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
    init_container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    is: String,
    status: String,
    reason: String,
    last_transition_time: Option<Timestamp>,
}

impl Condition {
    /// Whether it says that the pod goes for others' sake, and may have to be taken back.
    fn is_disruption(&self) -> bool {
        disrupted::may_be_stale(&self.is, &self.status, &self.reason)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    restart_count: i32,
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    finished_at: Option<Timestamp>,
}
