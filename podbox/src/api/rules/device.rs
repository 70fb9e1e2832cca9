//! Devices that pods ask for: classes of them, claims, templates of claims, and what nodes have. Defaults, validation, what may
//! not change. Expressions that choose devices are stored as they are: nothing here evaluates them.

use super::check::{all, immutable, maybe_non_negative, named, one_of, present, text};
use super::pod::default::set;
use super::{Rules, date, labels, names};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::resource::v1::{
    DeviceClass, DeviceRequest, DeviceSelector, DeviceToleration, ResourceClaim, ResourceClaimSpec,
    ResourceClaimStatus, ResourceClaimTemplate, ResourceSlice, ResourceSliceSpec,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// How many of each there may be.
const SELECTORS: usize = 32;
const REQUESTS: usize = 32;
const DEVICES: usize = 128;
/// How long a driver's name may be.
const DRIVER: usize = 63;

const EXACT: &str = "ExactCount";

impl Rules for DeviceClass {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let path = path.child("spec");
        selectors(errors, &path.child("selectors"), self.spec.selectors.as_deref());
    }
}

fn selectors(errors: &mut Errors, path: &Path, selectors: Option<&[DeviceSelector]>) {
    let selectors = selectors.unwrap_or_default();
    too_many(errors, path, selectors.len(), SELECTORS);
    for (index, selector) in selectors.iter().enumerate() {
        let at = path.index(index);
        let at = at.child("cel");
        match &selector.cel {
            None => errors.required(&at, ""),
            Some(cel) => present(errors, &at.child("expression"), &cel.expression),
        }
    }
}

fn too_many(errors: &mut Errors, path: &Path, there: usize, most: usize) {
    if there > most {
        errors.add(Reason::TooMany, path, there, format!("must have at most {most} items"));
    }
}

impl Rules for ResourceClaim {
    fn decode(mut object: Value) -> serde_json::Result<ResourceClaim> {
        let devices = object.pointer_mut("/status/devices").and_then(Value::as_array_mut);
        devices.into_iter().flatten().for_each(|device| date(device.get_mut("conditions")));
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        default_claim(&mut self.spec);
    }

    fn prepare_create(&mut self) {
        self.status = Some(ResourceClaimStatus::default());
    }

    fn prepare_update(&mut self, old: &ResourceClaim) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ResourceClaim) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        claim(errors, &path.child("spec"), &self.spec);
    }

    fn validate_update(&self, old: &ResourceClaim, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("spec"), &self.spec, &old.spec);
    }

    fn validate_status(&self, _old: &ResourceClaim, errors: &mut Errors, path: &Path) {
        let Some(status) = &self.status else { return };
        let at = path.child("status");
        let at = at.child("reservedFor");
        let mut seen = BTreeSet::new();
        for (index, user) in status.reserved_for.iter().flatten().enumerate() {
            let at = at.index(index);
            present(errors, &at.child("resource"), &user.resource);
            present(errors, &at.child("name"), &user.name);
            present(errors, &at.child("uid"), &user.uid);
            if !seen.insert(user.uid.as_str()) {
                errors.duplicate(&at.child("uid"), user.uid.as_str());
            }
        }
        if !seen.is_empty() && status.allocation.is_none() {
            errors.forbidden(&at, "may not be specified when `allocated` is not set");
        }
    }
}

impl Rules for ResourceClaimTemplate {
    fn default(&mut self) {
        default_claim(&mut self.spec.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let path = path.child("spec");
        if let Some(of_claims) = &self.spec.metadata {
            labels::labels(errors, &path.child("metadata").child("labels"), &of_claims.labels);
            labels::annotations(errors, &path.child("metadata").child("annotations"), &of_claims.annotations);
        }
        claim(errors, &path.child("spec"), &self.spec.spec);
    }

    fn validate_update(&self, old: &ResourceClaimTemplate, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("spec"), &self.spec, &old.spec);
    }
}

fn default_claim(spec: &mut ResourceClaimSpec) {
    for request in spec.devices.iter_mut().flat_map(|devices| devices.requests.iter_mut().flatten()) {
        if let Some(exactly) = &mut request.exactly {
            counted(&mut exactly.allocation_mode, &mut exactly.count);
            exactly.tolerations.iter_mut().flatten().for_each(tolerated);
        }
        for one in request.first_available.iter_mut().flatten() {
            counted(&mut one.allocation_mode, &mut one.count);
            one.tolerations.iter_mut().flatten().for_each(tolerated);
        }
    }
}

fn counted(mode: &mut Option<String>, count: &mut Option<i64>) {
    set(mode, EXACT);
    if text(mode) == EXACT {
        *count = count.filter(|count| *count != 0).or(Some(1));
    }
}

fn tolerated(toleration: &mut DeviceToleration) {
    set(&mut toleration.operator, "Equal");
}

fn claim(errors: &mut Errors, path: &Path, spec: &ResourceClaimSpec) {
    let path = path.child("devices");
    let at = path.child("requests");
    let requests = spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    let mut seen = BTreeSet::new();
    for (index, request) in requests.enumerate() {
        let at = at.index(index);
        named(errors, &at.child("name"), &request.name, names::label);
        if !request.name.is_empty() && !seen.insert(request.name.as_str()) {
            errors.duplicate(&at.child("name"), request.name.as_str());
        }
        self::request(errors, &at, request);
    }
    too_many(errors, &at, seen.len(), REQUESTS);
}

fn request(errors: &mut Errors, path: &Path, request: &DeviceRequest) {
    let any = request.first_available.as_deref().unwrap_or_default();
    match (&request.exactly, any) {
        (None, []) => {
            errors.required(path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (Some(_), [_, ..]) => {
            errors.invalid(
                path,
                Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            );
        }
        (Some(one), []) => {
            let at = path.child("exactly");
            named(errors, &at.child("deviceClassName"), &one.device_class_name, names::subdomain);
            selectors(errors, &at.child("selectors"), one.selectors.as_deref());
            amount(errors, &at, &one.allocation_mode, one.count);
        }
        (None, any) => {
            for (index, one) in any.iter().enumerate() {
                let list = path.child("firstAvailable");
                let at = list.index(index);
                named(errors, &at.child("name"), &one.name, names::label);
                named(errors, &at.child("deviceClassName"), &one.device_class_name, names::subdomain);
                selectors(errors, &at.child("selectors"), one.selectors.as_deref());
                amount(errors, &at, &one.allocation_mode, one.count);
            }
        }
    }
}

fn amount(errors: &mut Errors, path: &Path, mode: &Option<String>, count: Option<i64>) {
    let (at, count) = (path.child("count"), count.unwrap_or(0));
    match text(mode) {
        "All" if count != 0 => {
            errors.invalid(&at, count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        EXACT if count <= 0 => errors.invalid(&at, count, "must be greater than zero"),
        EXACT => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", EXACT]),
    }
}

impl Rules for ResourceSlice {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, path) = (&self.spec, path.child("spec"));
        let at = path.child("driver");
        named(errors, &at, &spec.driver, names::subdomain);
        if spec.driver.len() > DRIVER {
            errors.add(Reason::TooLong, &at, Value::Null, format!("may not be more than {DRIVER} bytes"));
        }
        let at = path.child("pool");
        present(errors, &at.child("name"), &spec.pool.name);
        for part in spec.pool.name.split('/').filter(|_| !spec.pool.name.is_empty()) {
            all(errors, &at.child("name"), &spec.pool.name, names::subdomain(part));
        }
        if spec.pool.resource_slice_count <= 0 {
            let count = spec.pool.resource_slice_count;
            errors.invalid(&at.child("resourceSliceCount"), count, "must be greater than zero");
        }
        maybe_non_negative(errors, &at.child("generation"), Some(spec.pool.generation));
        places(errors, &path, spec);
        devices(errors, &path, spec);
    }

    fn validate_update(&self, old: &ResourceSlice, errors: &mut Errors, path: &Path) {
        let (new, old, path) = (&self.spec, &old.spec, path.child("spec"));
        immutable(errors, &path.child("pool").child("name"), &new.pool.name, &old.pool.name);
        immutable(errors, &path.child("driver"), &new.driver, &old.driver);
        immutable(errors, &path.child("nodeName"), &new.node_name, &old.node_name);
    }
}

/// From where its devices can be used: told in one way.
fn places(errors: &mut Errors, path: &Path, spec: &ResourceSliceSpec) {
    let told = [
        spec.node_name.as_ref().is_some_and(|name| !name.is_empty()),
        spec.node_selector.is_some(),
        spec.all_nodes == Some(true),
        spec.per_device_node_selection == Some(true),
    ];
    let fields =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match told.into_iter().filter(|told| *told).count() {
        0 => errors.required(path, fields),
        1 => {}
        _ => errors.invalid(path, Value::Null, format!("{fields}, but multiple fields are set")),
    }
}

fn devices(errors: &mut Errors, path: &Path, spec: &ResourceSliceSpec) {
    let (at, devices) = (path.child("devices"), spec.devices.as_deref().unwrap_or_default());
    too_many(errors, &at, devices.len(), DEVICES);
    let mut seen = BTreeSet::new();
    for (index, device) in devices.iter().enumerate() {
        let at = at.index(index);
        named(errors, &at.child("name"), &device.name, names::label);
        if !seen.insert(device.name.as_str()) {
            errors.duplicate(&at.child("name"), device.name.as_str());
        }
        for (number, taint) in device.taints.iter().flatten().enumerate() {
            let list = at.child("taints");
            let at = list.index(number);
            named(errors, &at.child("key"), &taint.key, names::qualified);
            one_of(errors, &at.child("effect"), &taint.effect, &["NoExecute", "NoSchedule", "None"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::json;

    fn claim(devices: Value) -> Value {
        json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"devices": devices}})
    }

    #[track_caller]
    fn check(object: Value, write: Write<'_>, expected: &[&str]) -> Value {
        let admitted = Of::<ResourceClaim>::new().admit(object, write).unwrap();
        let told: Vec<_> = admitted.errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
        admitted.object
    }

    #[test]
    fn a_claim_asks_for_one_device_and_for_nothing_else_later() {
        let requests = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c.io"}}]});
        let made = check(claim(requests), Write::Create, &[]);
        let exactly = json!({"deviceClassName": "c.io", "allocationMode": "ExactCount", "count": 1});
        assert_eq!(made["spec"]["devices"]["requests"][0]["exactly"], exactly);
        check(made.clone(), Write::Update(&made), &[]);
        let mut other = made.clone();
        other["spec"]["devices"]["requests"][0]["exactly"]["count"] = 2.into();
        let errors = Of::<ResourceClaim>::new().admit(other, Write::Update(&made)).unwrap().errors;
        assert!(errors.0.iter().any(|error| error.field == "spec"), "{errors:?}");
        check(
            claim(json!({"requests": [{"name": "r"}]})),
            Write::Create,
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ],
        );
    }

    #[test]
    fn a_claim_is_reserved_once_it_has_its_devices() {
        let made = check(claim(json!({})), Write::Create, &[]);
        let user = json!({"resource": "pods", "name": "p", "uid": "u"});
        let mut told = made.clone();
        told["status"] = json!({"reservedFor": [user]});
        check(
            told.clone(),
            Write::Status(&made),
            &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        );
        told["status"]["allocation"] = json!({});
        told["status"]["devices"] = json!([{"driver": "d", "pool": "p", "device": "x", "conditions": [
            {"type": "Ready", "status": "True", "reason": "r", "message": ""},
        ]}]);
        check(told, Write::Status(&made), &[]);
    }
}
