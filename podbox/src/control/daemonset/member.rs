//! The pods of a DaemonSet: what they are made with so that they come to their nodes and stay there, and how that is read
//! again. Pure.

use super::DaemonSet;
use crate::control::action::Action;
use crate::control::revision::LABEL;
use crate::control::workload;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The field of nodes by which a pod asks for one.
const NODE: &str = "metadata.name";
/// How often the set's template has changed: an annotation there, a label here. Nobody reads it any more.
const GENERATION: (&str, &str) = ("deprecated.daemonset.template.generation", "pod-template-generation");

/// Taints that such a pod bears: it is there for the node, however that is. The last is for those in the node's own network.
const BORNE: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// What a DaemonSet reads of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    /// Which node it is for, as long as it has none.
    pub node: Option<Arc<str>>,
    /// Whether it has failed.
    pub failed: bool,
}

/// A pod's affinity, as far as it names a node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    node_affinity: NodeAffinity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Required,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Required {
    node_selector_terms: Vec<Term>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_fields: Vec<Field>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Field {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Affinity {
    /// The one node that it names.
    pub fn node(&self) -> Option<&str> {
        let fields =
            self.node_affinity.required.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let mut names = fields.filter(|field| field.key == NODE && field.operator == "In");
        match names.next()?.values.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// The template's pod, with what it bears.
pub fn bearing(set: &DaemonSet) -> Value {
    let mut pod = set.workload.pod();
    let spec = &mut pod["spec"];
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let in_nodes_network = spec["hostNetwork"] == true;
    for (key, effect) in &BORNE[..if in_nodes_network { 7 } else { 6 }] {
        let borne = json!({"key": key, "operator": "Exists", "effect": effect});
        let same =
            |other: &Value| ["key", "operator", "effect"].iter().all(|field| other[*field] == borne[*field]);
        // For however long: one that bears it for some time only bears it for good.
        tolerations.retain(|other| !same(other));
        tolerations.push(borne);
    }
    spec["tolerations"] = tolerations.into();
    pod
}

/// A pod of the newest revision for a node is made.
pub fn create(set: &DaemonSet, node: &str, hash: &str) -> Action {
    let mut pod = bearing(set);
    pod["metadata"]["generateName"] = format!("{}-", set.workload.at.name).into();
    pod["metadata"]["labels"][LABEL] = hash.into();
    if let Some(generation) = set.workload.object["metadata"]["annotations"].get(GENERATION.0) {
        pod["metadata"]["labels"][GENERATION.1] = generation.clone();
    }
    let term = json!({"matchFields": [{"key": NODE, "operator": "In", "values": [node]}]});
    let required =
        &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    // The node is one that the template's terms allow.
    required["nodeSelectorTerms"] = json!([term]);
    workload::create(pod)
}
