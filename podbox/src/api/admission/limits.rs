//! LimitRanges: what containers get where they are silent, and what pods and claims may not exceed. Pure.
//!
//! The words are upstream's, since people search for them. Several ranges of a namespace hold one after the other.
//!
//! **Invariant:** what a manifest says is never overruled, only completed or refused.

use crate::api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use std::collections::BTreeMap;

type Amounts = BTreeMap<String, Amount>;
type Quantities = BTreeMap<String, Quantity>;

/// Says in a pod's annotations what was completed.
const TOLD: &str = "kubernetes.io/limit-ranger";

fn items<'a>(ranges: &'a [LimitRange], kind: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    let all = ranges.iter().filter_map(|range| range.spec.as_ref()).flat_map(|spec| &spec.limits);
    all.filter(move |item| item.type_ == kind)
}

fn read(amounts: Option<&Amounts>) -> Quantities {
    let each = amounts.into_iter().flatten();
    each.filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(&amount.0).ok()?))).collect()
}

/// Completes a pod's containers, which are defaulted.
pub fn complete(pod: &mut Pod, ranges: &[LimitRange]) {
    for range in ranges {
        let mut told = Vec::new();
        for item in items(std::slice::from_ref(range), "Container") {
            let Some(spec) = pod.spec.as_mut() else { return };
            for container in &mut spec.containers {
                told.extend(complete_container(container, item, "container"));
            }
            for container in spec.init_containers.iter_mut().flatten() {
                told.extend(complete_container(container, item, "init container"));
            }
        }
        if !told.is_empty() {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(TOLD.to_owned(), format!("LimitRanger plugin set: {}", told.join("; ")));
        }
    }
}

fn complete_container(container: &mut Container, item: &LimitRangeItem, what: &str) -> Vec<String> {
    let resources = container.resources.get_or_insert_default();
    let mut told = Vec::new();
    let lists = [
        ("request", &mut resources.requests, &item.default_request),
        ("limit", &mut resources.limits, &item.default),
    ];
    for (word, list, defaults) in lists {
        let mut set = Vec::new();
        for (name, amount) in defaults.iter().flatten() {
            if !list.as_ref().is_some_and(|list| list.contains_key(name)) {
                list.get_or_insert_default().insert(name.clone(), amount.clone());
                set.push(name.as_str());
            }
        }
        if !set.is_empty() {
            told.push(format!("{} {word} for {what} {}", set.join(", "), container.name));
        }
    }
    told
}

/// Why a pod may not be; `None` if it may.
pub fn refuse_pod(pod: &Pod, ranges: &[LimitRange]) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let mut errors = Vec::new();
    for item in items(ranges, "Container") {
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            judge(item, &requests(container), &limits(container), &mut errors);
        }
    }
    for item in items(ranges, "Pod") {
        judge(item, &whole(pod, requests), &whole(pod, limits), &mut errors);
    }
    joined(errors)
}

/// Why a claim may not be; `None` if it may.
pub fn refuse_claim(claim: &PersistentVolumeClaim, ranges: &[LimitRange]) -> Option<String> {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = read(resources.and_then(|resources| resources.requests.as_ref()));
    let mut errors = Vec::new();
    for item in items(ranges, "PersistentVolumeClaim") {
        for (name, least) in read(item.min.as_ref()) {
            errors.extend(too_little(&item.type_, &name, least, &requests, &Quantities::new()));
        }
        for (name, most) in read(item.max.as_ref()) {
            let start = format!("maximum {name} usage per {} is {most}", item.type_);
            match requests.get(&name) {
                None => errors.push(format!("{start}.  No request is specified")),
                Some(asked) if *asked > most => errors.push(format!("{start}, but request is {asked}")),
                Some(_) => {}
            }
        }
    }
    joined(errors)
}

fn joined(errors: Vec<String>) -> Option<String> {
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn resources(container: &Container) -> Option<&ResourceRequirements> {
    container.resources.as_ref()
}

/// What a container asks for.
pub fn requests(container: &Container) -> Quantities {
    read(resources(container).and_then(|resources| resources.requests.as_ref()))
}

/// What a container may use at most.
pub fn limits(container: &Container) -> Quantities {
    read(resources(container).and_then(|resources| resources.limits.as_ref()))
}

/// What a whole pod has of something its containers have: those that run together add up; each of those that run before
/// them needs room for itself beside the sidecars that have started by then.
pub fn whole(pod: &Pod, of: fn(&Container) -> Quantities) -> Quantities {
    let Some(spec) = &pod.spec else { return Quantities::new() };
    let mut running = Quantities::new();
    spec.containers.iter().for_each(|container| add(&mut running, &of(container)));
    let (mut sidecars, mut highest) = (Quantities::new(), Quantities::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut highest, &sidecars);
        } else {
            let mut together = sidecars.clone();
            add(&mut together, &own);
            raise(&mut highest, &together);
        }
    }
    raise(&mut running, &highest);
    if !running.is_empty() {
        add(&mut running, &read(spec.overhead.as_ref()));
    }
    running
}

fn add(to: &mut Quantities, more: &Quantities) {
    for (name, amount) in more {
        let sum = to.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Quantities, least: &Quantities) {
    for (name, amount) in least {
        let most = to.get(name).copied().map_or(*amount, |there| there.max(*amount));
        to.insert(name.clone(), most);
    }
}

fn judge(item: &LimitRangeItem, requests: &Quantities, limits: &Quantities, errors: &mut Vec<String>) {
    let kind = item.type_.as_str();
    for (name, least) in read(item.min.as_ref()) {
        errors.extend(too_little(kind, &name, least, requests, limits));
    }
    for (name, most) in read(item.max.as_ref()) {
        errors.extend(too_much(kind, &name, most, requests, limits));
    }
    for (name, ratio) in read(item.max_limit_request_ratio.as_ref()) {
        errors.extend(too_far(kind, &name, ratio, requests, limits));
    }
}

fn too_little(
    kind: &str,
    name: &str,
    least: Quantity,
    requests: &Quantities,
    limits: &Quantities,
) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {least}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(asked), _) if *asked < least => Some(format!("{start}, but request is {asked}")),
        (_, Some(limit)) if *limit < least => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

fn too_much(
    kind: &str,
    name: &str,
    most: Quantity,
    requests: &Quantities,
    limits: &Quantities,
) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {most}");
    match (limits.get(name), requests.get(name)) {
        (None, _) => Some(format!("{start}.  No limit is specified")),
        (Some(limit), _) if *limit > most => Some(format!("{start}, but limit is {limit}")),
        (_, Some(asked)) if *asked > most => Some(format!("{start}, but request is {asked}")),
        _ => None,
    }
}

fn too_far(
    kind: &str,
    name: &str,
    most: Quantity,
    requests: &Quantities,
    limits: &Quantities,
) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {most}");
    let asked = requests.get(name).filter(|asked| !asked.is_zero());
    let limit = limits.get(name).filter(|limit| !limit.is_zero());
    match (asked, limit) {
        (None, _) => Some(format!("{start}, but no request is specified or request is 0")),
        (_, None) => Some(format!("{start}, but no limit is specified or limit is 0")),
        (Some(asked), Some(limit)) => {
            let ratio = limit.milli_value() as f64 / asked.milli_value() as f64;
            let most = most.milli_value() as f64 / 1000.0;
            (ratio > most).then(|| format!("{start}, but provided ratio is {ratio:.6}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(item: serde_json::Value) -> LimitRange {
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"limits": [item]}})).unwrap()
    }

    fn pod(resources: serde_json::Value) -> Pod {
        let container = json!({"name": "c", "resources": resources});
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [container]}})).unwrap()
    }

    #[test]
    fn the_silent_get_defaults_and_are_told() {
        let ranges = [range(json!({
            "type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"},
        }))];
        let mut given = pod(json!({"limits": {"memory": "2Gi"}}));
        complete(&mut given, &ranges);
        let told = &given.metadata.annotations.as_ref().unwrap()[TOLD];
        assert_eq!(told, "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
        let container = &given.spec.unwrap().containers[0];
        let limits = container.resources.as_ref().unwrap().limits.as_ref().unwrap();
        assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("1", "2Gi"));
    }

    #[test]
    fn whoever_exceeds_is_refused() {
        let ranges = [
            range(json!({"type": "Container", "max": {"cpu": "2"}})),
            range(json!({"type": "Pod", "min": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "2"}})),
        ];
        let given = pod(json!({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}));
        let why = refuse_pod(&given, &ranges).unwrap();
        assert_eq!(
            why,
            "[maximum cpu usage per Container is 2, but limit is 3, minimum memory usage per Pod is 1Gi.  No request is \
             specified, cpu max limit to request ratio per Pod is 2, but provided ratio is 3.000000]"
        );
    }
}
