//! ResourceQuotas: what objects count for, which quotas count them, and who exceeds one. Pure.
//!
//! What is in use is what the caller counted; nothing here trusts a quota's status. The words are upstream's.

use super::limits;
use crate::api::kinds::Kind;
use crate::api::quantity::Quantity;
use crate::api::rules::pod::status::qos;
use crate::api::rules::quota::COUNTS;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, ScopedResourceSelectorRequirement, Service,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by the names that quotas have for them.
pub type Usage = BTreeMap<String, Quantity>;

fn one() -> Quantity {
    whole(1)
}

fn whole(count: usize) -> Quantity {
    Quantity::parse(&count.to_string()).unwrap_or(Quantity::ZERO)
}

/// Whether a quota's name may be about objects of a kind.
pub fn may_count(kind: &Kind, name: &str) -> bool {
    let (group, plural) = (&*kind.group, &*kind.plural);
    let counted =
        if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    let bare = !name.starts_with("count/");
    match (group, plural) {
        _ if name == counted => true,
        ("", "pods") => bare && !name.contains("storageclass"),
        ("", "services") => name.starts_with("services"),
        ("", "persistentvolumeclaims") => bare && (name.contains("storage") || name == plural),
        ("", plural) => name == plural,
        _ => false,
    }
}

/// What an object counts for; nothing if it is over.
pub fn usage(kind: &Kind, object: &Value) -> Usage {
    let mut usage = Usage::new();
    let (group, plural) = (&*kind.group, &*kind.plural);
    let pod = (group.is_empty() && plural == "pods").then(|| Pod::deserialize(object).ok()).flatten();
    let is_over = pod.as_ref().is_some_and(is_over);
    let counted =
        if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    // One that is over still is an object.
    usage.insert(counted, one());
    if is_over {
        return usage;
    }
    if group.is_empty() && COUNTS.contains(&plural) {
        usage.insert(plural.to_owned(), one());
    }
    if let Some(pod) = &pod {
        compute(&mut usage, &limits::whole(pod, limits::requests), &limits::whole(pod, limits::limits));
    }
    match (group, plural) {
        ("", "services") => service(&mut usage, object),
        ("", "persistentvolumeclaims") => claim(&mut usage, object),
        _ => {}
    }
    usage
}

/// Whether an object of a kind counts for one of its kind and nothing else, whatever it is.
pub fn is_counted_alone(kind: &Kind) -> bool {
    !(kind.group.is_empty() && matches!(&*kind.plural, "pods" | "services" | "persistentvolumeclaims"))
}

/// What so many objects of such a kind count for.
pub fn usage_of(kind: &Kind, count: usize) -> Usage {
    usage(kind, &Value::Null).into_keys().map(|name| (name, whole(count))).collect()
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Resources, by all names that quotas have for them.
fn compute(usage: &mut Usage, requests: &Usage, limits: &Usage) {
    for (name, amount) in requests {
        let name = name.as_str();
        if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.to_owned(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
}

fn service(usage: &mut Usage, object: &Value) {
    let Ok(service) = Service::deserialize(object) else { return };
    let Some(spec) = service.spec else { return };
    let ports = spec.ports.as_ref().map_or(0, Vec::len);
    match spec.type_.as_deref() {
        Some("NodePort") => drop(usage.insert("services.nodeports".to_owned(), whole(ports))),
        Some("LoadBalancer") => {
            usage.insert("services.loadbalancers".to_owned(), one());
            if spec.allocate_load_balancer_node_ports != Some(false) {
                usage.insert("services.nodeports".to_owned(), whole(ports));
            }
        }
        _ => {}
    }
}

fn claim(usage: &mut Usage, object: &Value) {
    let Ok(claim) = PersistentVolumeClaim::deserialize(object) else { return };
    let Some(spec) = claim.spec else { return };
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let storage = requests.get("storage").and_then(|amount| Quantity::parse(&amount.0).ok());
    let class = spec.storage_class_name.filter(|class| !class.is_empty());
    if let Some(storage) = storage {
        usage.insert("requests.storage".to_owned(), storage);
    }
    if let Some(class) = class {
        let of = format!("{class}.storageclass.storage.k8s.io");
        usage.insert(format!("{of}/persistentvolumeclaims"), one());
        if let Some(storage) = storage {
            usage.insert(format!("{of}/requests.storage"), storage);
        }
    }
}

/// Whether a quota counts an object of a kind at all: not, if its scopes mean others.
pub fn counts(quota: &ResourceQuota, kind: &Kind, object: &Value) -> bool {
    let Some(spec) = &quota.spec else { return false };
    let scopes: Vec<_> = requirements(spec);
    if scopes.is_empty() {
        return true;
    }
    let is_pod = kind.group.is_empty() && kind.kind == "Pod";
    match is_pod.then(|| Pod::deserialize(object).ok()).flatten() {
        Some(pod) => scopes.iter().all(|scope| in_scope(&pod, scope)),
        None => false,
    }
}

/// Which objects a quota means, in words that are the same for those that mean the same.
pub fn scopes(quota: &ResourceQuota) -> String {
    let scopes = quota.spec.as_ref().map(requirements).unwrap_or_default();
    serde_json::to_string(&scopes).unwrap_or_default()
}

fn requirements(spec: &ResourceQuotaSpec) -> Vec<ScopedResourceSelectorRequirement> {
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".to_owned(),
        values: None,
    });
    let selected = spec.scope_selector.iter().filter_map(|selector| selector.match_expressions.clone());
    plain.chain(selected.flatten()).collect()
}

fn in_scope(pod: &Pod, scope: &ScopedResourceSelectorRequirement) -> bool {
    let spec = pod.spec.as_ref();
    let ends = spec.and_then(|spec| spec.active_deadline_seconds).is_some();
    let class = spec.and_then(|spec| spec.priority_class_name.as_deref()).unwrap_or_default();
    let among = || scope.values.iter().flatten().any(|value| value == class);
    match scope.scope_name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => qos(pod) == "BestEffort",
        "NotBestEffort" => qos(pod) != "BestEffort",
        "PriorityClass" => match scope.operator.as_str() {
            "In" => among(),
            "NotIn" => !among(),
            "Exists" => !class.is_empty(),
            _ => class.is_empty(),
        },
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let affinity = serde_json::to_value(affinity).unwrap_or_default();
    let text = |kind: &str| affinity[kind].to_string();
    ["podAffinity", "podAntiAffinity"]
        .iter()
        .any(|kind| text(kind).contains("\"namespaces\"") || text(kind).contains("\"namespaceSelector\""))
}

/// What a quota allows.
pub fn hard(quota: &ResourceQuota) -> Usage {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let each = hard.into_iter().flatten();
    each.filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(&amount.0).ok()?))).collect()
}

/// What a pod's containers must say, because a quota counts it, and do not; `None` if nothing.
pub fn unsaid(quota: &ResourceQuota, pod: &Pod) -> Option<String> {
    let Some(spec) = &pod.spec else { return None };
    let needs: BTreeSet<String> = hard(quota).into_keys().filter(|name| is_compute(name)).collect();
    let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let mut said = Usage::new();
        compute(&mut said, &limits::requests(container), &limits::limits(container));
        for name in needs.iter().filter(|name| !said.contains_key(*name)) {
            missing.entry(name.clone()).or_default().push(&container.name);
        }
    }
    let told: Vec<_> = missing.iter().map(|(name, of)| format!("{name} for: {}", of.join(","))).collect();
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    (!told.is_empty()).then(|| format!("failed quota: {name}: must specify {}", told.join("; ")))
}

fn is_compute(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    matches!(bare, "cpu" | "memory")
}

/// Why a quota does not allow `more` on top of `used`; `None` if it does.
pub fn exceeded(quota: &ResourceQuota, used: &Usage, more: &Usage) -> Option<String> {
    let hard = hard(quota);
    let zero = Quantity::ZERO;
    let over: Vec<&String> = hard
        .iter()
        .filter(|(name, most)| {
            let asked = more.get(*name).copied().unwrap_or(zero);
            asked > zero && used.get(*name).copied().unwrap_or(zero).plus(asked) > **most
        })
        .map(|(name, _)| name)
        .collect();
    let list = |of: &Usage| {
        let each = over.iter().map(|name| format!("{name}={}", of.get(*name).copied().unwrap_or(zero)));
        each.collect::<Vec<_>>().join(",")
    };
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    (!over.is_empty()).then(|| {
        let (asked, used, most) = (list(more), list(used), list(&hard));
        format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {most}")
    })
}

/// Adds what an object counts for.
pub fn add(to: &mut Usage, more: &Usage) {
    for (name, amount) in more {
        let sum = to.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        to.insert(name.clone(), sum);
    }
}

/// Takes away what an object counted for.
pub fn take(from: &mut Usage, less: &Usage) {
    for (name, amount) in less {
        if let Some(sum) = from.get_mut(name) {
            *sum = sum.minus(*amount);
        }
    }
}

/// What `new` counts for beyond what `old` does.
pub fn growth(new: &Usage, old: &Usage) -> Usage {
    let more = |name: &String, amount: &Quantity| {
        let grown = amount.minus(old.get(name).copied().unwrap_or(Quantity::ZERO));
        (grown > Quantity::ZERO).then(|| (name.clone(), grown))
    };
    new.iter().filter_map(|(name, amount)| more(name, amount)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use serde_json::json;

    fn quota(spec: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec})).unwrap()
    }

    fn pod() -> Value {
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn a_pod_counts_until_it_is_over() {
        let kinds = Kinds::new();
        let kind = kinds.kind("v1", "Pod").unwrap();
        let mut object = pod();
        let counted = usage(kind, &object);
        assert_eq!(counted["limits.memory"].to_string(), "1Gi");
        assert_eq!((counted["cpu"], counted["pods"]), (Quantity::parse("0.5").unwrap(), one()));
        object["status"] = json!({"phase": "Succeeded"});
        assert_eq!(usage(kind, &object).keys().collect::<Vec<_>>(), ["count/pods"]);
    }

    #[test]
    fn who_exceeds_is_told_by_how_much() {
        let kinds = Kinds::new();
        let more = usage(kinds.kind("v1", "Pod").unwrap(), &pod());
        let given = quota(json!({"hard": {"pods": "1", "cpu": "10"}}));
        assert_eq!(exceeded(&given, &Usage::new(), &more), None);
        let why = exceeded(&given, &more, &more).unwrap();
        assert_eq!(why, "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1");
    }

    #[test]
    fn what_is_counted_must_be_said_and_scopes_choose() {
        let kinds = Kinds::new();
        let kind = kinds.kind("v1", "Pod").unwrap();
        let typed: Pod = serde_json::from_value(pod()).unwrap();
        let given =
            quota(json!({"hard": {"requests.memory": "1Gi", "cpu": "1"}, "scopes": ["NotBestEffort"]}));
        let why = unsaid(&given, &typed);
        assert_eq!(why.as_deref(), Some("failed quota: q: must specify requests.memory for: c"));
        assert!(counts(&given, kind, &pod()));
        assert!(!counts(&quota(json!({"hard": {}, "scopes": ["BestEffort"]})), kind, &pod()));
    }
}
