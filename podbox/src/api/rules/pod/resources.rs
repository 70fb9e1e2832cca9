//! Resources of containers and pods: what is wrong with amounts and names.

use super::default::Amounts;
use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use crate::api::rules::check::{all, one_of, required_word};
use crate::api::rules::names;
use k8s_openapi::api::core::v1::{ContainerResizePolicy, PodResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use std::collections::BTreeSet;

/// Resources by name that Kubernetes itself counts.
const NATIVE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a resource's name is one of Kubernetes' own domain, or has none.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is counted in whole devices that are not shared.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

/// A resource's name: qualified, and if it has no domain, one of those there are.
pub fn name(errors: &mut Errors, path: &Path, name: &str, standard: fn(&str) -> bool, whose: &str) {
    let wrong = names::qualified(name);
    if !wrong.is_empty() {
        return all(errors, path, name, wrong);
    }
    if !name.contains('/') && !standard(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        errors.invalid(path, name, format!("must be a standard resource for {whose}"));
    }
}

/// An amount that is not below zero; of devices, a whole number.
pub fn amount(errors: &mut Errors, path: &Path, name: &str, amount: &Amount) {
    match Quantity::parse(&amount.0) {
        Err(error) => errors.invalid(path, amount.0.as_str(), error.to_string()),
        Ok(quantity) if quantity.is_negative() => {
            errors.invalid(path, quantity.to_string(), "must be greater than or equal to 0");
        }
        Ok(quantity) if is_extended(name) && !quantity.is_whole() => {
            errors.invalid(path, quantity.to_string(), "must be an integer");
        }
        Ok(_) => {}
    }
}

/// A container's resources. `claims` are the names of the pod's resource claims.
pub fn container(
    errors: &mut Errors,
    path: &Path,
    resources: &ResourceRequirements,
    claims: &BTreeSet<&str>,
) {
    requirements(errors, path, resources, |name| NATIVE.contains(&name) || is_hugepages(name), "containers");
    let mut seen = BTreeSet::new();
    for (index, claim) in resources.claims.iter().flatten().enumerate() {
        let list = path.child("claims");
        let at = list.index(index);
        if claim.name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if !claims.contains(claim.name.as_str()) {
            errors.not_found(&at.child("name"), claim.name.as_str());
        }
        if !seen.insert((&claim.name, &claim.request)) {
            errors.duplicate(&at, claim.name.as_str());
        }
    }
}

/// A pod's own resources: of these there are fewer.
pub fn pod(errors: &mut Errors, path: &Path, resources: &ResourceRequirements) {
    let supported = |name: &str| ["cpu", "memory"].contains(&name) || is_hugepages(name);
    for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for name in list.iter().flatten().map(|(name, _)| name).filter(|name| !supported(name)) {
            let at = path.child(field);
            errors.not_supported(&at.key(name), name.as_str(), &["cpu", "hugepages-", "memory"]);
        }
    }
    if resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(errors, path, resources, |_| true, "pods");
}

fn requirements(
    errors: &mut Errors,
    path: &Path,
    resources: &ResourceRequirements,
    standard: fn(&str) -> bool,
    whose: &str,
) {
    let none = Amounts::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    list(errors, &path.child("limits"), limits, standard, whose);
    let at = path.child("requests");
    for (key, asked) in requests {
        name(errors, &at.key(key), key, standard, whose);
        amount(errors, &at.key(key), key, asked);
        against_limit(errors, path, key, asked, limits.get(key));
    }
    let both = || limits.keys().chain(requests.keys());
    if both().any(|name| is_hugepages(name)) && !both().any(|name| name == "cpu" || name == "memory") {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn list(errors: &mut Errors, path: &Path, amounts: &Amounts, standard: fn(&str) -> bool, whose: &str) {
    for (key, given) in amounts {
        name(errors, &path.key(key), key, standard, whose);
        amount(errors, &path.key(key), key, given);
    }
}

fn against_limit(errors: &mut Errors, path: &Path, name: &str, asked: &Amount, limit: Option<&Amount>) {
    let no_overcommit = is_extended(name) || is_hugepages(name);
    let Some(limit) = limit else {
        if no_overcommit {
            errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let (Ok(asked), Ok(most)) = (Quantity::parse(&asked.0), Quantity::parse(&limit.0)) else { return };
    if no_overcommit && asked != most {
        let why = format!("must be equal to {name} limit of {most}");
        errors.invalid(&path.child("requests"), asked.to_string(), why);
    } else if asked > most {
        let why = format!("must be less than or equal to {name} limit of {most}");
        errors.invalid(&path.child("requests"), asked.to_string(), why);
    }
}

/// What happens to a container when its resources change.
pub fn resize_policy(
    errors: &mut Errors,
    path: &Path,
    policies: &[ContainerResizePolicy],
    restarts: Option<&str>,
) {
    let mut seen = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let at = path.index(index);
        if !seen.insert(policy.resource_name.as_str()) {
            errors.duplicate(&at, policy.resource_name.as_str());
        }
        one_of(errors, &at.child("resourceName"), &policy.resource_name, &["cpu", "memory"]);
        let word = policy.restart_policy.as_str();
        required_word(errors, &at.child("restartPolicy"), word, &["NotRequired", "RestartContainer"]);
        if restarts == Some("Never") && word == "RestartContainer" {
            errors.invalid(
                &at.child("restartPolicy"),
                word,
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            );
        }
    }
}

/// Claims of devices.
pub fn claims(errors: &mut Errors, path: &Path, claims: &[PodResourceClaim]) {
    let mut seen = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let at = path.index(index);
        all(errors, &at.child("name"), &claim.name, names::label(&claim.name));
        if !seen.insert(claim.name.as_str()) {
            errors.duplicate(&at.child("name"), claim.name.as_str());
        }
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => errors.invalid(
                &at,
                claim.name.as_str(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (None, None) => errors.invalid(
                &at,
                claim.name.as_str(),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
    }
}
