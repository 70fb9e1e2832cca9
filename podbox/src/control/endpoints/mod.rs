//! Endpoints of Services: which pods answer for one, as EndpointSlices and as the older Endpoints object. Pure.
//!
//! ```text
//!   pods that the Service selects ─▶ endpoints, by the ports that they answer at ─▶ slices of at most 100 (`slices`)
//!                                                                               └─▶ one Endpoints object    (`legacy`)
//! ```
//!
//! It forwards nothing, and knows nothing of who does. Services without a selector have their endpoints from whoever wants to;
//! an Endpoints object that is kept for one by hand is told as slices too (`mirror`).

mod legacy;
mod mirror;
mod slices;

#[cfg(test)]
mod tests;

pub use mirror::writes as mirror;
pub use slices::Slice;

use super::action::{Actions, Subject, Write};
use super::meta::Owner;
use super::pods::{Member, Phase};
use super::sets;
use crate::api::object;
use crate::api::objects::Target;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label of a slice that names its Service.
pub const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice.
pub const KEEPER: &str = "endpointslice.kubernetes.io/managed-by";
/// What it says of those of podbox's own: upstream's word.
pub const OWN: &str = "endpointslice-controller.k8s.io";
/// The same of those that tell what an Endpoints object says.
pub const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
/// The same of an Endpoints object.
pub const LEGACY_KEEPER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What there is.
pub struct Observed<'a> {
    /// The pods that the Service selects.
    pub pods: Vec<&'a Arc<Member>>,
    /// Its slices that podbox keeps.
    pub slices: Vec<Slice>,
    /// The Endpoints object of its name, as it is stored, and its revision.
    pub legacy: Option<(Value, u64)>,
    /// Where nodes are.
    pub zone: &'a Zone<'a>,
}

/// The zone of the node of this name, if it is in one.
pub type Zone<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// A Service, as it is stored.
pub struct Desired {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: Value,
}

/// Who answers for a Service at the same ports.
type Group<'a> = (Value, Vec<&'a Member>);

impl Desired {
    fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    /// Whether pods count as ready whatever they say.
    fn early(&self) -> bool {
        self.spec()["publishNotReadyAddresses"] == true
    }

    fn headless(&self) -> bool {
        self.spec()["clusterIP"] == "None"
    }

    /// Whether somebody is selected.
    pub fn selects(&self) -> bool {
        !sets::selector(&self.spec()["selector"]).is_empty() && self.spec()["type"] != "ExternalName"
    }

    /// Its labels, with what a mark says more.
    fn labels(&self, marks: &[(&str, &str)]) -> Value {
        let mut labels = self.object["metadata"]["labels"].clone();
        if !labels.is_object() {
            labels = json!({});
        }
        for (name, value) in marks {
            labels[*name] = (*value).into();
        }
        if self.headless() {
            labels[HEADLESS] = "".into();
        }
        labels
    }

    /// The ports at which a pod answers. One that it does not have by that name is left out.
    fn ports(&self, pod: &Member) -> Value {
        let all = self.spec()["ports"].as_array().into_iter().flatten();
        let ports = all.filter_map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let target = match &port["targetPort"] {
                Value::String(name) => named(pod, name, protocol)?,
                target => target.as_i64().filter(|target| *target != 0).or(port["port"].as_i64())?,
            };
            let mut found = json!({"name": port["name"].as_str().unwrap_or_default(), "port": target, "protocol": protocol});
            if let Some(application) = port.get("appProtocol") {
                found["appProtocol"] = application.clone();
            }
            Some(found)
        });
        ports.collect()
    }

    /// The name below which a pod is to be found, if it asks for one below this Service.
    fn host<'a>(&self, pod: &'a Member) -> Option<&'a str> {
        let (host, below) = pod.address.as_ref()?.host.as_ref()?;
        (*below == self.at.name).then_some(host)
    }
}

fn named(pod: &Member, name: &str, protocol: &str) -> Option<i64> {
    let named = &pod.address.as_ref()?.named;
    let found = named.iter().find(|(known, of, _)| known == name && of == protocol)?;
    Some(found.2.into())
}

/// The pod, as its endpoint names it.
fn reference(pod: &Member) -> Value {
    json!({"kind": "Pod", "namespace": pod.key.namespace(), "name": pod.key.name(), "uid": *pod.uid})
}

/// A new slice that belongs to an object and is called after it; `body` is what it has besides its metadata.
fn slice(at: &Target, of: &Value, mut metadata: Value, mut body: Value) -> Write {
    metadata["generateName"] = format!("{}-", at.name).into();
    metadata["namespace"] = at.namespace.as_str().into();
    metadata["ownerReferences"] =
        json!([Owner::controller(&at.api_version, &at.kind, &at.name, object::uid(of))]);
    body["apiVersion"] = "discovery.k8s.io/v1".into();
    body["kind"] = "EndpointSlice".into();
    body["metadata"] = metadata;
    Write::Create(body)
}

/// What is to be written so that a Service has the endpoints that it should.
pub fn reconcile(desired: &Desired, observed: &Observed<'_>) -> Actions {
    let reached = observed.pods.iter().filter(|pod| pod.address.is_some() && pod.phase != Phase::Ended);
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    for pod in reached {
        let ports = desired.ports(pod);
        groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new())).1.push(pod);
    }
    let groups: Vec<Group<'_>> = groups.into_values().collect();
    let mut writes = slices::writes(desired, &groups, observed);
    writes.extend(legacy::write(desired, &groups, observed.legacy.as_ref()));
    let about = Subject { at: desired.at.clone(), uid: object::uid(&desired.object).to_owned() };
    Actions { about: Some(about), ..Actions::of(writes) }
}
