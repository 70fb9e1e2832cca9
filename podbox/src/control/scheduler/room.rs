//! What pods ask for and nodes have, as the scheduler counts: thousandths of processors, bytes, pieces. Pure.
//!
//! Whole numbers that are added and taken away again, so that a node that gave all back has exactly what it had.

use crate::api::quantity::Quantity;
use crate::api::requests;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a container counts for in scores that asks for no processor: upstream's tenth of one.
const CPU: u64 = 100_000_000;
/// The same of memory.
const MEMORY: u64 = 200 << 20;

/// Amounts of resources. Each fits 64 bits; their sums need more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of processors.
    pub cpu: i128,
    /// Bytes.
    pub memory: i128,
    disk: i128,
    /// Extended resources, and huge pages.
    others: BTreeMap<String, i128>,
}

impl Amounts {
    /// From a list of quantities, but for pods: those are counted.
    pub fn of(list: &requests::Amounts) -> Amounts {
        let mut all = Amounts::default();
        for (name, amount) in list {
            match name.as_str() {
                "cpu" => all.cpu = amount.milli_value().into(),
                "memory" => all.memory = amount.value().into(),
                "ephemeral-storage" => all.disk = amount.value().into(),
                "pods" => {}
                name => drop(all.others.insert(name.to_owned(), amount.value().into())),
            }
        }
        all
    }

    /// What a pod asks for.
    pub fn of_pod(pod: &Pod) -> Amounts {
        Amounts::of(&requests::of_pod(pod))
    }

    /// The same, as scores count it: who says nothing uses something all the same.
    pub fn presumed(pod: &Pod) -> Amounts {
        let presume = |container: &Container| {
            let asked = |name: &str, default| requests::request(container, name).unwrap_or(default);
            let cpu = asked("cpu", Quantity::nanos(CPU));
            [("cpu".to_owned(), cpu), ("memory".to_owned(), asked("memory", Quantity::bytes(MEMORY)))].into()
        };
        let asked = Amounts::of_pod(pod);
        let mut presumed = requests::peak(pod, presume);
        requests::add(&mut presumed, &requests::overhead(pod));
        let presumed = Amounts::of(&presumed);
        Amounts { cpu: asked.cpu.max(presumed.cpu), memory: asked.memory.max(presumed.memory), ..asked }
    }

    /// More of them.
    pub fn add(&mut self, more: &Amounts) {
        self.change(more, 1);
    }

    /// Less of them.
    pub fn take(&mut self, less: &Amounts) {
        self.change(less, -1);
        self.others.retain(|_, amount| *amount != 0);
    }

    fn change(&mut self, by: &Amounts, sign: i128) {
        self.cpu += sign * by.cpu;
        self.memory += sign * by.memory;
        self.disk += sign * by.disk;
        for (name, amount) in &by.others {
            *self.others.entry(name.clone()).or_default() += sign * amount;
        }
    }

    /// Whether they are none at all of what scores weigh.
    pub fn is_light(&self) -> bool {
        self.cpu == 0 && self.memory == 0
    }

    /// What of these is not left where `held` of `all` is taken, and whether there is less of it than asked for
    /// even where nobody is.
    pub fn lacking(&self, all: &Amounts, held: &Amounts) -> Vec<(Cow<'static, str>, bool)> {
        let mut found = Vec::new();
        let mut look =
            |name: fn(&str) -> Cow<'static, str>, what: &str, asked: i128, all: i128, held: i128| {
                if asked > 0 && asked > all - held {
                    found.push((name(what), asked > all));
                }
            };
        look(|_| "Insufficient cpu".into(), "", self.cpu, all.cpu, held.cpu);
        look(|_| "Insufficient memory".into(), "", self.memory, all.memory, held.memory);
        look(|_| "Insufficient ephemeral-storage".into(), "", self.disk, all.disk, held.disk);
        for (name, asked) in &self.others {
            let of = |amounts: &Amounts| amounts.others.get(name).copied().unwrap_or(0);
            look(|name| format!("Insufficient {name}").into(), name, *asked, of(all), of(held));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(spec: &str) -> Amounts {
        let spec = format!("{{spec: {{containers: [{{name: c, resources: {{requests: {{{spec}}}}}}}]}}}}");
        Amounts::of_pod(&serde_yaml::from_str(&spec).unwrap())
    }

    #[test]
    fn what_is_lacking_is_named() {
        let all = amounts("cpu: 2, memory: 1Gi, example.com/dongle: 1");
        let check = |asked: &str, held: &str, expected: &[(&str, bool)]| {
            let found = amounts(asked).lacking(&all, &amounts(held));
            let found: Vec<_> = found.iter().map(|(name, never)| (&**name, *never)).collect();
            assert_eq!(found, expected, "{asked} beside {held}");
        };
        check("cpu: 2, memory: 1Gi", "", &[]);
        check("cpu: 2001m, memory: 2Gi", "", &[("Insufficient cpu", true), ("Insufficient memory", true)]);
        check("cpu: 501m", "cpu: 1500m", &[("Insufficient cpu", false)]);
        check("cpu: 500m", "cpu: 1500m", &[]);
        check(
            "example.com/dongle: 1",
            "example.com/dongle: 1",
            &[("Insufficient example.com/dongle", false)],
        );
        check("example.com/other: 1", "", &[("Insufficient example.com/other", true)]);
        check("cpu: 0, example.com/other: 0", "cpu: 3", &[]);
    }

    #[test]
    fn what_is_given_back_is_all_there_again() {
        let (mut held, huge) = (amounts("cpu: 1"), amounts("memory: 9E, example.com/dongle: 9E"));
        (0..9).for_each(|_| held.add(&huge));
        (0..9).for_each(|_| held.take(&huge));
        assert_eq!(held, amounts("cpu: 1"));
    }

    #[test]
    fn who_says_nothing_counts_for_something_in_scores() {
        let pod: Pod = serde_yaml::from_str(
            "{spec: {overhead: {cpu: 250m}, containers: [{name: a}, {name: b, resources: {requests: {cpu: 1, memory: 1Gi}}}]}}",
        )
        .unwrap();
        let presumed = Amounts::presumed(&pod);
        assert_eq!((presumed.cpu, presumed.memory), (1350, (1024 + 200) << 20));
    }
}
