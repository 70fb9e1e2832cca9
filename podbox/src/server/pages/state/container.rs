//! What is told of pods' containers, and apart of their init containers, as upstream does. Ephemeral ones are not told.

use super::amounts;
use crate::metrics::text::{Family, Series, counter, gauge};
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

pub(super) const FAMILIES: &[Family<Pod>] = &[
    gauge("kube_pod_container_info", "What a container is made from.", |pod, series| info(pod, MAIN, series)),
    gauge("kube_pod_container_status_waiting", "Whether it waits.", |pod, series| {
        states(pod, MAIN, series, |state| state.waiting.is_some());
    }),
    gauge("kube_pod_container_status_waiting_reason", "Why it waits.", |pod, series| {
        reasons(pod, MAIN, series, |own| waits(own.state.as_ref()));
    }),
    gauge("kube_pod_container_status_running", "Whether it runs.", |pod, series| {
        states(pod, MAIN, series, |state| state.running.is_some());
    }),
    gauge("kube_pod_container_state_started", "Since when it runs.", |pod, series| {
        each(pod, MAIN, |own| {
            let state = own.state.as_ref();
            let running = state.and_then(|state| state.running.as_ref()?.started_at.as_ref());
            let ended = || state.and_then(|state| state.terminated.as_ref()?.started_at.as_ref());
            if let Some(at) = running.or_else(ended) {
                series.with(&[("container", &own.name)], at.0.as_second());
            }
        });
    }),
    gauge("kube_pod_container_status_terminated", "Whether it has ended.", |pod, series| {
        states(pod, MAIN, series, |state| state.terminated.is_some());
    }),
    gauge("kube_pod_container_status_terminated_reason", "Why it has ended.", |pod, series| {
        reasons(pod, MAIN, series, |own| ended(own.state.as_ref())?.reason.as_deref());
    }),
    gauge(
        "kube_pod_container_status_last_terminated_reason",
        "Why its run before this one ended.",
        |pod, series| {
            reasons(pod, MAIN, series, |own| ended(own.last_state.as_ref())?.reason.as_deref());
        },
    ),
    gauge("kube_pod_container_status_last_terminated_exitcode", "How that run ended.", |pod, series| {
        each(pod, MAIN, |own| {
            if let Some(end) = ended(own.last_state.as_ref()) {
                series.with(&[("container", &own.name)], end.exit_code);
            }
        });
    }),
    gauge("kube_pod_container_status_last_terminated_timestamp", "When that run ended.", |pod, series| {
        each(pod, MAIN, |own| {
            if let Some(at) = ended(own.last_state.as_ref()).and_then(|end| end.finished_at.as_ref()) {
                series.with(&[("container", &own.name)], at.0.as_second());
            }
        });
    }),
    gauge("kube_pod_container_status_ready", "Whether it serves.", |pod, series| {
        each(pod, MAIN, |own| series.with(&[("container", &own.name)], own.ready));
    }),
    counter("kube_pod_container_status_restarts_total", "How often it was started again.", |pod, series| {
        each(pod, MAIN, |own| series.with(&[("container", &own.name)], own.restart_count));
    }),
    gauge("kube_pod_container_resource_requests", "What it requests of its node.", |pod, series| {
        shares(pod, MAIN, series, |own| own.resources.as_ref()?.requests.as_ref());
    }),
    gauge("kube_pod_container_resource_limits", "What it may have of its node at most.", |pod, series| {
        shares(pod, MAIN, series, |own| own.resources.as_ref()?.limits.as_ref());
    }),
    gauge("kube_pod_init_container_info", "What an init container is made from.", |pod, series| {
        info(pod, INIT, series);
    }),
    gauge("kube_pod_init_container_status_waiting", "Whether it waits.", |pod, series| {
        states(pod, INIT, series, |state| state.waiting.is_some());
    }),
    gauge("kube_pod_init_container_status_waiting_reason", "Why it waits.", |pod, series| {
        reasons(pod, INIT, series, |own| waits(own.state.as_ref()));
    }),
    gauge("kube_pod_init_container_status_running", "Whether it runs.", |pod, series| {
        states(pod, INIT, series, |state| state.running.is_some());
    }),
    gauge("kube_pod_init_container_status_terminated", "Whether it has ended.", |pod, series| {
        states(pod, INIT, series, |state| state.terminated.is_some());
    }),
    gauge("kube_pod_init_container_status_terminated_reason", "Why it has ended.", |pod, series| {
        reasons(pod, INIT, series, |own| ended(own.state.as_ref())?.reason.as_deref());
    }),
    gauge(
        "kube_pod_init_container_status_last_terminated_reason",
        "Why its run before ended.",
        |pod, series| {
            reasons(pod, INIT, series, |own| ended(own.last_state.as_ref())?.reason.as_deref());
        },
    ),
    gauge("kube_pod_init_container_status_ready", "Whether it is through, or serves.", |pod, series| {
        each(pod, INIT, |own| series.with(&[("container", &own.name)], own.ready));
    }),
    counter(
        "kube_pod_init_container_status_restarts_total",
        "How often it was started again.",
        |pod, series| {
            each(pod, INIT, |own| series.with(&[("container", &own.name)], own.restart_count));
        },
    ),
    gauge("kube_pod_init_container_resource_requests", "What it requests of its node.", |pod, series| {
        shares(pod, INIT, series, |own| own.resources.as_ref()?.requests.as_ref());
    }),
    gauge(
        "kube_pod_init_container_resource_limits",
        "What it may have of its node at most.",
        |pod, series| {
            shares(pod, INIT, series, |own| own.resources.as_ref()?.limits.as_ref());
        },
    ),
];

/// Whether init containers are meant.
type Init = bool;
const INIT: Init = true;
const MAIN: Init = false;

fn each(pod: &Pod, init: Init, tell: impl FnMut(&ContainerStatus)) {
    let Some(status) = &pod.status else { return };
    let all = if init { &status.init_container_statuses } else { &status.container_statuses };
    all.iter().flatten().for_each(tell);
}

fn info(pod: &Pod, init: Init, series: &mut Series<'_>) {
    let asked: BTreeMap<_, _> =
        specs(pod, init).iter().map(|own| (own.name.as_str(), own.image.as_deref())).collect();
    each(pod, init, |own| {
        series.info(&[
            ("container", &own.name),
            ("image_spec", asked.get(own.name.as_str()).copied().flatten().unwrap_or_default()),
            ("image", &own.image),
            ("image_id", &own.image_id),
            ("container_id", own.container_id.as_deref().unwrap_or_default()),
        ]);
    });
}

fn states(pod: &Pod, init: Init, series: &mut Series<'_>, is: impl Fn(&ContainerState) -> bool) {
    each(pod, init, |own| {
        series.with(&[("container", &own.name)], own.state.as_ref().is_some_and(&is));
    });
}

fn reasons(pod: &Pod, init: Init, series: &mut Series<'_>, why: impl Fn(&ContainerStatus) -> Option<&str>) {
    each(pod, init, |own| {
        if let Some(reason) = why(own) {
            series.info(&[("container", &own.name), ("reason", reason)]);
        }
    });
}

fn waits(state: Option<&ContainerState>) -> Option<&str> {
    state?.waiting.as_ref()?.reason.as_deref()
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state?.terminated.as_ref()
}

fn specs(pod: &Pod, init: Init) -> &[Container] {
    let Some(spec) = &pod.spec else { return &[] };
    match init {
        true => spec.init_containers.as_deref().unwrap_or_default(),
        false => &spec.containers,
    }
}

fn shares(
    pod: &Pod,
    init: Init,
    series: &mut Series<'_>,
    of: impl Fn(&Container) -> Option<&BTreeMap<String, Quantity>>,
) {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    for own in specs(pod, init) {
        for (resource, unit, value) in amounts(of(own)) {
            let labels = [("container", &*own.name), ("node", node), ("resource", &resource), ("unit", unit)];
            series.with(&labels, value);
        }
    }
}
