//! What is told of pods; of their containers see `container`.

use super::container;
use super::{Name, Subject, amounts, at, owners};
use crate::api::allowed::Allowed;
use crate::metrics::text::{Family, Page, Series, gauge};
use crate::store::Store;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

const PODS: Subject<Pod> =
    Subject { collection: "/pods", prefix: "kube_pod", name: Name::WithUid("pod"), families: FAMILIES };

/// The families of pods' containers are written of the same objects.
const CONTAINERS: Subject<Pod> = Subject { families: container::FAMILIES, ..PODS };

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    let pods = PODS.objects(store);
    PODS.write_own(page, &pods);
    CONTAINERS.write_own(page, &pods);
    PODS.write_common(page, &pods, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    [PODS.names(), CONTAINERS.names()].concat()
}

const FAMILIES: &[Family<Pod>] = &[
    gauge("kube_pod_info", "What a pod is, where and whose.", info),
    gauge("kube_pod_ips", "A pod's addresses.", |pod, series| {
        let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        for address in addresses {
            let family = if address.ip.contains(':') { "6" } else { "4" };
            series.info(&[("ip", &address.ip), ("ip_family", family)]);
        }
    }),
    gauge("kube_pod_start_time", "When the node took it on.", |pod, series| {
        at(series, pod.status.as_ref().and_then(|status| status.start_time.as_ref()));
    }),
    gauge("kube_pod_completion_time", "When its last container ended.", |pod, series| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ends: Option<Vec<_>> = statuses
            .map(|own| {
                own.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|at| at.0.as_second())
            })
            .collect();
        if let Some(last) = ends.and_then(|ends| ends.into_iter().max()) {
            series.one(last);
        }
    }),
    gauge("kube_pod_owner", "Whose it is.", |pod, series| {
        owners(series, pod.metadata.owner_references.as_ref());
    }),
    gauge("kube_pod_deletion_timestamp", "When it is to be gone.", |pod, series| {
        at(series, pod.metadata.deletion_timestamp.as_ref());
    }),
    gauge("kube_pod_restart_policy", "What becomes of its containers when they end.", |pod, series| {
        if let Some(policy) = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            series.info(&[("type", policy)]);
        }
    }),
    gauge("kube_pod_status_phase", "Which phase it is in.", |pod, series| {
        series.state("phase", &["Pending", "Succeeded", "Failed", "Unknown", "Running"], phase(pod));
    }),
    gauge("kube_pod_status_qos_class", "Which quality of service class it has.", |pod, series| {
        let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()).unwrap_or_default();
        series.state("qos_class", &["BestEffort", "Burstable", "Guaranteed"], class);
    }),
    gauge("kube_pod_status_ready", "Whether it serves.", |pod, series| holds(pod, "Ready", series)),
    gauge("kube_pod_status_scheduled", "Whether it has a node.", |pod, series| {
        holds(pod, "PodScheduled", series);
    }),
    gauge("kube_pod_status_initialized", "Whether its init containers are through.", |pod, series| {
        holds(pod, "Initialized", series);
    }),
    gauge("kube_pod_status_ready_time", "Since when it serves.", |pod, series| since(pod, "Ready", series)),
    gauge("kube_pod_status_container_ready_time", "Since when its containers serve.", |pod, series| {
        since(pod, "ContainersReady", series);
    }),
    gauge(
        "kube_pod_status_initialized_time",
        "Since when its init containers are through.",
        |pod, series| {
            since(pod, "Initialized", series);
        },
    ),
    gauge("kube_pod_status_scheduled_time", "Since when it has a node.", |pod, series| {
        since(pod, "PodScheduled", series);
    }),
    gauge("kube_pod_status_unschedulable", "That no node takes it.", |pod, series| {
        let refused = |own: &PodCondition| own.reason.as_deref() == Some("Unschedulable");
        if standing(pod, "PodScheduled").is_some_and(|own| own.status == "False" && refused(own)) {
            series.one(true);
        }
    }),
    gauge("kube_pod_status_reason", "Why it was made to end.", |pod, series| {
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default();
        let reasons = ["Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError"];
        series.state("reason", &reasons, reason);
    }),
    gauge("kube_pod_overhead_cpu_cores", "Processors that it takes beside its containers.", |pod, series| {
        overhead(pod, "cpu", series);
    }),
    gauge("kube_pod_overhead_memory_bytes", "Memory that it takes beside its containers.", |pod, series| {
        overhead(pod, "memory", series);
    }),
    gauge("kube_pod_runtimeclass_name_info", "Its runtime class.", |pod, series| {
        if let Some(class) = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()) {
            series.info(&[("runtimeclass_name", class)]);
        }
    }),
    gauge("kube_pod_service_account", "Who it is to the API.", |pod, series| {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        series.info(&[("service_account", account.unwrap_or_default())]);
    }),
    gauge("kube_pod_scheduler", "Who is to choose its node.", |pod, series| {
        if let Some(name) = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()) {
            series.info(&[("name", name)]);
        }
    }),
    gauge("kube_pod_spec_volumes_persistentvolumeclaims_info", "Its claims.", |pod, series| {
        claims(pod, |volume, claim, _| {
            series.info(&[("volume", volume), ("persistentvolumeclaim", claim)]);
        });
    }),
    gauge(
        "kube_pod_spec_volumes_persistentvolumeclaims_readonly",
        "Whether it only reads them.",
        |pod, series| {
            claims(pod, |volume, claim, only_reads| {
                series.with(&[("volume", volume), ("persistentvolumeclaim", claim)], only_reads);
            });
        },
    ),
];

fn info(pod: &Pod, series: &mut Series<'_>) {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let owners = pod.metadata.owner_references.iter().flatten();
    let controller = owners.clone().find(|owner| owner.controller == Some(true));
    let hosts = spec.and_then(|spec| spec.host_network) == Some(true);
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    series.info(&[
        ("host_ip", &text(status.and_then(|status| status.host_ip.as_ref()))),
        ("pod_ip", &text(status.and_then(|status| status.pod_ip.as_ref()))),
        ("node", &text(spec.and_then(|spec| spec.node_name.as_ref()))),
        ("created_by_kind", controller.map_or("", |owner| &owner.kind)),
        ("created_by_name", controller.map_or("", |owner| &owner.name)),
        ("priority_class", &text(spec.and_then(|spec| spec.priority_class_name.as_ref()))),
        ("host_network", if hosts { "true" } else { "false" }),
    ]);
}

/// The phase, as upstream tells it: of a pod that its node lost, unknown.
fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    let lost = status.and_then(|status| status.reason.as_deref()) == Some("NodeLost");
    match lost && pod.metadata.deletion_timestamp.is_some() {
        true => "Unknown",
        false => status.and_then(|status| status.phase.as_deref()).unwrap_or_default(),
    }
}

fn standing<'a>(pod: &'a Pod, what: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|own| own.type_ == what)
}

fn holds(pod: &Pod, what: &str, series: &mut Series<'_>) {
    if let Some(own) = standing(pod, what) {
        for word in ["true", "false", "unknown"] {
            series.with(&[("condition", word)], own.status.eq_ignore_ascii_case(word));
        }
    }
}

fn since(pod: &Pod, what: &str, series: &mut Series<'_>) {
    at(
        series,
        standing(pod, what)
            .filter(|own| own.status == "True")
            .and_then(|own| own.last_transition_time.as_ref()),
    );
}

fn overhead(pod: &Pod, what: &str, series: &mut Series<'_>) {
    let all = pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref());
    for (_, _, value) in amounts(all).filter(|(resource, ..)| resource == what) {
        series.one(value);
    }
}

fn claims(pod: &Pod, mut tell: impl FnMut(&str, &str, bool)) {
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if let Some(claim) = &volume.persistent_volume_claim {
            tell(&volume.name, &claim.claim_name, claim.read_only == Some(true));
        }
    }
}
