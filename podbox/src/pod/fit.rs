//! Whether a pod fits a node: in the scheduler's words where it looks for one, in the kubelet's where somebody has bound it.
//! Pure.
//!
//! Deliberately not here: affinity between pods, spread over domains and preemption, for which there are no other nodes; and
//! what only running it shows. Invariant: what [`fits`], [`admits`] takes too.

mod room;
mod wish;

pub use room::Taken;

use super::admit::{self, Rejection};
use crate::api::support::{self, Tokens};
use k8s_openapi::api::core::v1::{Node, Pod};
use room::Short;
use std::fmt;

const UNSCHEDULABLE: &str = "node(s) were unschedulable";
const NOT_WISHED: &str = "node(s) didn't match Pod's node affinity/selector";
const NO_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

/// Why a pod fits no node. Displays as people know it from `kubectl describe pod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    reasons: Vec<String>,
    /// With fewer pods beside it, it would fit.
    crowded: bool,
}

impl Unfit {
    fn never(reason: impl Into<String>) -> Unfit {
        Unfit { reasons: vec![reason.into()], crowded: false }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<String> = self.reasons.iter().map(|reason| format!("1 {reason}")).collect();
        reasons.sort();
        let preemption = match self.crowded {
            true => "No preemption victims found for incoming pod",
            false => "Preemption is not helpful for scheduling",
        };
        let reasons = reasons.join(", ");
        write!(f, "0/1 nodes are available: {reasons}. preemption: 0/1 nodes are available: 1 {preemption}.")
    }
}

/// Whether a pod fits the node, beside what is taken there. Like the scheduler's, the first kind of reason counts.
pub fn fits(pod: &Pod, node: &Node, taken: &Taken) -> Result<(), Unfit> {
    let unknown = support::unsupported(pod, Tokens::ForApi);
    if !unknown.is_empty() {
        let reason =
            |field: &support::Unsupported| format!("node(s) didn't support {} ({})", field.path, field.why);
        return Err(Unfit { reasons: unknown.iter().map(reason).collect(), crowded: false });
    }
    if wish::is_closed(pod, node) {
        return Err(Unfit::never(UNSCHEDULABLE));
    }
    if let Some(taint) = wish::untolerated(pod, node, &["NoSchedule", "NoExecute"]) {
        let (key, value) = (&taint.key, taint.value.as_deref().unwrap_or_default());
        return Err(Unfit::never(format!("node(s) had untolerated taint {{{key}: {value}}}")));
    }
    if !wish::is_met(pod, node) {
        return Err(Unfit::never(NOT_WISHED));
    }
    if !admit::ports_are_free(pod, taken.ports()) {
        return Err(Unfit { reasons: vec![NO_PORTS.to_owned()], crowded: true });
    }
    match taken.short(pod, node) {
        short if short.is_empty() => Ok(()),
        short => Err(Unfit {
            crowded: short.iter().all(Short::is_for_now),
            reasons: short.iter().map(Short::reason).collect(),
        }),
    }
}

/// Whether the node takes a pod that is bound to it, whoever has done so.
pub fn admits(pod: &Pod, node: &Node, taken: &Taken) -> Result<(), Rejection> {
    let refuse = |predicate: &'static str, why: &str| {
        Err(Rejection { reason: predicate.into(), message: format!("Predicate {predicate} failed: {why}") })
    };
    // What the node knows nothing of is somebody else's to count.
    if let Some(short) = taken.short(pod, node).into_iter().find(|short| !short.is_foreign(node)) {
        return Err(Rejection {
            reason: format!("OutOf{}", short.name()).into(),
            message: short.rejection(),
        });
    }
    if !wish::is_met(pod, node) {
        return refuse("NodeAffinity", NOT_WISHED);
    }
    if !admit::ports_are_free(pod, taken.ports()) {
        return refuse("NodePorts", NO_PORTS);
    }
    match wish::untolerated(pod, node, &["NoExecute"]) {
        Some(_) => refuse("TaintToleration", "node(s) had taints that the pod didn't tolerate"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
