//! The Endpoints object of a Service: ready and other addresses by the ports at which they answer. Deprecated, and still read by
//! people and older programs. Pods on their way out are not in it.

use super::super::action::{Edit, Write};
use super::{Desired, Group, LEGACY_KEEPER, reference};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::pods::Member;
use crate::limits;
use serde_json::{Value, json};
use std::net::IpAddr;

/// By which it says that it leaves somebody out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// What is to be written, if anything.
pub fn write(desired: &Desired, groups: &[Group<'_>], there: Option<&(Value, u64)>) -> Option<Write> {
    let (subsets, truncated) = subsets(desired, groups);
    let mark = if truncated { json!("truncated") } else { Value::Null };
    let labels = desired.labels(&[LEGACY_KEEPER]);
    let at = &desired.at;
    let Some((object, revision)) = there else {
        let mut metadata = json!({"name": at.name, "namespace": at.namespace, "labels": labels});
        if truncated {
            metadata["annotations"] = json!({OVER_CAPACITY: mark});
        }
        return Some(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": metadata,
            "subsets": subsets,
        })));
    };
    let known = object["subsets"].as_array().cloned().unwrap_or_default();
    let metadata = &object["metadata"];
    let marked = &metadata["annotations"][OVER_CAPACITY];
    if known == subsets && metadata["labels"] == labels && *marked == mark {
        return None;
    }
    let subsets = if subsets.is_empty() { Value::Null } else { subsets.into() };
    Some(Write::Edit {
        at: target(at),
        part: "",
        seen: Seen { uid: object::uid(object).to_owned(), revision: Some(*revision) },
        edit: Edit::Merge(json!({
            "subsets": subsets,
            "metadata": {"labels": labels, "annotations": {OVER_CAPACITY: mark}},
        })),
    })
}

/// The Endpoints object of a Service.
pub fn target(service: &Target) -> Target {
    Target { kind: "Endpoints".into(), ..service.clone() }
}

/// The subsets, and whether they leave somebody out.
fn subsets(desired: &Desired, groups: &[Group<'_>]) -> (Vec<Value>, bool) {
    let is_ready = |pod: &Member| desired.early() || pod.ready.is_some();
    // Whoever is not ready is left out first.
    let mut stay: Vec<(bool, usize, Option<IpAddr>, &Member)> = Vec::new();
    for (group, (_, pods)) in groups.iter().enumerate() {
        let pods = pods.iter().filter(|pod| !pod.deleting || desired.early());
        stay.extend(pods.map(|pod| (!is_ready(pod), group, ip(pod), *pod)));
    }
    stay.sort_by_key(|(unready, group, ip, _)| (*unready, *group, *ip));
    let truncated = stay.len() > limits::LEGACY_ENDPOINTS;
    stay.truncate(limits::LEGACY_ENDPOINTS);
    let mut subsets = Vec::new();
    for (group, (ports, _)) in groups.iter().enumerate() {
        let mut subset = json!({});
        for (field, unready) in [("addresses", false), ("notReadyAddresses", true)] {
            let pods = stay.iter().filter(|(is, of, ..)| (*is, *of) == (unready, group));
            let found: Vec<Value> = pods.map(|(.., pod)| address(desired, pod)).collect();
            if !found.is_empty() {
                subset[field] = found.into();
            }
        }
        if subset == json!({}) {
            continue;
        }
        if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
            subset["ports"] = ports.as_array().into_iter().flatten().map(port).collect();
        }
        subsets.push(subset);
    }
    (subsets, truncated)
}

/// By number, not by text.
fn ip(pod: &Member) -> Option<IpAddr> {
    pod.address.as_ref()?.ip.parse().ok()
}

fn address(desired: &Desired, pod: &Member) -> Value {
    let ip = pod.address.as_ref().map(|address| address.ip.as_str()).unwrap_or_default();
    let mut address = json!({"ip": ip, "targetRef": reference(pod)});
    if let Some(node) = &pod.node {
        address["nodeName"] = (**node).into();
    }
    if let Some(host) = desired.host(pod) {
        address["hostname"] = host.into();
    }
    address
}

/// A port without a name has none here.
fn port(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"] == ""
        && let Some(fields) = port.as_object_mut()
    {
        fields.remove("name");
    }
    port
}
