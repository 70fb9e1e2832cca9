//! What CSI drivers say of their storage, and classes of what can be changed of a volume: validation, what may not change.

use super::check::{self, immutable};
use super::pod::default::canonical_amount;
use super::{Rules, labels, names};
use crate::api::field::{Errors, Path, Reason};
use crate::api::quantity::Quantity;
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, VolumeAttributesClass};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::Value;

/// How many parameters a class may have, and how large they may be together.
const PARAMETERS: (usize, usize) = (512, 256 << 10);

impl Rules for CSIStorageCapacity {
    fn default(&mut self) {
        self.capacity.iter_mut().chain(&mut self.maximum_volume_size).for_each(canonical_amount);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        labels::maybe_selector(errors, &path.child("nodeTopology"), &self.node_topology);
        let class = &self.storage_class_name;
        check::all(errors, &path.child("storageClassName"), class, names::subdomain(class));
        amount(errors, &path.child("capacity"), &self.capacity);
        amount(errors, &path.child("maximumVolumeSize"), &self.maximum_volume_size);
    }

    fn validate_update(&self, old: &CSIStorageCapacity, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("nodeTopology"), &self.node_topology, &old.node_topology);
        immutable(errors, &path.child("storageClassName"), &self.storage_class_name, &old.storage_class_name);
    }
}

fn amount(errors: &mut Errors, path: &Path, amount: &Option<Written>) {
    let Some(written) = amount else { return };
    match Quantity::parse(&written.0) {
        Err(error) => errors.invalid(path, written.0.as_str(), error.to_string()),
        Ok(given) if given.is_negative() => {
            errors.invalid(path, given.to_string(), "must be greater than or equal to 0");
        }
        Ok(_) => {}
    }
}

impl Rules for VolumeAttributesClass {
    fn validate(&self, errors: &mut Errors, path: &Path) {
        let at = path.child("driverName");
        match self.driver_name.is_empty() {
            true => errors.required(&at, ""),
            false => {
                let wrong = names::qualified(&self.driver_name.to_lowercase());
                check::all(errors, &at, &self.driver_name, wrong);
            }
        }
        let at = path.child("parameters");
        let parameters = || self.parameters.iter().flatten();
        let (most, most_bytes) = PARAMETERS;
        match parameters().count() {
            0 => errors.required(&at, "must contain at least one name/value pair"),
            count if count > most => {
                errors.add(Reason::TooLong, &at, Value::Null, format!("may not be more than {most} bytes"));
            }
            _ => {}
        }
        if parameters().any(|(name, _)| name.is_empty()) {
            errors.invalid(&at, "", "field can not be empty.");
        }
        if parameters().map(|(name, value)| name.len() + value.len()).sum::<usize>() > most_bytes {
            let why = format!("may not be more than {most_bytes} bytes");
            errors.add(Reason::TooLong, &at, Value::Null, why);
        }
    }

    fn validate_update(&self, old: &VolumeAttributesClass, errors: &mut Errors, path: &Path) {
        immutable(errors, &path.child("driverName"), &self.driver_name, &old.driver_name);
        immutable(errors, &path.child("parameters"), &self.parameters, &old.parameters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::json;

    fn told<T: Rules>(object: Value, write: Write<'_>) -> Vec<String> {
        let admitted = Of::<T>::new().admit(object, write).unwrap();
        admitted.errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn capacities_name_a_class_and_no_less_than_nothing() {
        let good = json!({"metadata": {}, "storageClassName": "fast", "capacity": "1024Mi"});
        assert_eq!(told::<CSIStorageCapacity>(good.clone(), Write::Create), Vec::<String>::new());
        let bad = json!({"metadata": {}, "storageClassName": "fast", "capacity": "-1"});
        let why = "capacity: Invalid value: \"-1\": must be greater than or equal to 0";
        assert_eq!(told::<CSIStorageCapacity>(bad, Write::Create), [why]);
        let moved = json!({"metadata": {}, "storageClassName": "slow", "capacity": "1Gi"});
        let why = "storageClassName: Invalid value: \"slow\": field is immutable";
        assert_eq!(told::<CSIStorageCapacity>(moved, Write::Update(&good)), [why]);
    }

    #[test]
    fn a_class_of_attributes_has_some_and_keeps_them() {
        let class =
            |parameters: Value| json!({"metadata": {}, "driverName": "a.b/c", "parameters": parameters});
        let none = told::<VolumeAttributesClass>(class(json!({})), Write::Create);
        assert_eq!(none, ["parameters: Required value: must contain at least one name/value pair"]);
        let (old, new) = (class(json!({"iops": "1"})), class(json!({"iops": "2"})));
        assert_eq!(told::<VolumeAttributesClass>(old.clone(), Write::Create), Vec::<String>::new());
        let changed = told::<VolumeAttributesClass>(new, Write::Update(&old));
        assert_eq!(changed, ["parameters: Invalid value: {\"iops\":\"2\"}: field is immutable"]);
    }
}
