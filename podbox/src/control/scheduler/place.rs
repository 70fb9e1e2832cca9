//! A node as the scheduler sees it: what it says of itself, and what pods have taken of it. Pure.

use super::demand::Load;
use super::room::Amounts;
use crate::api::quantity::Quantity;
use crate::api::requests;
use crate::api::wish::NodeLabels;
use crate::control::key::Key;
use crate::sandbox::spec::Forward;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What nodes that podbox runs say of their runtime.
const OWN: &str = "podbox://";

/// A node, by its number: numbers of nodes that are gone are given to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// What of a node decides who fits it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its labels.
    pub labels: NodeLabels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is closed to new pods.
    pub closed: bool,
    /// What it has.
    pub room: Amounts,
    /// How many pods it takes.
    pub pods: usize,
    /// Whether podbox runs it.
    pub own: bool,
}

impl Facts {
    /// From a node as it is stored.
    pub fn of(node: &Node) -> Facts {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let listed = status.and_then(|status| status.allocatable.as_ref()).into_iter().flatten();
        let listed: requests::Amounts =
            listed.filter_map(|(name, text)| Some((name.clone(), Quantity::parse(&text.0).ok()?))).collect();
        let runtime = status.and_then(|status| status.node_info.as_ref());
        Facts {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            closed: spec.and_then(|spec| spec.unschedulable) == Some(true),
            pods: listed.get("pods").map_or(0, |pods| usize::try_from(pods.value()).unwrap_or(0)),
            room: Amounts::of(&listed),
            own: runtime.is_some_and(|info| info.container_runtime_version.starts_with(OWN)),
        }
    }
}

/// A node's images, by their names, and their bytes.
pub fn images(node: &Node) -> BTreeMap<String, i64> {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let named = images.flat_map(|image| {
        image.names.iter().flatten().map(|name| (name.clone(), image.size_bytes.unwrap_or(0)))
    });
    named.collect()
}

/// A node.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: Arc<str>,
    /// What it says of itself; nothing where only pods know of it.
    pub facts: Option<Facts>,
    /// Its images: what is here need not be pulled.
    pub images: BTreeMap<String, i64>,
    /// The pods that are on it, the least important first.
    pub pods: BTreeMap<(i32, Key), Arc<Load>>,
    /// What they have taken.
    pub taken: Amounts,
    /// The same, as scores count it.
    pub presumed: Amounts,
    /// Its ports that they have taken.
    pub ports: Vec<Forward>,
}

impl Place {
    /// One that nothing is known of but its name.
    pub fn new(name: Arc<str>) -> Place {
        let (pods, taken, presumed, ports, images) = Default::default();
        Place { name, facts: None, images, pods, taken, presumed, ports }
    }

    /// A pod is on it.
    pub fn add(&mut self, pod: &Key, load: &Arc<Load>) {
        self.pods.insert((load.priority, pod.clone()), Arc::clone(load));
        self.taken.add(&load.amounts);
        self.presumed.add(&load.presumed);
        self.ports.extend(load.ports.iter().cloned());
    }

    /// A pod is not any more.
    pub fn take(&mut self, pod: &Key, load: &Load) {
        self.pods.remove(&(load.priority, pod.clone()));
        self.taken.take(&load.amounts);
        self.presumed.take(&load.presumed);
        for port in &load.ports {
            if let Some(index) = self.ports.iter().position(|other| other == port) {
                self.ports.swap_remove(index);
            }
        }
    }

    /// The pods on it that are less important than one of this priority, the least important first.
    pub fn below(&self, priority: i32) -> impl Iterator<Item = (&Key, &Arc<Load>)> {
        let lower = self.pods.iter().take_while(move |((other, _), _)| *other < priority);
        lower.map(|((_, key), load)| (key, load))
    }

    /// Whether nobody needs it any more.
    pub fn is_idle(&self) -> bool {
        self.facts.is_none() && self.pods.is_empty()
    }
}
