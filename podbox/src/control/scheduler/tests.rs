//! What the scheduler decides, through what it is told: tables of what fits where, which node is best, who is woken by what, and
//! that what it holds is always what there is.

mod fits;
mod many;
mod near;
mod preempts;
mod scores;
mod volumes;
mod wakes;

use super::{Decision, Scheduler};
use crate::control::key::Key;
use serde_json::{Value, json};
use std::time::Duration;

/// A scheduler, and a clock.
#[derive(Default)]
struct World {
    scheduler: Scheduler,
    now: Duration,
}

/// An object from its fields, `{a: b}`.
fn read(fields: &str) -> Value {
    serde_yaml::from_str(fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

fn bytes(object: &Value) -> Vec<u8> {
    serde_json::to_vec(object).unwrap()
}

/// A node with labels and these fields of its spec: two processors, a GiB, ten pods.
fn node(name: &str, labels: &str, spec: &str) -> Value {
    let mut node = read(&format!(
        "{{metadata: {{name: {name}, labels: {{{labels}}}}}, spec: {{{spec}}}, status: {{allocatable: \
         {{cpu: '2', memory: 1Gi, ephemeral-storage: 1Gi, pods: '10', example.com/dongle: '1'}}}}}}"
    ));
    node["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
    node
}

/// A pod with labels and these fields of its spec.
fn pod(name: &str, labels: &str, spec: &str) -> Value {
    let spec = if spec.contains("containers:") { spec.to_owned() } else { format!("containers: [], {spec}") };
    let mut pod = read(&format!("{{metadata: {{labels: {{{labels}}}}}, spec: {{{spec}}}}}"));
    let metadata =
        json!({"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1});
    pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    pod
}

/// The fields of a spec that asks for so much.
fn asks(requests: &str) -> String {
    format!("containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]")
}

fn key(object: &Value) -> Key {
    let word = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Key::new(&word("namespace"), &word("name"))
}

impl World {
    fn node(&mut self, node: &Value) {
        self.scheduler.note_node(&key(node), &bytes(node));
    }

    fn pod(&mut self, pod: &Value) {
        self.scheduler.note_pod(&key(pod), &bytes(pod));
    }

    /// A pod that is on a node already.
    fn there(&mut self, pod: &Value, node: &str) {
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = node.into();
        self.pod(&pod);
    }

    fn gone(&mut self, name: &str) {
        self.scheduler.forget_pod(&Key::new("default", name));
    }

    /// What is decided next, in words: `p on n`, `p instead of [q] on n`, or why not.
    fn next(&mut self) -> Option<String> {
        match self.scheduler.next(self.now, 1000)? {
            Decision::Bind(pod, node) => Some(format!("{} on {node}", pod.key.name())),
            Decision::Tell(_, told) => Some(told.message),
            Decision::Again(_, message) => Some(format!("again: {message}")),
            Decision::Preempt(pod, told, victims) => {
                let victims: Vec<&str> = victims.iter().map(|victim| victim.key.name()).collect();
                let node = told.nominated.expect("it is to be somewhere");
                Some(format!("{} instead of [{}] on {node}", pod.key.name(), victims.join(" ")))
            }
            Decision::Provide(..) => panic!("there are no claims"),
        }
    }

    /// Everything that is decided now.
    fn all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// The part of a message that says what is wrong with the nodes.
fn reasons(message: &str) -> &str {
    let rest = message.split_once("available: ").map_or(message, |(_, rest)| rest);
    rest.split_once(". preemption").map_or(rest, |(reasons, _)| reasons)
}
