//! EndpointSlices: endpoints that answer at the same ports, at most a hundred in each.
//!
//! An endpoint stays in its slice, so that a pod that changes costs its watchers one slice; slices with room are filled before others
//! are made, and those that are empty go. A Service that nobody answers for has one empty slice.

use super::super::action::{Edit, Write};
use super::{Desired, Group, KEEPER, OWN, Observed, SERVICE, Zone, reference};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::pods::Member;
use crate::limits;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A slice as it is stored.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: Value,
    /// Its revision.
    pub revision: u64,
}

impl Slice {
    /// Whether it is in this keeper's hands.
    pub fn is_of(&self, keeper: &str) -> bool {
        self.object["metadata"]["labels"][KEEPER] == keeper
    }

    /// What it says.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Value> {
        self.object["endpoints"].as_array().into_iter().flatten()
    }

    /// Its ports in the words of [`Desired::ports`], however they are written.
    pub(super) fn ports(&self) -> Value {
        let ports = self.object["ports"].as_array().into_iter().flatten().map(|port| {
            let mut port = port.clone();
            for (field, default) in [("name", ""), ("protocol", "TCP")] {
                if port[field].is_null() {
                    port[field] = default.into();
                }
            }
            port
        });
        ports.collect()
    }

    /// Its end, unless it is about to come and something holds it.
    pub(super) fn end(&self) -> Option<Write> {
        if object::deleting(&self.object) {
            return None;
        }
        let seen = Seen { uid: object::uid(&self.object).to_owned(), revision: Some(self.revision) };
        Some(Write::Delete { at: self.at.clone(), seen, propagation: None })
    }
}

/// What is to be written.
pub fn writes(desired: &Desired, groups: &[Group<'_>], observed: &Observed<'_>) -> Vec<Write> {
    let nobody = [(json!([]), Vec::new())];
    // Nobody at all: one slice says so.
    let groups = if groups.is_empty() { &nobody } else { groups };
    let of_group = |slice: &&Slice| groups.iter().any(|(ports, _)| *ports == slice.ports());
    let (kept, others): (Vec<&Slice>, Vec<&Slice>) = observed.slices.iter().partition(of_group);
    let mut writes: Vec<Write> = others.into_iter().filter_map(Slice::end).collect();
    for (ports, pods) in groups {
        let mine: Vec<&Slice> = kept.iter().copied().filter(|slice| slice.ports() == *ports).collect();
        group(desired, (ports, pods.as_slice()), &mine, observed.zone, &mut writes);
    }
    writes
}

fn group(
    desired: &Desired,
    (ports, pods): (&Value, &[&Member]),
    slices: &[&Slice],
    zone: &Zone<'_>,
    writes: &mut Vec<Write>,
) {
    let endpoint = |pod: &Member| endpoint(desired, pod, zone);
    let mut left: BTreeMap<&str, &Member> = pods.iter().map(|pod| (&*pod.uid, *pod)).collect();
    let mut contents: Vec<Vec<Value>> = Vec::new();
    for slice in slices {
        let mut content = Vec::new();
        for old in slice.endpoints() {
            let uid = old["targetRef"]["uid"].as_str().unwrap_or_default();
            content.extend(left.remove(uid).map(&endpoint));
        }
        contents.push(content);
    }
    let new = pods.iter().filter(|pod| left.contains_key(&*pod.uid));
    let mut rest = new.map(|pod| endpoint(pod));
    for content in &mut contents {
        let room = limits::SLICE_ENDPOINTS.saturating_sub(content.len());
        content.extend(rest.by_ref().take(room));
    }
    let rest: Vec<Value> = rest.collect();
    writes.extend(rest.chunks(limits::SLICE_ENDPOINTS).map(|endpoints| create(desired, ports, endpoints)));
    if slices.is_empty() && rest.is_empty() {
        writes.push(create(desired, ports, &[]));
    }
    // Of empty ones one is left where there is no other.
    let mut spare = usize::from(contents.iter().all(Vec::is_empty) && rest.is_empty());
    for (slice, content) in slices.iter().zip(contents) {
        if content.is_empty() && spare == 0 {
            writes.extend(slice.end());
            continue;
        }
        spare = spare.saturating_sub(usize::from(content.is_empty()));
        writes.extend(update(desired, slice, content));
    }
}

fn endpoint(desired: &Desired, pod: &Member, zone: &Zone<'_>) -> Value {
    let ip = pod.address.as_ref().map(|address| address.ip.as_str()).unwrap_or_default();
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {
            "ready": desired.early() || pod.ready.is_some() && !pod.deleting,
            "serving": pod.ready.is_some(),
            "terminating": pod.deleting,
        },
        "targetRef": reference(pod),
    });
    if let Some(node) = &pod.node {
        endpoint["nodeName"] = (**node).into();
        if let Some(zone) = zone(node) {
            endpoint["zone"] = zone.into();
        }
    }
    if let Some(host) = desired.host(pod) {
        endpoint["hostname"] = host.into();
    }
    endpoint
}

fn marks(desired: &Desired) -> Value {
    desired.labels(&[(SERVICE, &desired.at.name), (KEEPER, OWN)])
}

fn create(desired: &Desired, ports: &Value, endpoints: &[Value]) -> Write {
    let metadata = json!({"labels": marks(desired)});
    let body = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": ports});
    super::slice(&desired.at, &desired.object, metadata, body)
}

fn update(desired: &Desired, slice: &Slice, endpoints: Vec<Value>) -> Option<Write> {
    let labels = marks(desired);
    let same = slice.object["metadata"]["labels"] == labels && slice.endpoints().eq(&endpoints);
    if same {
        return None;
    }
    let mut patch = json!({"endpoints": endpoints, "metadata": {"labels": labels}});
    // Labels that the Service has no more.
    for name in slice.object["metadata"]["labels"].as_object().into_iter().flatten().map(|(name, _)| name) {
        if labels.get(name).is_none() {
            patch["metadata"]["labels"][name] = Value::Null;
        }
    }
    let seen = Seen { uid: object::uid(&slice.object).to_owned(), revision: Some(slice.revision) };
    Some(Write::Edit { at: slice.at.clone(), part: "", seen, edit: Edit::Merge(patch) })
}
