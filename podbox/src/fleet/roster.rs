//! Simulated nodes as the API knows them: their names, addresses, zones, and what each says of itself. Pure.
//!
//! What people set on such a node stays: labels, taints, capacity. Its own are its conditions, and what it is.

use crate::api::object;
use crate::api::simulate::{ANNOTATION, Mood};
use crate::limits;
use crate::pod::pretend;
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

/// Where all addresses of simulated nodes and of their pods are: a range that nobody routes (RFC 6598).
pub const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
/// How long the prefix of one node's part of it is.
const PREFIX: u8 = 23;
/// How many parts there are.
const RANGES: u32 = 1 << (PREFIX - 10);
/// What the names of nodes begin with that nobody made by hand.
const NAME: &str = "sim-";
/// The zones over which they are spread.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// The conditions that a node tells of.
const TOLD: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The part of the range that a node of this number has.
pub fn range(number: u32) -> Ipv4Net {
    let first = u32::from(RANGE.network()) + ((number % RANGES) << (32 - PREFIX));
    Ipv4Net::new_assert(first.into(), PREFIX)
}

/// Parts for nodes that have no number: the last ones first.
pub fn ranges() -> impl Iterator<Item = Ipv4Net> {
    (0..RANGES).rev().map(range)
}

/// A node's own address: the first of its range.
pub fn address(range: &Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).saturating_add(1))
}

/// The node of this number, as it is first put into the API.
pub fn node(number: u32, now: &str) -> Value {
    let (name, range) = (format!("{NAME}{number}"), range(number));
    let mut node = pretend::node(&name, &address(&range).to_string(), now);
    let zone = ZONES[number as usize % ZONES.len()];
    for (label, value) in [("zone", zone), ("region", "simulated")] {
        node["metadata"]["labels"][format!("topology.kubernetes.io/{label}")] = value.into();
    }
    give(&mut node, &range);
    node
}

/// The number of a node that was made here; none of one that people made, or that really is one.
pub fn number(node: &Value) -> Option<u32> {
    let name = object::name(node);
    let number: u32 = name.strip_prefix(NAME)?.parse().ok()?;
    (pretend::is_simulated(node) && name == format!("{NAME}{number}")).then_some(number)
}

/// Where a node's pods have their addresses, if that is said.
pub fn range_of(node: &Value) -> Option<Ipv4Net> {
    node["spec"]["podCIDR"].as_str()?.parse().ok()
}

/// Gives a node a range if it has none, and the labels that every node has.
pub fn give(node: &mut Value, range: &Ipv4Net) {
    let fresh = pretend::node(object::name(node), "", "");
    for (label, value) in fresh["metadata"]["labels"].as_object().into_iter().flatten() {
        if object::label(node, label).is_none() {
            node["metadata"]["labels"][label.as_str()] = value.clone();
        }
    }
    if range_of(node).is_none() {
        let range = range.to_string();
        node["spec"]["podCIDRs"] = json!([range]);
        node["spec"]["podCIDR"] = range.into();
    }
}

/// What a node says of itself now.
pub fn status(node: &Value, range: &Ipv4Net, now: SystemTime) -> Value {
    let time = object::time(now);
    let fresh = pretend::node(object::name(node), &address(range).to_string(), &time);
    let fresh = &fresh["status"];
    let mut status = node["status"].as_object().cloned().unwrap_or_default();
    status.insert("nodeInfo".to_owned(), fresh["nodeInfo"].clone());
    let own = fresh["conditions"].as_array().into_iter().flatten();
    let own: Vec<Value> = own.map(|one| in_mood(one.clone(), Mood::of(node))).collect();
    status.insert("conditions".to_owned(), conditions(&node["status"]["conditions"], own).into());
    fill(&mut status, "addresses", &fresh["addresses"]);
    fill(&mut status, "capacity", &fresh["capacity"]);
    // What people name of it counts; it has of everything.
    let mut capacity = fresh["capacity"].as_object().cloned().unwrap_or_default();
    capacity.extend(status["capacity"].as_object().cloned().unwrap_or_default());
    let capacity = Value::Object(capacity);
    status.insert("capacity".to_owned(), capacity.clone());
    fill(&mut status, "allocatable", &capacity);
    Value::Object(status)
}

/// For how long a node has nothing to say: no time, if something is different or was said long ago.
pub fn silence(node: &Value, range: &Ipv4Net, now: SystemTime) -> Duration {
    let (wanted, before) = (status(node, range, now), &node["status"]);
    let unset = ["addresses", "capacity", "allocatable"].iter().any(|field| is_empty(&before[field]));
    let updated = wanted["nodeInfo"]["kubeletVersion"] != before["nodeInfo"]["kubeletVersion"];
    if unset || updated || range_of(node).is_none() {
        return Duration::ZERO;
    }
    let left = |one: &Value| {
        let same =
            |other: &&Value| ["type", "status", "reason", "message"].iter().all(|of| one[of] == other[of]);
        let told = before["conditions"].as_array().into_iter().flatten().find(same);
        let heard = told.and_then(|told| object::read_time(told["lastHeartbeatTime"].as_str()?));
        let age = heard.and_then(|at| now.duration_since(at).ok());
        age.map_or(Duration::ZERO, |age| limits::HEARTBEAT.saturating_sub(age))
    };
    let own = wanted["conditions"].as_array().into_iter().flatten();
    let own = own.filter(|one| TOLD.iter().any(|of| one["type"] == *of));
    own.map(left).min().unwrap_or_default()
}

fn fill(status: &mut Map<String, Value>, field: &str, with: &Value) {
    let there = status.entry(field.to_owned()).or_insert(Value::Null);
    if is_empty(there) {
        *there = with.clone();
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    }
}

/// A condition as a node in such a mood has it.
fn in_mood(mut condition: Value, mood: Mood) -> Value {
    if mood == Mood::NotReady && condition["type"] == "Ready" {
        condition["status"] = "False".into();
        condition["reason"] = "KubeletNotReady".into();
        condition["message"] = format!("the annotation {ANNOTATION} says so").into();
    }
    condition
}

/// A node's own conditions, after those of others. What was so before has been so since then.
fn conditions(before: &Value, own: Vec<Value>) -> Vec<Value> {
    let before: Vec<&Value> = before.as_array().into_iter().flatten().collect();
    let others = before.iter().filter(|one| !own.iter().any(|other| other["type"] == one["type"]));
    let mut all: Vec<Value> = others.map(|one| (*one).clone()).collect();
    all.extend(own.into_iter().map(|mut one| {
        let same = before.iter().find(|old| old["type"] == one["type"] && old["status"] == one["status"]);
        if let Some(same) = same {
            one["lastTransitionTime"] = same["lastTransitionTime"].clone();
        }
        one
    }));
    all
}
