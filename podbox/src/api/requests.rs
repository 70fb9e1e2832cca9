//! What pods ask for of what nodes have to give, as Kubernetes counts it. Pure.

use super::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{BTreeMap, BTreeSet};

/// Amounts of resources, by their names.
pub type Amounts = BTreeMap<String, Quantity>;

type List = BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

/// A container's limit, if it has one.
pub fn limit(container: &Container, name: &str) -> Option<Quantity> {
    listed(container.resources.as_ref()?.limits.as_ref(), name)
}

/// A container's request: its own, or its limit, as defaulting has it.
pub fn request(container: &Container, name: &str) -> Option<Quantity> {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    listed(requests, name).or_else(|| limit(container, name))
}

/// The limit of a pod as a whole, if `spec.resources` has one.
pub fn pod_limit(pod: &Pod, name: &str) -> Option<Quantity> {
    listed(pod.spec.as_ref()?.resources.as_ref()?.limits.as_ref(), name)
}

/// The request of a pod as a whole, if `spec.resources` has one: a limit counts as one, as defaulting has it.
pub fn pod_request(pod: &Pod, name: &str) -> Option<Quantity> {
    let resources = pod.spec.as_ref()?.resources.as_ref()?;
    listed(resources.requests.as_ref(), name).or_else(|| listed(resources.limits.as_ref(), name))
}

/// An amount that a list has and that can be read.
pub fn listed(list: Option<&List>, name: &str) -> Option<Quantity> {
    Quantity::parse(&list?.get(name)?.0).ok()
}

/// What a pod needs at most at any time: its containers and sidecars together, or one init container with the sidecars
/// before it; or what it asks for as a whole, instead. And what its runtime class adds.
pub fn of_pod(pod: &Pod) -> Amounts {
    let mut together = peak(pod, of_container);
    for name in ["cpu", "memory"] {
        if let Some(whole) = pod_request(pod, name) {
            together.insert(name.to_owned(), whole);
        }
    }
    add(&mut together, &overhead(pod));
    together
}

/// What a pod's runtime class adds.
pub fn overhead(pod: &Pod) -> Amounts {
    let overhead = pod.spec.iter().flat_map(|spec| spec.overhead.iter().flatten());
    overhead.filter_map(|(name, given)| Some((name.clone(), Quantity::parse(&given.0).ok()?))).collect()
}

/// The most at any time of what `of_container` says that each container takes.
pub fn peak(pod: &Pod, of_container: impl Fn(&Container) -> Amounts) -> Amounts {
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
    together
}

fn of_container(container: &Container) -> Amounts {
    let lists = container.resources.iter().flat_map(|given| [given.requests.as_ref(), given.limits.as_ref()]);
    let names: BTreeSet<&String> = lists.flatten().flat_map(BTreeMap::keys).collect();
    names.into_iter().filter_map(|name| Some((name.clone(), request(container, name)?))).collect()
}

/// Adds amounts.
pub fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = amounts.get(name).map_or(*amount, |sum| sum.plus(*amount));
        amounts.insert(name.clone(), sum);
    }
}

fn raise(amounts: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let most = amounts.get(name).map_or(*amount, |before| *before.max(amount));
        amounts.insert(name.clone(), most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &str, cpu: &str) {
        let pod: Pod = serde_yaml::from_str(&format!("{{spec: {{{spec}}}}}")).unwrap();
        assert_eq!(of_pod(&pod).get("cpu").copied(), Some(Quantity::parse(cpu).unwrap()), "{spec}");
    }

    #[test]
    fn init_containers_run_one_by_one_and_sidecars_beside_all_that_follow() {
        let asks = |cpu: &str| format!("{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}");
        let sidecar = format!("{{restartPolicy: Always, {}", &asks("1")[1..]);
        check(&format!("containers: [{}, {}]", asks("1"), asks("500m")), "1500m");
        check(&format!("initContainers: [{}, {}], containers: [{}]", asks("2"), asks("2"), asks("1")), "2");
        check(&format!("initContainers: [{sidecar}], containers: [{}]", asks("1500m")), "2500m");
        check(&format!("initContainers: [{sidecar}, {}], containers: [{}]", asks("3"), asks("1")), "4");
        check(&format!("overhead: {{cpu: 1}}, containers: [{}]", asks("1500m")), "2500m");
        let whole = "resources: {requests: {cpu: 1}}, overhead: {cpu: 1}";
        check(&format!("{whole}, containers: [{}]", asks("1500m")), "2");
        check("containers: [{name: c, resources: {limits: {cpu: 3}}}]", "3");
    }
}
