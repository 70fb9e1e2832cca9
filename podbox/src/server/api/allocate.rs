//! What only one Service can have: addresses in the cluster and ports of the node.
//!
//! Who has what is read from the store each time, so that nothing is given back or lost by a restart, and a Service that
//! is gone has freed what it had. Writes of Services take turns ([`Api::turn`]): between looking and writing, nobody else
//! looks. Which one is given is chance, from the upper part of the range first: the lower is for whoever asks for one by
//! name, as upstream has it.

use super::{Api, Call};
use crate::api::field::{Errors, Path};
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::status::ApiError;
use crate::chance;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use tokio::sync::{Mutex, MutexGuard};

/// Where Services' addresses are from.
pub const RANGE: &str = "10.96.0.0/12";
/// The same without its first and last.
const ADDRESSES: RangeInclusive<u32> = 0x0a60_0001..=0x0a6f_fffe;
/// Addresses at its beginning that are given only to whoever asks for one of them.
const ASKED_ADDRESSES: u32 = 256;
/// Ports of the node.
const PORTS: RangeInclusive<u32> = 30_000..=32_767;
/// Ports at their beginning that are given only to whoever asks for one of them.
const ASKED_PORTS: u32 = 86;
/// How often chance is asked before the range is searched.
const TRIES: usize = 16;
const SERVICES: &str = "/services";

/// Whose turn it is, of writes that are judged by what others have.
#[derive(Default)]
pub struct Turns {
    /// Of Services.
    addresses: Mutex<()>,
    /// Of what quotas count; namespaces share them by chance.
    quotas: [Mutex<()>; 32],
}

/// A write's turn, until it is dropped.
pub struct Turn<'a> {
    _quota: Option<MutexGuard<'a, ()>>,
    _addresses: Option<MutexGuard<'a, ()>>,
}

impl Turns {
    fn in_namespace(&self, namespace: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        &self.quotas[(hasher.finish() % self.quotas.len() as u64) as usize]
    }
}

/// What Services have.
#[derive(Default)]
struct Taken {
    addresses: BTreeSet<u32>,
    ports: BTreeSet<u32>,
}

#[derive(Deserialize)]
struct Holder<'a> {
    #[serde(borrow)]
    spec: Held<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held<'a> {
    #[serde(borrow, default, rename = "clusterIPs")]
    cluster_ips: Vec<Cow<'a, str>>,
    #[serde(default)]
    ports: Vec<HeldPort>,
    #[serde(default)]
    health_check_node_port: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeldPort {
    #[serde(default)]
    node_port: u32,
}

impl Api {
    /// Waits for the turn of a write that is judged by what others have: Services by each other's addresses, what a quota
    /// counts by each other's number. Others need none.
    pub(super) async fn turn(&self, call: &Call) -> Turn<'_> {
        let service = call.kind.group.is_empty() && call.kind.kind == "Service";
        let namespace = call.namespace().filter(|_| self.is_counted(call));
        // Always in this order.
        let quota = match namespace {
            Some(namespace) => Some(self.turns.in_namespace(namespace).lock().await),
            None => None,
        };
        let addresses = if service { Some(self.turns.addresses.lock().await) } else { None };
        Turn { _quota: quota, _addresses: addresses }
    }

    /// Gives a Service what it needs and has not, or says why it cannot have what it asks for.
    pub(super) fn allocate(&self, kind: &Kind, service: &mut Value) -> Result<(), ApiError> {
        if !kind.group.is_empty() || kind.kind != "Service" {
            return Ok(());
        }
        let taken = self.taken(object::namespace(service), object::name(service))?;
        let mut errors = Errors::default();
        address(service, &taken, &mut errors);
        ports(service, &taken, &mut errors);
        match errors.is_empty() {
            true => Ok(()),
            false => Err(ApiError::invalid("", "Service", object::name(service), &errors)),
        }
    }

    /// What others than this Service have.
    fn taken(&self, namespace: &str, name: &str) -> Result<Taken, ApiError> {
        let page = self.store.list(SERVICES, None, None, 0, None);
        let page = page.map_err(|error| ApiError::internal(error.to_string()))?;
        let mut taken = Taken::default();
        for entry in page.entries {
            if entry.key.namespace() == namespace && entry.key.name() == name {
                continue;
            }
            let Ok(Holder { spec }) = serde_json::from_slice::<Holder>(&entry.bytes) else { continue };
            let addresses = spec.cluster_ips.iter().filter_map(|ip| ip.parse::<Ipv4Addr>().ok());
            taken.addresses.extend(addresses.map(u32::from));
            taken.ports.extend(spec.ports.iter().map(|port| port.node_port));
            taken.ports.insert(spec.health_check_node_port);
        }
        Ok(taken)
    }
}

/// One of a range that is not taken: by chance, not of the first `asked` as long as there are others.
fn free(range: &RangeInclusive<u32>, asked: u32, taken: &BTreeSet<u32>) -> Option<u32> {
    let first = range.start() + asked;
    let count = range.end() - first + 1;
    let any = || first + u32::from_le_bytes(chance::bytes()) % count;
    std::iter::repeat_with(any)
        .take(TRIES)
        .chain(first..=*range.end())
        .chain(*range.start()..first)
        .find(|one| !taken.contains(one))
}

fn address(service: &mut Value, taken: &Taken, errors: &mut Errors) {
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
        return;
    }
    let root = Path::ROOT.child("spec");
    let at = root.child("clusterIPs");
    let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    let mut refuse =
        |why: &str| errors.invalid(&at, json!([asked]), format!("failed to allocate IP {asked}: {why}"));
    if asked.is_empty() {
        match free(&ADDRESSES, ASKED_ADDRESSES, &taken.addresses) {
            Some(address) => {
                let text = Ipv4Addr::from(address).to_string();
                spec["clusterIP"] = text.as_str().into();
                spec["clusterIPs"] = json!([text]);
            }
            None => errors.add(
                crate::api::field::Reason::Internal,
                &at,
                Value::Null,
                "failed to allocate a serviceIP: range is full",
            ),
        }
        return;
    }
    match asked.parse::<Ipv4Addr>().map(u32::from) {
        Ok(address) if !ADDRESSES.contains(&address) => {
            refuse("the provided network does not match the current range");
        }
        Ok(address) if taken.addresses.contains(&address) => refuse("provided IP is already allocated"),
        Ok(_) => {}
        Err(_) => refuse("the provided network does not match the current range"),
    }
}

fn ports(service: &mut Value, taken: &Taken, errors: &mut Errors) {
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    let wants = match kind {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    };
    let external = matches!(kind, "NodePort" | "LoadBalancer");
    let checked = kind == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    let mut taken = taken.ports.clone();
    let root = Path::ROOT.child("spec");
    let own: Vec<u32> = list(spec).map(port_of).filter(|port| *port > 0).collect();
    let list_at = root.child("ports");
    for (index, port) in list(spec).map(port_of).enumerate().filter(|(_, port)| external && *port > 0) {
        let at = list_at.index(index);
        judge(errors, &at.child("nodePort"), port, &taken);
    }
    let health = spec["healthCheckNodePort"].as_u64().and_then(|port| u32::try_from(port).ok()).unwrap_or(0);
    if checked && health > 0 {
        judge(errors, &root.child("healthCheckNodePort"), health, &taken);
    }
    taken.extend(own);
    let full = |errors: &mut Errors, at: &Path| {
        let why = "failed to allocate a nodePort: range is full";
        errors.add(crate::api::field::Reason::Internal, at, Value::Null, why);
    };
    let mut given: Vec<(String, u32)> = Vec::new();
    let ports = service["spec"]["ports"].as_array_mut().into_iter().flatten();
    for (index, port) in ports.enumerate().filter(|(_, port)| wants && port_of(port) == 0) {
        // One port for both protocols, as one expects of a name server.
        let number = port["port"].to_string();
        let same = given.iter().find(|(other, _)| *other == number).map(|(_, port)| *port);
        match same.or_else(|| free(&PORTS, ASKED_PORTS, &taken)) {
            Some(chosen) => {
                port["nodePort"] = chosen.into();
                taken.insert(chosen);
                given.push((number, chosen));
            }
            None => {
                let at = list_at.index(index);
                full(errors, &at.child("nodePort"));
            }
        }
    }
    if checked && health == 0 {
        match free(&PORTS, ASKED_PORTS, &taken) {
            Some(chosen) => service["spec"]["healthCheckNodePort"] = chosen.into(),
            None => full(errors, &root.child("healthCheckNodePort")),
        }
    }
}

fn list(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["ports"].as_array().into_iter().flatten()
}

fn port_of(port: &Value) -> u32 {
    port["nodePort"].as_u64().and_then(|port| u32::try_from(port).ok()).unwrap_or(0)
}

fn judge(errors: &mut Errors, at: &Path, port: u32, taken: &BTreeSet<u32>) {
    if !PORTS.contains(&port) {
        let (first, last) = PORTS.into_inner();
        let why =
            format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
        errors.invalid(at, port, why);
    } else if taken.contains(&port) {
        errors.invalid(at, port, "provided port is already allocated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(mut service: Value, taken: &Taken) -> (Value, Vec<String>) {
        let mut errors = Errors::default();
        address(&mut service, taken, &mut errors);
        ports(&mut service, taken, &mut errors);
        (service, errors.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_asked_for_is_given_or_refused_and_the_rest_is_chosen() {
        let taken = Taken { addresses: [0x0a60_0001].into(), ports: [30_001].into() };
        let (service, errors) = given(json!({"spec": {"type": "NodePort", "ports": [{"port": 1}]}}), &taken);
        assert_eq!(errors, Vec::<String>::new());
        let address: Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        assert!(ADDRESSES.contains(&u32::from(address)));
        assert!(PORTS.contains(&port_of(&service["spec"]["ports"][0])));
        let asks = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.1", "ports": [{"port": 1, "nodePort": 30001}]}});
        let (_, errors) = given(asks, &taken);
        assert_eq!(
            errors,
            [
                "spec.clusterIPs: Invalid value: [\"10.96.0.1\"]: failed to allocate IP 10.96.0.1: provided IP is already \
                 allocated",
                "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
            ]
        );
    }

    #[test]
    fn a_full_range_gives_its_lower_part_last_and_then_nothing() {
        let upper: BTreeSet<u32> = (10..=19).collect();
        assert!(free(&(0..=19), 10, &upper).is_some_and(|one| one < 10));
        assert_eq!(free(&(0..=19), 10, &(0..=19).collect()), None);
    }

    #[test]
    fn a_headless_service_gets_no_address() {
        let (service, errors) =
            given(json!({"spec": {"type": "ClusterIP", "clusterIP": "None"}}), &Taken::default());
        assert_eq!((service["spec"]["clusterIP"].as_str(), errors.len()), (Some("None"), 0));
    }
}
