//! PodDisruptionBudgets and evictions: validation, what an eviction needs.

use super::check::{at_most_all, json, one_of, share};
use super::{Rules, date_conditions, labels};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::policy::v1::{
    Eviction, PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use serde_json::Value;

impl Rules for PodDisruptionBudget {
    fn decode(mut object: Value) -> serde_json::Result<PodDisruptionBudget> {
        date_conditions(&mut object);
        serde_json::from_value(object)
    }

    /// Upstream's status always says its numbers.
    fn prepare_create(&mut self) {
        self.status = Some(PodDisruptionBudgetStatus {
            current_healthy: Some(0),
            desired_healthy: Some(0),
            disruptions_allowed: Some(0),
            expected_pods: Some(0),
            ..PodDisruptionBudgetStatus::default()
        });
    }

    fn prepare_update(&mut self, old: &PodDisruptionBudget) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &PodDisruptionBudget) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = PodDisruptionBudgetSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.add_shown(Reason::Invalid, &path, shown(spec), why);
        }
        for (field, amount) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(amount) = amount {
                share(errors, &path.child(field), amount);
                at_most_all(errors, &path.child(field), amount);
            }
        }
        labels::maybe_selector(errors, &path.child("selector"), &spec.selector);
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
            let at = path.child("unhealthyPodEvictionPolicy");
            one_of(errors, &at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }
}

/// A budget as upstream shows it: by the names of Go's fields.
fn shown(spec: &PodDisruptionBudgetSpec) -> String {
    let selector = spec.selector.as_ref();
    format!(
        "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        json(&spec.min_available),
        labels::shown(selector),
        json(&spec.max_unavailable),
        json(&spec.unhealthy_pod_eviction_policy)
    )
}

/// Its options are judged where any deletion's are.
impl Rules for Eviction {}
