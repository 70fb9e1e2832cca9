//! Whether a node takes a pod that somebody has bound to it, in the kubelet's words. Pure.
//!
//! Deliberately not here: looking for a node (`control::scheduler` does, which asks nobody for their system), and what only
//! running the pod shows.

mod room;

pub use room::Taken;

use super::admit::{self, Rejection};
use crate::api::hostports;
use crate::api::wish::{Tolerance, Wish};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;

/// Whether the node takes a pod that is bound to it, whoever has done so.
pub fn admits(pod: &Pod, node: &Node, taken: &Taken) -> Result<(), Rejection> {
    let refuse = |predicate: &'static str, why: &str| {
        Err(Rejection { reason: predicate.into(), message: format!("Predicate {predicate} failed: {why}") })
    };
    admit::system(pod)?;
    // What the node knows nothing of is somebody else's to count.
    if let Some(short) = taken.short(pod, node).into_iter().find(|short| !short.is_foreign(node)) {
        return Err(Rejection {
            reason: format!("OutOf{}", short.name()).into(),
            message: short.rejection(),
        });
    }
    let none = BTreeMap::new();
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if !Wish::of(pod).is_met(name, node.metadata.labels.as_ref().unwrap_or(&none)) {
        return refuse("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    if !hostports::are_free(&hostports::of_pod(pod), taken.ports()) {
        return refuse("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    match Tolerance::of(pod).unborne(taints, &["NoExecute"]) {
        Some(_) => refuse("TaintToleration", "node(s) had taints that the pod didn't tolerate"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
