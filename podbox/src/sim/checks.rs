//! What holds in any cluster after each step, whatever is asked for in it.

use super::world::World;
use crate::api::object;
use crate::api::quantity::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Processors of a simulated node, in thousandths.
const PROCESSORS: i64 = 32_000;

/// Who selects pods.
const SETS: [&str; 4] =
    ["apps/replicasets", "apps/statefulsets", "apps/daemonsets", "/replicationcontrollers"];

/// The taint by which the administrator closes a node.
pub const CLOSED: &str = "closed";

/// Everything that holds at any time. Says what does not.
pub fn always(world: &World) -> Result<(), String> {
    if world.plane.broken() > 0 {
        return Err("a controller broke: what it said is in the log".to_owned());
    }
    if let Some(double) = world.machines.doubles() {
        return Err(format!("two pods with one identity: {double}"));
    }
    for collection in ["/pods", "apps/replicasets", "batch/jobs"] {
        world.api.list(collection).try_for_each(one_controller)?;
    }
    world.api.list("/nodes").try_for_each(|node| stays_closed(world, node))?;
    fullness(world)
}

/// Whether the administrator has closed a node to pods, by what its object says.
pub fn is_closed(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.into_iter().any(|taint| taint["key"] == CLOSED)
}

/// Those who taint nodes, too, leave alone what the administrator did.
fn stays_closed(world: &World, node: &Value) -> Result<(), String> {
    let name = object::name(node);
    match world.machines.0.get(name).and_then(|machine| machine.closed) {
        Some(closed) if closed != is_closed(node) => {
            Err(format!("somebody has taken back what the administrator did: {name} {}", node["spec"]))
        }
        _ => Ok(()),
    }
}

fn one_controller(object: &Value) -> Result<(), String> {
    match owners(object).filter(|owner| owner["controller"] == true).count() {
        0 | 1 => Ok(()),
        _ => Err(format!(
            "two controllers have {}: {}",
            object::name(object),
            object["metadata"]["ownerReferences"]
        )),
    }
}

/// The uid of an object's controller.
pub fn controller(object: &Value) -> Option<&str> {
    owners(object).find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// No node holds more than it has.
fn fullness(world: &World) -> Result<(), String> {
    let mut taken = BTreeMap::<&str, i64>::new();
    for pod in world.api.list("/pods").filter(|pod| !has_ended(pod)) {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *taken.entry(node).or_default() += requested(pod);
        }
    }
    match taken.into_iter().find(|(_, taken)| *taken > PROCESSORS) {
        Some((node, taken)) => {
            Err(format!("{node} was given pods that ask for {taken} thousandths of a processor"))
        }
        None => Ok(()),
    }
}

fn requested(pod: &Value) -> i64 {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let cpu =
        containers.filter_map(|one| Quantity::parse(one["resources"]["requests"]["cpu"].as_str()?).ok());
    cpu.map(|cpu| cpu.milli_value()).sum()
}

/// Whether nothing of a pod runs any more.
pub fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether a pod is at work, ready, and to stay.
pub fn is_ready(pod: &Value) -> bool {
    object::holds(pod, "Ready") && !object::deleting(pod) && !has_ended(pod)
}

/// Everything that holds once nothing goes wrong and nothing is left to do.
pub fn at_rest(world: &World) -> Result<(), String> {
    always(world)?;
    let mut uids = BTreeSet::new();
    let collections: Vec<&str> = world.api.catalog().collections().map(|(_, name)| name).collect();
    for collection in &collections {
        uids.extend(world.api.list(collection).map(object::uid));
    }
    for object in collections.iter().flat_map(|collection| world.api.list(collection)) {
        let name = object::name(object);
        if object::deleting(object) {
            return Err(format!("{name} is to go, and does not: {}", object["metadata"]));
        }
        let gone = |owner: &Value| !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid));
        if owners(object).next().is_some() && owners(object).all(gone) {
            return Err(format!("an orphan: {name}, whose owners are gone: {}", object["metadata"]));
        }
    }
    SETS.iter().flat_map(|sets| world.api.list(sets)).try_for_each(|set| selected(world, set))
}

/// A set controls no pod at work that it does not select.
fn selected(world: &World, set: &Value) -> Result<(), String> {
    let labels = set["spec"]["selector"].get("matchLabels").unwrap_or(&set["spec"]["selector"]);
    let labels = labels.as_object().into_iter().flatten();
    let labels: Vec<(&str, Option<&str>)> =
        labels.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mine = |pod: &&Value| controller(pod) == Some(object::uid(set));
    for pod in world.api.list("/pods").filter(mine).filter(|pod| !has_ended(pod)) {
        if !labels.iter().all(|(name, value)| object::label(pod, name) == *value) {
            return Err(format!("{} has {}, and does not select it", object::name(set), object::name(pod)));
        }
    }
    Ok(())
}
