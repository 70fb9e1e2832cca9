//! What is told of bounds and promises: quotas, limit ranges, budgets for disruptions, autoscalers; and of Services, ConfigMaps
//! and Secrets, that they are there.

use super::{Name, Subject, amount, condition, some};
use crate::api::allowed::Allowed;
use crate::metrics::text::{Family, Page, Series, gauge};
use crate::store::Store;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec, MetricTarget};
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, ResourceQuota, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

const QUOTAS: Subject<ResourceQuota> = Subject {
    collection: "/resourcequotas",
    prefix: "kube_resourcequota",
    name: Name::Spaced("resourcequota"),
    families: QUOTA,
};
const RANGES: Subject<LimitRange> = Subject {
    collection: "/limitranges",
    prefix: "kube_limitrange",
    name: Name::Spaced("limitrange"),
    families: RANGE,
};
const BUDGETS: Subject<PodDisruptionBudget> = Subject {
    collection: "policy/poddisruptionbudgets",
    prefix: "kube_poddisruptionbudget",
    name: Name::Spaced("poddisruptionbudget"),
    families: BUDGET,
};
const SCALERS: Subject<HorizontalPodAutoscaler> = Subject {
    collection: "autoscaling/horizontalpodautoscalers",
    prefix: "kube_horizontalpodautoscaler",
    name: Name::Spaced("horizontalpodautoscaler"),
    families: SCALER,
};
const SERVICES: Subject<Service> = Subject {
    collection: "/services",
    prefix: "kube_service",
    name: Name::WithUid("service"),
    families: SERVICE,
};
const CONFIG_MAPS: Subject<ConfigMap> = Subject {
    collection: "/configmaps",
    prefix: "kube_configmap",
    name: Name::Spaced("configmap"),
    families: &[gauge("kube_configmap_info", "That there is a ConfigMap.", |_, series| series.info(&[]))],
};
const SECRETS: Subject<Secret> =
    Subject { collection: "/secrets", prefix: "kube_secret", name: Name::Spaced("secret"), families: SECRET };

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    QUOTAS.write(page, store, allowed);
    RANGES.write(page, store, allowed);
    BUDGETS.write(page, store, allowed);
    SCALERS.write(page, store, allowed);
    SERVICES.write(page, store, allowed);
    CONFIG_MAPS.write(page, store, allowed);
    SECRETS.write(page, store, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let [quotas, ranges, budgets] = [QUOTAS.names(), RANGES.names(), BUDGETS.names()];
    let others = [SCALERS.names(), SERVICES.names(), CONFIG_MAPS.names(), SECRETS.names()].concat();
    [quotas, ranges, budgets, others].concat()
}

const QUOTA: &[Family<ResourceQuota>] =
    &[gauge("kube_resourcequota", "What a quota allows, and what is in use.", |quota, series| {
        let Some(status) = &quota.status else { return };
        for (kind, amounts) in [("hard", &status.hard), ("used", &status.used)] {
            for (resource, value) in amounts.iter().flatten() {
                if let Some(value) = amount(value) {
                    series.with(&[("resource", resource), ("type", kind)], value);
                }
            }
        }
    })];

const RANGE: &[Family<LimitRange>] =
    &[gauge("kube_limitrange", "What a limit range allows and gives.", |range, series| {
        for limit in range.spec.iter().flat_map(|spec| &spec.limits) {
            let mut tell = |constraint: &str, amounts: &Option<BTreeMap<String, Quantity>>| {
                for (resource, value) in amounts.iter().flatten() {
                    if let Some(value) = amount(value) {
                        let labels =
                            [("resource", &**resource), ("type", &limit.type_), ("constraint", constraint)];
                        series.with(&labels, value);
                    }
                }
            };
            tell("min", &limit.min);
            tell("max", &limit.max);
            tell("default", &limit.default);
            tell("defaultRequest", &limit.default_request);
            tell("maxLimitRequestRatio", &limit.max_limit_request_ratio);
        }
    })];

/// A number of a budget's status.
macro_rules! budget {
    ($field:ident) => {
        |budget, series| some(series, budget.status.as_ref().and_then(|status| status.$field))
    };
}

const BUDGET: &[Family<PodDisruptionBudget>] = &[
    gauge("kube_poddisruptionbudget_status_current_healthy", "Pods that serve.", budget!(current_healthy)),
    gauge("kube_poddisruptionbudget_status_desired_healthy", "Pods that have to.", budget!(desired_healthy)),
    gauge(
        "kube_poddisruptionbudget_status_pod_disruptions_allowed",
        "Pods that may be made to go.",
        budget!(disruptions_allowed),
    ),
    gauge("kube_poddisruptionbudget_status_expected_pods", "Pods that it counts.", budget!(expected_pods)),
    gauge(
        "kube_poddisruptionbudget_status_observed_generation",
        "As of which generation this is told.",
        |budget, series| {
            some(series, budget.status.as_ref().and_then(|status| status.observed_generation));
        },
    ),
];

const SCALER: &[Family<HorizontalPodAutoscaler>] = &[
    gauge("kube_horizontalpodautoscaler_info", "What an autoscaler scales.", |scaler, series| {
        let target = &scaler.spec.scale_target_ref;
        series.info(&[
            ("scaletargetref_api_version", target.api_version.as_deref().unwrap_or_default()),
            ("scaletargetref_kind", &target.kind),
            ("scaletargetref_name", &target.name),
        ]);
    }),
    gauge(
        "kube_horizontalpodautoscaler_metadata_generation",
        "How often what is asked for was changed.",
        |scaler, series| {
            some(series, scaler.metadata.generation);
        },
    ),
    gauge("kube_horizontalpodautoscaler_spec_max_replicas", "Pods that there may be.", |scaler, series| {
        series.one(scaler.spec.max_replicas);
    }),
    gauge(
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "Pods that there have to be.",
        |scaler, series| {
            some(series, scaler.spec.min_replicas);
        },
    ),
    gauge("kube_horizontalpodautoscaler_spec_target_metric", "By what it scales.", |scaler, series| {
        for metric in scaler.spec.metrics.iter().flatten() {
            target(metric, series);
        }
    }),
    gauge(
        "kube_horizontalpodautoscaler_status_current_replicas",
        "Pods that there are.",
        |scaler, series| {
            some(series, scaler.status.as_ref().and_then(|status| status.current_replicas));
        },
    ),
    gauge("kube_horizontalpodautoscaler_status_desired_replicas", "Pods that it wants.", |scaler, series| {
        some(series, scaler.status.as_ref().map(|status| status.desired_replicas));
    }),
    gauge("kube_horizontalpodautoscaler_status_condition", "How it is.", |scaler, series| {
        for own in scaler.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
            condition(series, &[("condition", &own.type_)], &own.status);
        }
    }),
];

const SERVICE: &[Family<Service>] = &[
    gauge("kube_service_info", "Where a Service is.", |service, series| {
        let word = |word: Option<&String>| word.cloned().unwrap_or_default();
        let spec = service.spec.as_ref();
        series.info(&[
            ("cluster_ip", &word(spec.and_then(|spec| spec.cluster_ip.as_ref()))),
            ("external_name", &word(spec.and_then(|spec| spec.external_name.as_ref()))),
            ("external_traffic_policy", &word(spec.and_then(|spec| spec.external_traffic_policy.as_ref()))),
            ("load_balancer_ip", &word(spec.and_then(|spec| spec.load_balancer_ip.as_ref()))),
        ]);
    }),
    gauge("kube_service_spec_type", "How it is reached.", |service, series| {
        if let Some(kind) = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) {
            series.info(&[("type", kind)]);
        }
    }),
];

const SECRET: &[Family<Secret>] = &[
    gauge("kube_secret_info", "That there is a Secret.", |_, series| series.info(&[])),
    gauge("kube_secret_type", "Which kind of Secret it is.", |secret, series| {
        series.info(&[("type", secret.type_.as_deref().unwrap_or_default())]);
    }),
];

/// What a metric is to be at.
fn target(metric: &MetricSpec, series: &mut Series<'_>) {
    let resource = metric.resource.as_ref().map(|own| (own.name.as_str(), &own.target));
    let container = metric.container_resource.as_ref().map(|own| (own.name.as_str(), &own.target));
    let pods = metric.pods.as_ref().map(|own| (own.metric.name.as_str(), &own.target));
    let object = metric.object.as_ref().map(|own| (own.metric.name.as_str(), &own.target));
    let external = metric.external.as_ref().map(|own| (own.metric.name.as_str(), &own.target));
    let Some((name, target)) = resource.or(container).or(pods).or(object).or(external) else { return };
    let MetricTarget { average_utilization, average_value, value, .. } = target;
    let values = [
        ("value", value.as_ref().and_then(amount)),
        ("average", average_value.as_ref().and_then(amount)),
        ("utilization", average_utilization.map(f64::from)),
    ];
    for (kind, value) in values {
        if let Some(value) = value {
            series.with(&[("metric_name", name), ("metric_target_type", kind)], value);
        }
    }
}
