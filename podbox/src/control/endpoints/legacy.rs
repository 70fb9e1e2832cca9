//! The Endpoints object of a Service: ready and other addresses by the ports at which they answer. Deprecated, and still read by
//! people and older programs. Pods on their way out are not in it.

use super::super::action::{Edit, Write};
use super::{Desired, Group, LEGACY_KEEPER, reference};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::pods::Member;
use crate::limits;
use serde_json::{Value, json};

/// What is to be written, if anything.
pub fn write(desired: &Desired, groups: &[Group<'_>], there: Option<&(Value, u64)>) -> Option<Write> {
    let subsets = subsets(desired, groups);
    let labels = desired.labels(&[LEGACY_KEEPER]);
    let at = &desired.at;
    let Some((object, revision)) = there else {
        return Some(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": at.name, "namespace": at.namespace, "labels": labels},
            "subsets": subsets,
        })));
    };
    let known = object["subsets"].as_array().cloned().unwrap_or_default();
    if known == subsets && object["metadata"]["labels"] == labels {
        return None;
    }
    let subsets = if subsets.is_empty() { Value::Null } else { subsets.into() };
    Some(Write::Edit {
        at: target(at),
        part: "",
        seen: Seen { uid: object::uid(object).to_owned(), revision: Some(*revision) },
        edit: Edit::Merge(json!({"subsets": subsets, "metadata": {"labels": labels}})),
    })
}

/// The Endpoints object of a Service.
pub fn target(service: &Target) -> Target {
    Target { kind: "Endpoints".into(), ..service.clone() }
}

fn subsets(desired: &Desired, groups: &[Group<'_>]) -> Vec<Value> {
    let mut room = limits::LEGACY_ENDPOINTS;
    let mut subsets = Vec::new();
    for (ports, pods) in groups {
        let mut stay: Vec<&Member> =
            pods.iter().copied().filter(|pod| !pod.deleting || desired.early()).collect();
        stay.sort_by_key(|pod| ip(pod));
        stay.truncate(room);
        room -= stay.len();
        let (ready, others): (Vec<&Member>, Vec<&Member>) =
            stay.into_iter().partition(|pod| desired.early() || pod.ready.is_some());
        let mut subset = json!({});
        for (field, pods) in [("addresses", ready), ("notReadyAddresses", others)] {
            if !pods.is_empty() {
                subset[field] = pods.into_iter().map(|pod| address(desired, pod)).collect();
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
    subsets
}

/// By number, not by text.
fn ip(pod: &Member) -> Option<std::net::IpAddr> {
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
