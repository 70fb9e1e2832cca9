//! HorizontalPodAutoscalers, by both versions of their kind: defaults, validation, and the older version as the newer,
//! in which both are stored.
//!
//! The older version has words for one metric only, the use of processors. An object's other metrics and its behaviour
//! are carried in the annotation [`REST`], as upstream carries them in three, so that whoever writes back what it read
//! loses none.

use super::Rules;
use super::check::{json, present};
use super::pod::default::canonical_amount;
use crate::api::field::{Errors, Path};
use crate::api::object;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler as First;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::{Value, json as literal};

/// The share of what they ask for that processors are used by, unless another is given.
const PERCENT: i32 = 80;
/// What the older version has no words for.
const REST: &str = "podbox/autoscaling-v2";
const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn processors(percent: i32) -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(percent),
        ..MetricTarget::default()
    };
    let resource = Some(ResourceMetricSource { name: "cpu".to_owned(), target });
    MetricSpec { type_: "Resource".to_owned(), resource, ..MetricSpec::default() }
}

impl Rules for HorizontalPodAutoscaler {
    fn default(&mut self) {
        let spec = &mut self.spec;
        spec.min_replicas.get_or_insert(1);
        let metrics = spec.metrics.get_or_insert_default();
        if metrics.is_empty() {
            metrics.push(processors(PERCENT));
        }
        for target in metrics.iter_mut().filter_map(target) {
            [&mut target.average_value, &mut target.value].into_iter().flatten().for_each(canonical_amount);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(HorizontalPodAutoscalerStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, path) = (&self.spec, path.child("spec"));
        let least = spec.min_replicas.unwrap_or(1);
        bounds(errors, &path, least, spec.max_replicas);
        referent(errors, &path, &spec.scale_target_ref.kind, &spec.scale_target_ref.name);
        for (index, metric) in spec.metrics.iter().flatten().enumerate() {
            let list = path.child("metrics");
            let (at, kind) = (list.index(index), metric.type_.as_str());
            if kind.is_empty() {
                errors.required(&at.child("type"), "must specify a metric source type");
            } else if !METRIC_TYPES.contains(&kind) {
                errors.not_supported(&at.child("type"), kind, &METRIC_TYPES);
            }
        }
    }
}

fn target(metric: &mut MetricSpec) -> Option<&mut MetricTarget> {
    let MetricSpec { container_resource, external, object, pods, resource, .. } = metric;
    container_resource
        .as_mut()
        .map(|source| &mut source.target)
        .or_else(|| external.as_mut().map(|source| &mut source.target))
        .or_else(|| object.as_mut().map(|source| &mut source.target))
        .or_else(|| pods.as_mut().map(|source| &mut source.target))
        .or_else(|| resource.as_mut().map(|source| &mut source.target))
}

impl Rules for First {
    fn default(&mut self) {
        let spec = &mut self.spec;
        spec.min_replicas.get_or_insert(1);
        let other = self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(REST));
        if !other {
            spec.target_cpu_utilization_percentage.get_or_insert(PERCENT);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(Default::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, path) = (&self.spec, path.child("spec"));
        bounds(errors, &path, spec.min_replicas.unwrap_or(1), spec.max_replicas);
        referent(errors, &path, &spec.scale_target_ref.kind, &spec.scale_target_ref.name);
    }
}

fn bounds(errors: &mut Errors, path: &Path, least: i32, most: i32) {
    if least < 1 {
        errors.invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1");
    }
    let at = path.child("maxReplicas");
    if most < 1 {
        errors.invalid(&at, most, "must be greater than 0");
    }
    if most < least {
        errors.invalid(&at, most, "must be greater than or equal to `minReplicas`");
    }
}

fn referent(errors: &mut Errors, path: &Path, kind: &str, name: &str) {
    let target = path.child("scaleTargetRef");
    present(errors, &target.child("kind"), kind);
    present(errors, &target.child("name"), name);
}

/// Whether a metric is the one that both versions have words for.
fn is_processors(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && (resource["target"]["type"] == "Utilization"
            || resource["current"]["averageUtilization"].is_number())
}

/// An object of the older version in the newer one's words.
pub fn to_stored(mut object: Value) -> Value {
    let carried = object.pointer(&annotation()).and_then(Value::as_str);
    let mut rest: Value = carried.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    object::remove_annotation(&mut object, REST);
    let mut metrics: Vec<Value> = rest["metrics"].as_array().cloned().unwrap_or_default();
    if let Some(percent) = taken(&mut object["spec"], "targetCPUUtilizationPercentage").as_i64() {
        let percent = i32::try_from(percent).unwrap_or(PERCENT);
        metrics.insert(0, json(processors(percent)));
    }
    if !metrics.is_empty() {
        object["spec"]["metrics"] = metrics.into();
    }
    if rest["behavior"].is_object() {
        object["spec"]["behavior"] = rest["behavior"].take();
    }
    if object["status"].is_object() {
        let current = taken(&mut object["status"], "currentCPUUtilizationPercentage");
        if current.is_number() {
            let resource = literal!({"name": "cpu", "current": {"averageUtilization": current}});
            object["status"]["currentMetrics"] = literal!([{"type": "Resource", "resource": resource}]);
        }
    }
    object
}

/// A stored object in the older version's words.
pub fn from_stored(mut object: Value) -> Value {
    let metrics = taken(&mut object["spec"], "metrics");
    let behavior = taken(&mut object["spec"], "behavior");
    let (mut others, mut percent) = (Vec::new(), Value::Null);
    for metric in metrics.as_array().into_iter().flatten() {
        match percent.is_null() && is_processors(metric) {
            true => percent = metric["resource"]["target"]["averageUtilization"].clone(),
            false => others.push(metric.clone()),
        }
    }
    if !percent.is_null() {
        object["spec"]["targetCPUUtilizationPercentage"] = percent;
    }
    let mut rest = serde_json::Map::new();
    if !others.is_empty() {
        rest.insert("metrics".to_owned(), others.into());
    }
    if behavior.is_object() {
        rest.insert("behavior".to_owned(), behavior);
    }
    if !rest.is_empty() {
        object["metadata"]["annotations"][REST] = Value::Object(rest).to_string().into();
    }
    if object["status"].is_object() {
        let current = taken(&mut object["status"], "currentMetrics");
        let current = current.as_array().into_iter().flatten().find(|metric| is_processors(metric));
        if let Some(percent) = current.map(|metric| &metric["resource"]["current"]["averageUtilization"]) {
            object["status"]["currentCPUUtilizationPercentage"] = percent.clone();
        }
        drop(taken(&mut object["status"], "conditions"));
    }
    object
}

fn annotation() -> String {
    format!("/metadata/annotations/{}", REST.replace('~', "~0").replace('/', "~1"))
}

fn taken(fields: &mut Value, name: &str) -> Value {
    fields.as_object_mut().and_then(|fields| fields.remove(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_version_has_no_words_for_is_not_lost() {
        let other =
            literal!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "Value"}}});
        let stored = literal!({
            "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "metrics": [json(processors(50)), other]},
        });
        let first = from_stored(stored.clone());
        assert_eq!(first["spec"]["targetCPUUtilizationPercentage"], 50);
        assert!(first["spec"].get("metrics").is_none());
        assert_eq!(to_stored(first), stored);
    }
}
