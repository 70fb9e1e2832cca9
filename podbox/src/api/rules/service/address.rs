//! A Service's addresses: two spellings of the same, families, and what this cluster can give.

use super::{NONE, is_headless, kind};
use crate::api::field::{Errors, Path};
use crate::api::rules::check::{all, one_of, text};
use crate::api::rules::names;
use k8s_openapi::api::core::v1::ServiceSpec;
use std::collections::BTreeSet;

/// Completes what can be known before an address is allocated.
pub fn complete(spec: &mut ServiceSpec) {
    let single = text(&spec.cluster_ip).to_owned();
    if !single.is_empty() && spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        spec.cluster_ips = Some(vec![single]);
    }
    if kind(spec) == "ExternalName" {
        return;
    }
    // Without a selector, who gives the endpoints may give any.
    let any = is_headless(spec)
        && spec.selector.as_ref().is_none_or(|selector| selector.is_empty())
        && spec.ip_families.as_ref().is_none_or(Vec::is_empty)
        && spec.ip_family_policy.is_none();
    let (families, policy): (&[&str], _) =
        if any { (&["IPv4", "IPv6"], "RequireDualStack") } else { (&["IPv4"], "SingleStack") };
    if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
        spec.ip_families = Some(families.iter().map(|family| (*family).to_owned()).collect());
    }
    spec.ip_family_policy.get_or_insert_with(|| policy.to_owned());
}

/// What is wrong with a Service's addresses.
pub fn addresses(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let at = path.child("clusterIPs");
    if kind(spec) == "ExternalName" {
        let why = "may not be set for ExternalName services";
        if !ips.is_empty() {
            errors.forbidden(&at, why);
        }
        if spec.ip_families.as_ref().is_some_and(|families| !families.is_empty()) {
            errors.forbidden(&path.child("ipFamilies"), why);
        }
        if spec.ip_family_policy.is_some() {
            errors.forbidden(&path.child("ipFamilyPolicy"), why);
        }
    } else {
        cluster_ips(errors, &at, spec, ips);
        families(errors, path, spec);
    }
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        let list = path.child("externalIPs");
        let wrong = names::ip(ip);
        let wrong = if wrong.is_empty() { names::endpoint(ip) } else { wrong };
        all(errors, &list.index(index), ip, wrong);
    }
}

fn cluster_ips(errors: &mut Errors, path: &Path, spec: &ServiceSpec, ips: &[String]) {
    if let Some(first) = ips.first()
        && first != text(&spec.cluster_ip)
    {
        errors.invalid(path, ips.to_vec(), "first value must match `clusterIP`");
    }
    if ips.len() > 2 {
        errors.invalid(path, ips.to_vec(), "may only hold up to 2 values");
    }
    if ips.len() > 1 && ips.iter().any(|ip| ip == NONE) {
        errors.invalid(path, ips.to_vec(), "'None' must be the first and only value");
    }
    for (index, ip) in ips.iter().enumerate().filter(|(_, ip)| *ip != NONE) {
        all(errors, &path.index(index), ip, names::ip(ip));
    }
}

fn families(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let list = spec.ip_families.as_deref().unwrap_or_default();
    let policy = text(&spec.ip_family_policy);
    // Endpoints that come from elsewhere may be of any family.
    let any = is_headless(spec) && spec.selector.as_ref().is_none_or(|selector| selector.is_empty());
    let at = path.child("ipFamilyPolicy");
    match policy {
        "RequireDualStack" if !any => {
            errors.invalid(&at, policy, "this cluster is not configured for dual-stack services");
        }
        "" => {}
        policy => one_of(errors, &at, policy, &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    }
    let (at, mut seen) = (path.child("ipFamilies"), BTreeSet::new());
    for (index, family) in list.iter().enumerate() {
        let at = at.index(index);
        if family == "IPv6" && !any {
            errors.invalid(&at, family.as_str(), "not configured on this cluster");
        }
        one_of(errors, &at, family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.duplicate(&at, family.as_str());
        }
    }
}
