//! Nodes: whether they answer, and what keeps pods away from them. Pure.
//!
//! ```text
//!   a lease that nobody renews ─▶ conditions Unknown ─▶ taints NoSchedule ─▶ the scheduler keeps pods away
//!                                        │          └─▶ taints NoExecute, zone by zone, one node at a time ─▶ `taint_eviction`
//!                                        └─▶ its pods are not ready ─▶ Services leave them out
//! ```
//!
//! One step at a time: what a write changes wakes the next. It takes no pod away itself.
//!
//! **Invariant: no pod goes for its node's silence while every node is silent, or most of a small zone.** Then it is more likely
//! that it is oneself who hears nothing, as after a night in which all slept.

mod beats;
pub mod registry;
mod taints;
mod turns;

pub use beats::{Beats, Said, after};
pub use registry::Registry;
pub use turns::Turns;

use super::action::{Action, Actions, Saying, Subject, Write};
use super::meta::written;
use super::nodes::{Rate, Ready};
use super::pods::Member;
use super::{condition, status};
use crate::api::object;
use crate::api::objects::Target;
use crate::limits;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// What nobody can tell of a node that does not answer.
const TOLD_BY_NODES: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// A node.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: &'a Value,
    /// Its revision.
    pub revision: u64,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// When the node was heard of last.
    pub heard: Timestamp,
    /// How fast nodes of its zone lose their pods.
    pub rate: Rate,
    /// Until when this one has to wait for that: `None` if it is its turn.
    pub wait: Option<Timestamp>,
    /// The uid of the node of this name that was told of.
    pub known: Option<&'a str>,
    /// For how many seconds nodes may use what they have read.
    pub ttl: u32,
}

/// For how long a node may say nothing: longer, if it has never said anything.
pub fn grace(ready: Ready) -> Duration {
    if ready == Ready::Untold { limits::NODE_STARTUP } else { limits::NODE_SILENT }
}

/// What a node says of itself.
pub fn ready(node: &Value) -> Ready {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    ready.and_then(|condition| condition["status"].as_str()).map_or(Ready::Untold, Ready::from)
}

/// Whether a node has no taint yet by which its pods leave, and should have one.
pub fn is_lost(node: &Value, heard: Timestamp, now: Timestamp) -> bool {
    let ready = ready(node);
    let silent = ready == Ready::Unknown && now >= after(heard, grace(ready));
    (ready == Ready::False || silent) && !taints::repels(node)
}

/// What is to be done for a node. That it is to go, and is held, changes nothing of what it is.
pub fn reconcile(desired: &Desired<'_>, observed: &Observed<'_>, now: Timestamp) -> Actions {
    let uid = object::uid(desired.object);
    let mut actions = step(desired, observed, now);
    if observed.known != Some(uid) {
        actions.said.insert(0, registry::registered(&desired.at.name));
    }
    actions.about = Some(Subject { at: desired.at.clone(), uid: uid.to_owned() });
    actions
}

fn step(desired: &Desired<'_>, observed: &Observed<'_>, now: Timestamp) -> Actions {
    let before = ready(desired.object);
    let silent_from = after(observed.heard, grace(before));
    if now >= silent_from
        && let Some(write) = silenced(desired, now)
    {
        let message = format!("Node {} status is now: NodeNotReady", desired.at.name);
        let said = (before == Ready::True).then(|| Saying::normal("NodeNotReady", message));
        return Actions { said: said.into_iter().collect(), ..Actions::of([write]) };
    }
    let lost = is_lost(desired.object, observed.heard, now);
    let (leave, wait) = match observed.rate {
        Rate::Off => (false, None),
        _ if taints::repels(desired.object) => (true, None),
        Rate::Paused => (false, None),
        Rate::Each(_) => (lost && observed.wait.is_none(), observed.wait.filter(|_| lost)),
    };
    let write = taints::write(desired, before, leave, now);
    let mut actions = Actions::of(write.or_else(|| registry::write(desired, observed.ttl)));
    actions.wake_at = [(now < silent_from).then_some(silent_from), wait].into_iter().flatten().min();
    actions
}

/// Says that nothing is known of a node any more, if its status says otherwise.
fn silenced(desired: &Desired<'_>, now: Timestamp) -> Option<Write> {
    let mut all = condition::of(desired.object);
    for of in TOLD_BY_NODES {
        let before = condition::get(&all, of).cloned();
        if before.as_ref().is_some_and(|before| before["status"] == "Unknown") {
            continue;
        }
        let (reason, message) = match before {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heard = match &before {
            Some(before) => before["lastHeartbeatTime"].clone(),
            None => desired.object["metadata"]["creationTimestamp"].clone(),
        };
        condition::remove(&mut all, of);
        all.push(json!({
            "type": of,
            "status": "Unknown",
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": heard,
            "lastTransitionTime": written(now),
        }));
    }
    let fields = json!({"status": {"conditions": all}});
    status::write(&desired.at, desired.object, desired.revision, fields)
}

/// A pod of a node that does not answer is not ready, whatever it said last. If the node lives after all, it says otherwise.
pub fn unready(pod: &Member, object: &Value, revision: u64, now: Timestamp) -> Actions {
    let mut all = condition::of(object);
    let Some(ready) = all.iter_mut().find(|one| one["type"] == "Ready" && one["status"] == "True") else {
        return Actions::none();
    };
    ready["status"] = "False".into();
    ready["lastTransitionTime"] = written(now).into();
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        ready["observedGeneration"] = generation.into();
    }
    let write = status::write(&pod.target(), object, revision, json!({"status": {"conditions": all}}));
    let told = |write| Action {
        write,
        done: Some(Saying::warning("NodeNotReady", "Node is not ready")),
        failed: None,
    };
    let about = Subject { at: pod.target(), uid: pod.uid.to_string() };
    Actions { about: Some(about), ..Actions::of(write.map(told)) }
}

#[cfg(test)]
mod tests;
