//! The taints that the state of a node means: pods keep away from it, or leave it. Pure.
//!
//! Others' taints stay as they are.

use super::Desired;
use crate::api::admission::{NOT_READY, UNREACHABLE};
use crate::api::object;
use crate::api::objects::Seen;
use crate::api::pressure::Condition;
use crate::control::action::{Edit, Write};
use crate::control::condition;
use crate::control::meta::written;
use crate::control::nodes::{NO_EXECUTE, Ready};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A node that is to get no more pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// One whose network is not set up.
const NETWORK: (&str, &str) = ("NetworkUnavailable", "node.kubernetes.io/network-unavailable");
/// The effect by which pods keep away.
const NO_SCHEDULE: &str = "NoSchedule";

/// The conditions that are a taint while they hold.
fn troubles() -> impl Iterator<Item = (&'static str, &'static str)> {
    Condition::ALL.into_iter().map(|condition| (condition.word(), condition.taint())).chain([NETWORK])
}

/// The taint that says whether a node is ready.
fn unready(ready: Ready) -> Option<&'static str> {
    match ready {
        Ready::True => None,
        Ready::False | Ready::Untold => Some(NOT_READY),
        Ready::Unknown => Some(UNREACHABLE),
    }
}

/// Whether a taint is of those that are set here.
fn is_own(taint: &Value) -> bool {
    let state = [NOT_READY, UNREACHABLE].iter().any(|key| taint["key"] == *key);
    let other = taint["key"] == UNSCHEDULABLE || troubles().any(|(_, key)| taint["key"] == key);
    taint["effect"] == NO_SCHEDULE && (state || other) || taint["effect"] == NO_EXECUTE && state
}

/// Whether a node makes its pods leave since it is not ready.
pub fn repels(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.into_iter().any(|taint| taint["effect"] == NO_EXECUTE && is_own(taint))
}

/// The taints that are set here, by state.
fn wanted(node: &Value, ready: Ready, leave: bool) -> Vec<(&'static str, &'static str)> {
    let state = unready(ready);
    let conditions = condition::of(node);
    let holds = |of: &str| condition::get(&conditions, of).is_some_and(|one| one["status"] == "True");
    let mut all: Vec<_> = state.map(|key| (key, NO_SCHEDULE)).into_iter().collect();
    all.extend(state.filter(|_| leave).map(|key| (key, NO_EXECUTE)));
    all.extend(troubles().filter(|(of, _)| holds(of)).map(|(_, key)| (key, NO_SCHEDULE)));
    all.extend((node["spec"]["unschedulable"] == true).then_some((UNSCHEDULABLE, NO_SCHEDULE)));
    all
}

/// The write by which a node has the taints that its state means, if it does not have them.
pub fn write(desired: &Desired<'_>, ready: Ready, leave: bool, now: Timestamp) -> Option<Write> {
    let before: Vec<Value> = desired.object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let wanted = wanted(desired.object, ready, leave);
    let is = |taint: &Value, key: &str, effect: &str| taint["key"] == key && taint["effect"] == effect;
    let mut after = before.clone();
    after.retain(|taint| !is_own(taint) || wanted.iter().any(|(key, effect)| is(taint, key, effect)));
    for (key, effect) in wanted {
        if !after.iter().any(|taint| is(taint, key, effect)) {
            after.push(json!({"key": key, "effect": effect, "timeAdded": written(now)}));
        }
    }
    let taints = if after.is_empty() { Value::Null } else { json!(after) };
    (after != before).then(|| Write::Edit {
        at: desired.at.clone(),
        part: "",
        seen: Seen { uid: object::uid(desired.object).to_owned(), revision: Some(desired.revision) },
        edit: Edit::Merge(json!({"spec": {"taints": taints}})),
    })
}
