//! The kinds of `metrics.k8s.io`: what nodes and pods use, made of the node's newest numbers when it is asked for.
//!
//! They are not stored, and so have no revisions and cannot be watched. Whose numbers are not known yet is not there, as with
//! upstream's metrics-server. Labels are those of the node or pod.

use super::answer::{self, Rendered};
use super::query::ListOptions;
use super::read::{Filter, include};
use super::write::read;
use super::{Api, Call};
use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::quantity::Quantity;
use crate::api::stats::{HostUsage, PodUsage, Rate, Sample, Snapshot};
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use crate::store::Key;
use hyper::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

impl Api {
    /// Answers a get of what something uses.
    pub(super) fn measured(&self, call: &Call) -> Result<Response<Body>, ApiError> {
        let all = self.all_measured(call);
        let mine = |object: &Value| {
            object::name(object) == call.info.name
                && call.namespace().is_none_or(|namespace| object::namespace(object) == namespace)
        };
        let found = all.into_iter().find(mine).ok_or_else(|| {
            // Upstream's server names its types here, and not the resource.
            let of = call.kind.kind.to_lowercase();
            ApiError::not_found(&call.kind.group, &of, call.key().as_str())
        })?;
        answer::object(200, &call.kind, &Rendered::Value(found), call.media, include(call)?, &[])
    }

    /// Answers a list of what all use.
    pub(super) fn list_measured(
        &self,
        call: &Call,
        options: &ListOptions,
    ) -> Result<Response<Body>, ApiError> {
        let filter = Filter::new(call, options)?;
        let mut found = self.all_measured(call);
        found.retain(|object| filter.passes_value(object));
        let found = found.into_iter().map(Rendered::Value).collect();
        answer::list(&call.kind, found, json!({}), call.media, include(call)?)
    }

    /// What the node last measured; none right after its start.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.stats.get()?.latest()
    }

    /// All objects of a measured kind, in the call's namespace if it has one.
    fn all_measured(&self, call: &Call) -> Vec<Value> {
        let Some(latest) = self.snapshot() else { return Vec::new() };
        if !call.kind.namespaced() {
            // There is one node.
            let nodes = self.store.list("/nodes", None, None, 1, None).map(|page| page.entries);
            let nodes = nodes.unwrap_or_default().into_iter().filter_map(|node| read(&node).ok());
            return nodes.filter_map(|node: Value| of_node(&node, &latest.host)).collect();
        }
        let wanted = |pod: &PodRef| call.namespace().is_none_or(|one| one == pod.namespace);
        let pods = latest.pods.iter().filter(|(pod, _)| wanted(pod));
        pods.filter_map(|(pod, usage)| of_pod(&self.pod_of(pod)?, usage)).collect()
    }

    /// A pod, if the API still has the one of this uid.
    pub(super) fn pod_of(&self, pod: &PodRef) -> Option<Value> {
        let stored = self.store.get("/pods", &Key::new(&pod.namespace, &pod.name))?;
        read(&stored).ok().filter(|stored| object::uid(stored) == pod.uid)
    }
}

/// What a node uses.
fn of_node(node: &Value, host: &HostUsage) -> Option<Value> {
    let rate = host.usage.rate?;
    let mut made = measured("NodeMetrics", node, &host.usage.sample, rate.window);
    made["usage"] = amounts(&host.usage.sample, rate);
    Some(made)
}

/// What a pod's containers use, once it is known of each of them.
fn of_pod(pod: &Value, usage: &PodUsage) -> Option<Value> {
    let mut containers = Vec::new();
    let mut oldest: Option<(&Sample, Rate)> = None;
    for (name, container) in &usage.containers {
        let (sample, rate) = (&container.usage.sample, container.usage.rate?);
        containers.push(json!({"name": name, "usage": amounts(sample, rate)}));
        oldest = oldest.filter(|(oldest, _)| oldest.at <= sample.at).or(Some((sample, rate)));
    }
    let (sample, rate) = oldest?;
    let mut made = measured("PodMetrics", pod, sample, rate.window);
    made["containers"] = containers.into();
    Some(made)
}

fn measured(kind: &str, of: &Value, sample: &Sample, window: Duration) -> Value {
    let mut metadata = json!({"name": object::name(of), "creationTimestamp": object::time(clock::wall())});
    for field in ["namespace", "labels"] {
        if let Some(value) = of["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    json!({
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": metadata,
        "timestamp": object::time(sample.at),
        "window": object::duration(window),
    })
}

fn amounts(sample: &Sample, rate: Rate) -> Value {
    let cpu = Quantity::nanos(rate.nano_cores);
    json!({"cpu": cpu.to_string(), "memory": Quantity::bytes(sample.memory.working_set).to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stats::{ContainerUsage, Memory, Usage};
    use std::time::SystemTime;

    fn container(seconds: u64, nano_cores: Option<u64>) -> ContainerUsage {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let memory = Memory { working_set: 3 << 20, usage: 9 << 20, ..Memory::default() };
        let sample = Sample { at, cpu_nanos: 0, memory, processes: 1 };
        let rate = nano_cores.map(|nano_cores| Rate { window: Duration::from_millis(10_500), nano_cores });
        ContainerUsage { started: SystemTime::UNIX_EPOCH, usage: Usage { sample, rate } }
    }

    fn pod(containers: [ContainerUsage; 2]) -> Option<Value> {
        let usage = containers[0].usage;
        let containers = ["a", "b"].map(str::to_owned).into_iter().zip(containers).collect();
        let stored = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}, "uid": "u"}});
        of_pod(&stored, &PodUsage { usage, traffic: None, containers })
    }

    #[test]
    fn a_pod_tells_what_each_of_its_containers_uses() {
        let made = pod([container(20, Some(1_500_000)), container(10, Some(123_456_789))]).unwrap();
        assert_eq!(made["metadata"]["labels"]["app"], "x");
        assert_eq!((&made["timestamp"], &made["window"]), (&json!("1970-01-01T00:00:10Z"), &json!("10.5s")));
        let expected = json!([
            {"name": "a", "usage": {"cpu": "1500u", "memory": "3Mi"}},
            {"name": "b", "usage": {"cpu": "123456789n", "memory": "3Mi"}},
        ]);
        assert_eq!(made["containers"], expected);
    }

    #[test]
    fn a_pod_of_whose_containers_one_is_new_is_not_there_yet() {
        assert_eq!(pod([container(20, Some(0)), container(20, None)]), None);
    }
}
