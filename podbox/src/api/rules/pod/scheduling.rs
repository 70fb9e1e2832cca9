//! Tolerations, spread, gates, DNS and what else of a pod's spec is judged on its own.

use super::affinity::{effect, label_keys};
use crate::api::field::{Errors, Path};
use crate::api::rules::check::{all, one_of, port, required_word, text};
use crate::api::rules::{labels, names};
use k8s_openapi::api::core::v1::{
    HostAlias, PodDNSConfig, PodSchedulingGate, PodSpec, Toleration, TopologySpreadConstraint,
};
use std::collections::BTreeSet;

/// Tolerations of taints.
pub fn tolerations(errors: &mut Errors, path: &Path, tolerations: &[Toleration]) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = path.index(index);
        let (key, operator) = (text(&toleration.key), text(&toleration.operator));
        if !key.is_empty() {
            all(errors, &at.child("key"), key, names::qualified(key));
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, why);
        }
        if toleration.toleration_seconds.is_some() && text(&toleration.effect) != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), text(&toleration.effect), why);
        }
        let value = text(&toleration.value);
        match operator {
            "Equal" | "" => {
                if let Some(why) = names::label_value(value).first() {
                    errors.invalid(&at.child("operator"), value, why.as_str());
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(
                    &at.child("operator"),
                    value,
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !text(&toleration.effect).is_empty() {
            effect(errors, &at.child("effect"), text(&toleration.effect));
        }
    }
}

/// How pods are spread.
pub fn spread(errors: &mut Errors, path: &Path, constraints: &[TopologySpreadConstraint]) {
    let mut seen = BTreeSet::new();
    for (index, one) in constraints.iter().enumerate() {
        let at = path.index(index);
        let greater_than_zero = "must be greater than zero";
        if one.max_skew <= 0 {
            errors.invalid(&at.child("maxSkew"), one.max_skew, greater_than_zero);
        }
        if one.topology_key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        } else {
            let key = one.topology_key.as_str();
            all(errors, &at.child("topologyKey"), key, names::qualified(key));
        }
        let when = one.when_unsatisfiable.as_str();
        one_of(errors, &at.child("whenUnsatisfiable"), when, &["DoNotSchedule", "ScheduleAnyway"]);
        if !seen.insert((one.topology_key.as_str(), when)) {
            let pair = format!("{{{}, {when}}}", one.topology_key);
            errors.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        match one.min_domains {
            Some(least) if least <= 0 => {
                errors.invalid(&at.child("minDomains"), least, greater_than_zero);
            }
            Some(least) if when != "DoNotSchedule" => {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.invalid(&at.child("minDomains"), least, why);
            }
            _ => {}
        }
        for (field, policy) in
            [("nodeAffinityPolicy", &one.node_affinity_policy), ("nodeTaintsPolicy", &one.node_taints_policy)]
        {
            if let Some(policy) = policy {
                one_of(errors, &at.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        label_keys(errors, &at.child("matchLabelKeys"), &one.match_label_keys, one.label_selector.is_some());
        labels::maybe_selector(errors, &at.child("labelSelector"), &one.label_selector);
    }
}

/// Gates before scheduling.
pub fn gates(errors: &mut Errors, path: &Path, gates: &[PodSchedulingGate]) {
    let mut seen = BTreeSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let at = path.index(index);
        all(errors, &at.child("name"), &gate.name, names::qualified(&gate.name));
        if !seen.insert(gate.name.as_str()) {
            errors.duplicate(&at, gate.name.as_str());
        }
    }
}

/// Lines of `/etc/hosts`.
pub fn host_aliases(errors: &mut Errors, path: &Path, aliases: &[HostAlias]) {
    for (index, alias) in aliases.iter().enumerate() {
        let at = path.index(index);
        all(errors, &at.child("ip"), &alias.ip, names::ip(&alias.ip));
        for (number, name) in alias.hostnames.iter().flatten().enumerate() {
            let list = at.child("hostnames");
            all(errors, &list.index(number), name, names::subdomain(name));
        }
    }
}

/// Resolver settings of the pod's own.
pub fn dns(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let none_policy = text(&spec.dns_policy) == "None";
    let Some(config) = &spec.dns_config else {
        if none_policy {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let at = path.child("nameservers");
    if none_policy && servers.is_empty() {
        errors.required(&at, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if servers.len() > 3 {
        errors.invalid(&at, servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        all(errors, &at.index(index), server, names::ip(server));
    }
    searches(errors, &path.child("searches"), config);
    for (index, option) in config.options.iter().flatten().enumerate() {
        if text(&option.name).is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

fn searches(errors: &mut Errors, path: &Path, config: &PodDNSConfig) {
    let domains = config.searches.as_deref().unwrap_or_default();
    if domains.len() > 32 {
        errors.invalid(path, domains.to_vec(), "must not have more than 32 search paths");
    }
    if domains.join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(path, domains.to_vec(), why);
    }
    for (index, domain) in domains.iter().enumerate() {
        // One dot alone is the root; names below it may end in one, and resolvers take underscores.
        let bare = domain.strip_suffix('.').unwrap_or(domain);
        if !bare.is_empty() {
            all(errors, &path.index(index), domain, names::subdomain(&bare.replace('_', "-")));
        }
    }
}

/// What a pod runs on.
pub fn os(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let Some(os) = &spec.os else { return };
    if os.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else if !["linux", "windows"].contains(&os.name.as_str()) {
        errors.not_supported(path, os.name.as_str(), &["linux", "windows"]);
    }
}

/// What a pod does to those of lower priority.
pub fn preemption(errors: &mut Errors, path: &Path, policy: &Option<String>) {
    if let Some(policy) = policy {
        required_word(errors, path, policy, &["Never", "PreemptLowerPriority"]);
    }
}

/// A port of the host, if one is asked for.
pub fn host_port(errors: &mut Errors, path: &Path, number: Option<i32>) {
    if let Some(number) = number.filter(|number| *number != 0) {
        port(errors, path, number);
    }
}
