//! LimitRanges and ResourceQuotas: defaults, validation. What they allow is `api::admission`'s to say.

use super::check::{IMMUTABLE, all, json};
use super::pod::default::{Amounts, canonical};
use super::pod::resources;
use super::{Rules, names};
use crate::api::field::{Errors, Path};
use crate::api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus,
};
use std::collections::BTreeSet;

impl Rules for LimitRange {
    fn default(&mut self) {
        for item in self.spec.iter_mut().flat_map(|spec| spec.limits.iter_mut()) {
            limits_default(item);
        }
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, mut seen) = (path.child("spec"), BTreeSet::new());
        for (index, item) in self.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let list = spec.child("limits");
            let at = list.index(index);
            let kind = item.type_.as_str();
            all(errors, &at.child("type"), kind, names::qualified(kind));
            if !["Container", "Pod", "PersistentVolumeClaim"].contains(&kind) && !kind.contains('/') {
                let why = "must be a standard limit type or fully qualified";
                errors.invalid(&at.child("type"), kind, why);
            }
            if !seen.insert(kind) {
                errors.duplicate(&at.child("type"), kind);
            }
            limits(errors, &at, item);
        }
    }
}

/// What a container may use at most is what it gets where it is silent; what it gets is what it asks for.
fn limits_default(item: &mut LimitRangeItem) {
    let lists = [
        &mut item.default,
        &mut item.default_request,
        &mut item.max,
        &mut item.max_limit_request_ratio,
        &mut item.min,
    ];
    lists.into_iter().flatten().for_each(canonical);
    if item.type_ != "Container" {
        return;
    }
    let fill = |list: &mut Option<Amounts>, from: &Option<Amounts>| {
        for (name, amount) in from.iter().flatten() {
            list.get_or_insert_default().entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    fill(&mut item.default, &item.max);
    fill(&mut item.default_request, &item.default);
    fill(&mut item.default_request, &item.min);
}

fn limits(errors: &mut Errors, path: &Path, item: &LimitRangeItem) {
    if item.type_ == "Pod" {
        for (field, list) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let lists = [&item.min, &item.max, &item.default, &item.default_request, &item.max_limit_request_ratio];
    let names: BTreeSet<_> = lists.into_iter().flatten().flat_map(Amounts::keys).collect();
    for name in names {
        compare(errors, path, item, name);
    }
}

fn compare(errors: &mut Errors, path: &Path, item: &LimitRangeItem, name: &str) {
    let amount = |list: &Option<Amounts>| {
        list.as_ref().and_then(|list| list.get(name)).and_then(|amount| Quantity::parse(&amount.0).ok())
    };
    let (min, max) = (amount(&item.min), amount(&item.max));
    let (default, request) = (amount(&item.default), amount(&item.default_request));
    let words = ["min value", "max value", "default request value", "default limit value", "default value"];
    let [least, most, asked, limit, given] = words;
    // Each: the field, what is shown, the smaller one and the larger one as they should be.
    let pairs = [
        ("min", min, (least, min), (most, max)),
        ("defaultRequest", request, (least, min), (asked, request)),
        ("defaultRequest", request, (asked, request), (most, max)),
        ("defaultRequest", request, (asked, request), (limit, default)),
        ("default", min, (least, min), (given, default)),
        ("default", max, (given, default), (most, max)),
    ];
    for (field, shown, (one, small), (other, large)) in pairs {
        if let (Some(small), Some(large)) = (small, large)
            && small > large
        {
            let shown = shown.unwrap_or(Quantity::ZERO).to_string();
            let why = format!("{one} {small} is greater than {other} {large}");
            errors.invalid(&path.child(field).key(name), shown, why);
        }
    }
    if let Some(ratio) = amount(&item.max_limit_request_ratio)
        && ratio.milli_value() < 1000
    {
        let at = path.child("maxLimitRequestRatio");
        errors.invalid(&at.key(name), ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
}

/// Names of what is counted, not measured; of kinds by their plural, unless it has a dot.
pub const COUNTS: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const MEASURES: &[&str] = &["cpu", "memory", "ephemeral-storage"];

fn is_quota(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    COUNTS.contains(&name)
        || MEASURES.contains(&bare)
        || bare.starts_with("hugepages-")
        || name == "requests.storage"
}

impl Rules for ResourceQuota {
    fn default(&mut self) {
        self.spec.iter_mut().filter_map(|spec| spec.hard.as_mut()).for_each(canonical);
        if let Some(status) = &mut self.status {
            [&mut status.hard, &mut status.used].into_iter().flatten().for_each(canonical);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(ResourceQuotaStatus::default());
    }

    fn prepare_update(&mut self, old: &ResourceQuota) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ResourceQuota) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let Some(spec) = &self.spec else { return };
        let path = path.child("spec");
        let at = path.child("hard");
        for (name, amount) in spec.hard.iter().flatten() {
            let at = at.key(name);
            resources::name(errors, &at, name, is_quota, "quota");
            let counted = COUNTS.contains(&name.as_str()) || name.starts_with("count/");
            match Quantity::parse(&amount.0) {
                Err(error) => errors.invalid(&at, amount.0.as_str(), error.to_string()),
                Ok(given) if given.is_negative() => {
                    errors.invalid(&at, given.to_string(), "must be greater than or equal to 0");
                }
                Ok(given) if !given.is_whole() && (counted || resources::is_extended(name)) => {
                    errors.invalid(&at, given.to_string(), "must be an integer");
                }
                Ok(_) => {}
            }
        }
        scopes(errors, &path.child("scopes"), spec);
    }

    fn validate_update(&self, old: &ResourceQuota, errors: &mut Errors, path: &Path) {
        let scopes = |quota: &ResourceQuota| -> BTreeSet<String> {
            quota.spec.iter().flat_map(|spec| spec.scopes.iter().flatten().cloned()).collect()
        };
        if scopes(self) != scopes(old) {
            let shown = json(self.spec.as_ref().and_then(|spec| spec.scopes.clone()));
            errors.invalid(&path.child("scopes"), shown, IMMUTABLE);
        }
    }
}

/// A scope can only be measured by what its pods have.
fn scopes(errors: &mut Errors, path: &Path, spec: &ResourceQuotaSpec) {
    let Some(scopes) = spec.scopes.as_ref().filter(|scopes| !scopes.is_empty()) else { return };
    let hard: Vec<_> = spec.hard.iter().flatten().map(|(name, _)| name.as_str()).collect();
    for scope in scopes {
        let fits: fn(&str) -> bool = match scope.as_str() {
            "BestEffort" => |name| name == "pods" || name == "count/pods",
            "NotBestEffort"
            | "Terminating"
            | "NotTerminating"
            | "PriorityClass"
            | "CrossNamespacePodAffinity" => |name| {
                let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits."));
                name == "pods" || ["cpu", "memory"].contains(&bare.unwrap_or(name))
            },
            "VolumeAttributesClass" => |name| name == "persistentvolumeclaims" || name == "requests.storage",
            _ => {
                errors.invalid(path, json(scopes), "unsupported scope");
                continue;
            }
        };
        if !hard.iter().all(|name| fits(name)) {
            errors.invalid(path, json(scopes), "unsupported scope applied to resource");
        }
    }
    let has = |scope: &str| scopes.iter().any(|one| one == scope);
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(one) && has(other) {
            errors.invalid(path, json(scopes), "conflicting scopes");
        }
    }
}
