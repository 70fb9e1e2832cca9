//! ServiceCIDRs and IPAddresses: from which ranges Services have their addresses, and who has which. Defaults, validation,
//! what may not change.

use super::check::{IMMUTABLE, all, immutable, json, maybe, named, text};
use super::{Rules, date_conditions, names};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::networking::v1::{IPAddress, ParentReference, ServiceCIDR, ServiceCIDRStatus};
use serde_json::Value;

impl Rules for IPAddress {
    /// Go's texts are never absent, so an empty one is none.
    fn default(&mut self) {
        let parent = &mut self.spec.parent_ref;
        [&mut parent.group, &mut parent.namespace]
            .into_iter()
            .for_each(|word| *word = word.take().filter(|word| !word.is_empty()));
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, parent) = (path.child("spec"), &self.spec.parent_ref);
        let at = spec.child("parentRef");
        if *parent == ParentReference::default() {
            return errors.required(&at, "");
        }
        maybe(errors, &at.child("group"), &parent.group, names::subdomain);
        named(errors, &at.child("resource"), &parent.resource, names::path_segment);
        named(errors, &at.child("name"), &parent.name, names::path_segment);
        maybe(errors, &at.child("namespace"), &parent.namespace, names::path_segment);
    }

    fn validate_update(&self, old: &IPAddress, errors: &mut Errors, path: &Path) {
        let spec = path.child("spec");
        immutable(errors, &spec.child("parentRef"), &self.spec.parent_ref, &old.spec.parent_ref);
    }
}

impl Rules for ServiceCIDR {
    fn decode(mut object: Value) -> serde_json::Result<ServiceCIDR> {
        date_conditions(&mut object);
        serde_json::from_value(object)
    }

    fn prepare_create(&mut self) {
        self.status = Some(ServiceCIDRStatus::default());
    }

    fn prepare_update(&mut self, old: &ServiceCIDR) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ServiceCIDR) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, ranges) = (path.child("spec"), ranges(self));
        let at = spec.child("cidrs");
        match ranges {
            [] => errors.required(&at, "at least one CIDR required"),
            [_] => {}
            [one, other] if is_v6(one) != is_v6(other) => {}
            [_, _] => {
                let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
                errors.invalid(&at, json(&self.spec), why);
            }
            _ => errors.invalid(&at, json(&self.spec), "may only hold up to 2 values"),
        }
        for (index, range) in ranges.iter().enumerate() {
            all(errors, &at.index(index), range, names::cidr(range));
        }
    }

    fn validate_update(&self, old: &ServiceCIDR, errors: &mut Errors, path: &Path) {
        let (spec, new, old) = (path.child("spec"), ranges(self), ranges(old));
        let at = spec.child("cidrs");
        // One of the other family may be added.
        if new.len() != old.len() && (old.len(), new.len()) != (1, 2) {
            return errors.invalid(&at, new.to_vec(), IMMUTABLE);
        }
        for (index, (new, _)) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            errors.invalid(&at.index(index), text(&Some(new.clone())), IMMUTABLE);
        }
    }
}

fn ranges(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default()
}

fn is_v6(range: &str) -> bool {
    range.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::json;

    #[track_caller]
    fn check(ranges: Value, write: Option<Value>, expected: &[&str]) {
        let cidr = |ranges: Value| json!({"metadata": {"name": "c"}, "spec": {"cidrs": ranges}});
        let old = write.map(cidr);
        let write = old.as_ref().map_or(Write::Create, Write::Update);
        let errors = Of::<ServiceCIDR>::new().admit(cidr(ranges), write).unwrap().errors;
        let told: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_range_of_the_other_family_may_be_added_and_none_changed() {
        let (v4, v6) = ("10.0.0.0/16", "2001:db8::/64");
        check(json!([v4]), None, &[]);
        check(json!([]), None, &["spec.cidrs: Required value: at least one CIDR required"]);
        check(json!([v4, v6]), Some(json!([v4])), &[]);
        check(
            json!([v6]),
            Some(json!([v4])),
            &["spec.cidrs[0]: Invalid value: \"2001:db8::/64\": field is immutable"],
        );
        check(
            json!([v4]),
            Some(json!([v4, v6])),
            &["spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"],
        );
    }
}
