//! What pods ask for of what a node has to give, as the kubelet tells it. Pure.

use crate::api::hostports;
use crate::api::quantity::Quantity;
use crate::api::requests::{self, Amounts};
use crate::sandbox::spec::Forward;
use k8s_openapi::api::core::v1::{Node, Pod};

/// The resource of which each pod takes one.
const PODS: &str = "pods";

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
        requests::add(&mut self.amounts, &requests::of_pod(pod));
        self.ports.extend(hostports::of_pod(pod));
    }

    pub(super) fn ports(&self) -> &[Forward] {
        &self.ports
    }

    /// What one more pod lacks.
    pub(super) fn short(&self, pod: &Pod, node: &Node) -> Vec<Short> {
        let mut asked = requests::of_pod(pod);
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

    /// The node has never heard of it.
    pub(super) fn is_foreign(&self, node: &Node) -> bool {
        self.name.contains('/') && allocatable(node, &self.name).is_none()
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
