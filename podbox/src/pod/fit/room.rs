//! What pods ask for of what a node has to give, counted as the scheduler does. Pure.

use crate::api::quantity::Quantity;
use crate::pod::{admit, resources};
use crate::sandbox::spec::Forward;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use std::collections::{BTreeMap, BTreeSet};

/// The resource of which each pod takes one.
const PODS: &str = "pods";

type Amounts = BTreeMap<String, Quantity>;

/// What pods have taken of a node.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pods: u64,
    amounts: Amounts,
    ports: Vec<Forward>,
}

impl Taken {
    /// Counts a pod.
    pub fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        add(&mut self.amounts, &requests(pod));
        self.ports.extend(admit::host_ports(pod));
    }

    pub(super) fn ports(&self) -> &[Forward] {
        &self.ports
    }

    /// What one more pod lacks.
    pub(super) fn short(&self, pod: &Pod, node: &Node) -> Vec<Short> {
        let mut asked = requests(pod);
        asked.insert(PODS.to_owned(), count(1));
        let short = asked.into_iter().filter_map(|(name, requested)| {
            let used = match name.as_str() {
                PODS => count(self.pods),
                name => self.amounts.get(name).copied().unwrap_or(Quantity::ZERO),
            };
            let capacity = allocatable(node, &name).unwrap_or(Quantity::ZERO);
            let lacks = requested > Quantity::ZERO && requested > capacity.minus(used);
            lacks.then_some(Short { name, requested, used, capacity })
        });
        short.collect()
    }
}

impl<'a> FromIterator<&'a Pod> for Taken {
    fn from_iter<I: IntoIterator<Item = &'a Pod>>(pods: I) -> Taken {
        let mut taken = Taken::default();
        pods.into_iter().for_each(|pod| taken.add(pod));
        taken
    }
}

/// A resource of which there is too little.
#[derive(Clone, Debug)]
pub(super) struct Short {
    name: String,
    requested: Quantity,
    used: Quantity,
    capacity: Quantity,
}

impl Short {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// On an empty node there would be enough.
    pub(super) fn is_for_now(&self) -> bool {
        self.requested <= self.capacity
    }

    /// The node has never heard of it.
    pub(super) fn is_foreign(&self, node: &Node) -> bool {
        self.name.contains('/') && allocatable(node, &self.name).is_none()
    }

    /// In the scheduler's words.
    pub(super) fn reason(&self) -> String {
        match self.name.as_str() {
            PODS => "Too many pods".to_owned(),
            name => format!("Insufficient {name}"),
        }
    }

    /// In the kubelet's, which count thousandths of processors.
    pub(super) fn rejection(&self) -> String {
        let amount = |quantity: Quantity| match self.name.as_str() {
            "cpu" => quantity.milli_value(),
            _ => quantity.value(),
        };
        format!(
            "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
            self.name,
            amount(self.requested),
            amount(self.used),
            amount(self.capacity)
        )
    }
}

fn count(number: u64) -> Quantity {
    Quantity::nanos(number.saturating_mul(1_000_000_000))
}

fn allocatable(node: &Node, name: &str) -> Option<Quantity> {
    Quantity::parse(&node.status.as_ref()?.allocatable.as_ref()?.get(name)?.0).ok()
}

fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = amounts.get(name).map_or(*amount, |sum| sum.plus(*amount));
        amounts.insert(name.clone(), sum);
    }
}

/// What a pod needs at most at any time: its containers and sidecars together, or one init container with the sidecars
/// before it; or what it asks for as a whole, instead. And what its runtime class adds.
fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let (mut together, mut peak) = (Amounts::new(), Amounts::new());
    for init in spec.init_containers.iter().flatten() {
        let mut meanwhile = together.clone();
        add(&mut meanwhile, &of_container(init));
        raise(&mut peak, &meanwhile);
        if init.restart_policy.as_deref() == Some("Always") {
            together = meanwhile;
        }
    }
    spec.containers.iter().for_each(|container| add(&mut together, &of_container(container)));
    raise(&mut together, &peak);
    for name in ["cpu", "memory"] {
        if let Some(whole) = resources::pod_request(pod, name) {
            together.insert(name.to_owned(), whole);
        }
    }
    let overhead = spec.overhead.iter().flatten();
    let overhead = overhead.filter_map(|(name, given)| Some((name.clone(), Quantity::parse(&given.0).ok()?)));
    add(&mut together, &overhead.collect());
    together
}

fn of_container(container: &Container) -> Amounts {
    let lists = container.resources.iter().flat_map(|given| [given.requests.as_ref(), given.limits.as_ref()]);
    let names: BTreeSet<&String> = lists.flatten().flat_map(BTreeMap::keys).collect();
    names.into_iter().filter_map(|name| Some((name.clone(), resources::request(container, name)?))).collect()
}

fn raise(amounts: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let most = amounts.get(name).map_or(*amount, |before| *before.max(amount));
        amounts.insert(name.clone(), most);
    }
}
