//! EndpointSlices of an Endpoints object that somebody keeps by hand, for a Service that selects nobody: whoever reads slices
//! alone finds what it says. Pure.
//!
//! What it says twice, and addresses that are none, are told once or not at all.

use super::super::action::{Edit, Write};
use super::{KEEPER, LEGACY_KEEPER, MIRROR, SERVICE, Slice};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::limits;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// By which an Endpoints object says that it is not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// By which it says that it is no Endpoints object at all, but somebody's lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something of the Endpoints object itself.
const ITS_OWN: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// A slice that there is to be.
struct Wanted {
    family: &'static str,
    ports: Value,
    endpoints: Vec<Value>,
}

/// Ports, and the endpoints that answer there, by whom they are of.
type Group = (Value, BTreeMap<String, Value>);

/// What is to be written so that an Endpoints object, if there is one to be mirrored, has its slices.
pub fn writes(legacy: Option<&(Target, Value, u64)>, slices: &[Slice]) -> Vec<Write> {
    let mirrored = legacy.filter(|(_, object, _)| is_mirrored(object));
    let mut left: Vec<&Slice> = slices.iter().collect();
    let mut writes = Vec::new();
    for wanted in mirrored.map(|(_, object, _)| wanted(object)).unwrap_or_default() {
        let Some((at, object, _)) = mirrored else { break };
        // Those of an earlier object of this name go with it.
        let fits = |slice: &&Slice| {
            let owner = &slice.object["metadata"]["ownerReferences"][0]["uid"];
            *owner == object::uid(object)
                && slice.object["addressType"] == wanted.family
                && slice.ports() == normal(&wanted.ports)
        };
        match left.iter().position(fits) {
            Some(index) => writes.extend(update(object, left.remove(index), wanted)),
            None => writes.push(create(at, object, wanted)),
        }
    }
    writes.extend(left.into_iter().filter_map(Slice::end));
    writes
}

fn is_mirrored(endpoints: &Value) -> bool {
    let (labels, annotations) = (&endpoints["metadata"]["labels"], &endpoints["metadata"]["annotations"]);
    // What podbox keeps by itself has slices from where it comes.
    let (keeper, own) = LEGACY_KEEPER;
    !object::deleting(endpoints)
        && labels[SKIP] != "true"
        && labels[keeper] != own
        && annotations[LEADER].is_null()
}

fn wanted(endpoints: &Value) -> Vec<Wanted> {
    let mut found: BTreeMap<(&str, String), Group> = BTreeMap::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports: Value = subset["ports"].as_array().into_iter().flatten().cloned().collect();
        for (field, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in subset[field].as_array().into_iter().flatten() {
                let ip = address["ip"].as_str().unwrap_or_default();
                let Ok(parsed) = ip.parse::<IpAddr>() else { continue };
                let family = if parsed.is_ipv4() { "IPv4" } else { "IPv6" };
                let group = found
                    .entry((family, ports.to_string()))
                    .or_insert_with(|| (ports.clone(), BTreeMap::new()));
                // By its address and whom it is of: the same one is not told twice.
                let who = format!("{ip} {}", address["targetRef"]["uid"]);
                group.1.entry(who).or_insert_with(|| endpoint(address, ip, ready));
            }
        }
    }
    let mut all = Vec::new();
    for ((family, _), (ports, endpoints)) in found {
        let endpoints: Vec<Value> = endpoints.into_values().collect();
        let chunks = endpoints.chunks(limits::LEGACY_ENDPOINTS);
        all.extend(chunks.map(|chunk| Wanted { family, ports: ports.clone(), endpoints: chunk.to_vec() }));
    }
    all
}

fn endpoint(address: &Value, ip: &str, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [ip], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(said) = address.get(field) {
            endpoint[field] = said.clone();
        }
    }
    endpoint
}

/// Ports in the words in which slices' ports are compared.
fn normal(ports: &Value) -> Value {
    let ports = ports.as_array().into_iter().flatten().cloned().map(|mut port| {
        for (field, default) in [("name", ""), ("protocol", "TCP")] {
            if port[field].is_null() {
                port[field] = default.into();
            }
        }
        port
    });
    ports.collect()
}

fn labels(endpoints: &Value) -> Value {
    let mut labels = json!({});
    for (name, value) in endpoints["metadata"]["labels"].as_object().into_iter().flatten() {
        labels[name] = value.clone();
    }
    labels[SERVICE] = object::name(endpoints).into();
    labels[KEEPER] = MIRROR.into();
    labels
}

fn annotations(endpoints: &Value) -> Value {
    let all = endpoints["metadata"]["annotations"].as_object().into_iter().flatten();
    let told = all.filter(|(name, _)| !ITS_OWN.contains(&name.as_str()));
    Value::Object(told.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn create(at: &Target, endpoints: &Value, wanted: Wanted) -> Write {
    let metadata = json!({"labels": labels(endpoints), "annotations": annotations(endpoints)});
    let body = json!({
        "addressType": wanted.family,
        "endpoints": wanted.endpoints,
        "ports": normal(&wanted.ports),
    });
    super::slice(at, endpoints, metadata, body)
}

fn update(endpoints: &Value, slice: &Slice, wanted: Wanted) -> Option<Write> {
    let metadata = &slice.object["metadata"];
    let mut patch = json!({});
    for (field, mut now) in [("labels", labels(endpoints)), ("annotations", annotations(endpoints))] {
        let before = metadata[field].as_object().cloned().unwrap_or_default();
        if now.as_object() == Some(&before) {
            continue;
        }
        // Those that are not said any more.
        for name in before.keys().filter(|name| now.get(name.as_str()).is_none()).cloned().collect::<Vec<_>>()
        {
            now[name] = Value::Null;
        }
        patch["metadata"][field] = now;
    }
    if !slice.endpoints().eq(&wanted.endpoints) {
        patch["endpoints"] = wanted.endpoints.into();
    }
    let seen = Seen { uid: object::uid(&slice.object).to_owned(), revision: Some(slice.revision) };
    let changed = patch != json!({});
    changed.then(|| Write::Edit { at: slice.at.clone(), part: "", seen, edit: Edit::Merge(patch) })
}
