//! What is told of sets of pods: Deployments and what they are made of, StatefulSets and DaemonSets.

use super::{Name, Subject, at, condition, owners, some};
use crate::api::allowed::Allowed;
use crate::metrics::text::{Family, Page, Series, gauge};
use crate::store::Store;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const DEPLOYMENTS: Subject<Deployment> = Subject {
    collection: "apps/deployments",
    prefix: "kube_deployment",
    name: Name::Spaced("deployment"),
    families: DEPLOYMENT,
};
const REPLICA_SETS: Subject<ReplicaSet> = Subject {
    collection: "apps/replicasets",
    prefix: "kube_replicaset",
    name: Name::Spaced("replicaset"),
    families: REPLICA_SET,
};
const REPLICATION_CONTROLLERS: Subject<ReplicationController> = Subject {
    collection: "/replicationcontrollers",
    prefix: "kube_replicationcontroller",
    name: Name::Spaced("replicationcontroller"),
    families: REPLICATION_CONTROLLER,
};
const STATEFUL_SETS: Subject<StatefulSet> = Subject {
    collection: "apps/statefulsets",
    prefix: "kube_statefulset",
    name: Name::Spaced("statefulset"),
    families: STATEFUL_SET,
};
const DAEMON_SETS: Subject<DaemonSet> = Subject {
    collection: "apps/daemonsets",
    prefix: "kube_daemonset",
    name: Name::Spaced("daemonset"),
    families: DAEMON_SET,
};

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    DEPLOYMENTS.write(page, store, allowed);
    REPLICA_SETS.write(page, store, allowed);
    REPLICATION_CONTROLLERS.write(page, store, allowed);
    STATEFUL_SETS.write(page, store, allowed);
    DAEMON_SETS.write(page, store, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let controllers = REPLICATION_CONTROLLERS.names();
    [DEPLOYMENTS.names(), REPLICA_SETS.names(), controllers, STATEFUL_SETS.names(), DAEMON_SETS.names()]
        .concat()
}

/// A number of an object's status; zero where it says none.
macro_rules! status {
    ($field:ident) => {
        |own, series| series.one(own.status.as_ref().map_or(0, |status| i64::from(status.$field)))
    };
    ($field:ident?) => {
        |own, series| {
            let number = own.status.as_ref().and_then(|status| status.$field);
            series.one(number.map_or(0, i64::from));
        }
    };
}

const DEPLOYMENT: &[Family<Deployment>] = &[
    gauge("kube_deployment_status_replicas", "Pods that it has.", status!(replicas?)),
    gauge("kube_deployment_status_replicas_ready", "Those that serve.", status!(ready_replicas?)),
    gauge(
        "kube_deployment_status_replicas_available",
        "Those that have for long enough.",
        status!(available_replicas?),
    ),
    gauge(
        "kube_deployment_status_replicas_unavailable",
        "Those that have not.",
        status!(unavailable_replicas?),
    ),
    gauge(
        "kube_deployment_status_replicas_updated",
        "Those of its newest template.",
        status!(updated_replicas?),
    ),
    gauge(
        "kube_deployment_status_observed_generation",
        "As of which generation this is told.",
        status!(observed_generation?),
    ),
    gauge("kube_deployment_status_condition", "How it is.", |own, series| {
        for found in own.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
            let reason = found.reason.as_deref().unwrap_or_default();
            condition(series, &[("condition", &found.type_), ("reason", reason)], &found.status);
        }
    }),
    gauge("kube_deployment_spec_replicas", "Pods that it is to have.", |own, series| {
        some(series, own.spec.as_ref().and_then(|spec| spec.replicas));
    }),
    gauge("kube_deployment_spec_paused", "Whether its template is left alone.", |own, series| {
        series.one(own.spec.as_ref().and_then(|spec| spec.paused) == Some(true));
    }),
    gauge(
        "kube_deployment_spec_strategy_rollingupdate_max_unavailable",
        "Pods that an update may lack.",
        |own, series| {
            rolling(own, series, |(unavailable, _)| unavailable, false);
        },
    ),
    gauge(
        "kube_deployment_spec_strategy_rollingupdate_max_surge",
        "Pods that an update may have more.",
        |own, series| {
            rolling(own, series, |(_, surge)| surge, true);
        },
    ),
    gauge(
        "kube_deployment_metadata_generation",
        "How often what is asked for was changed.",
        |own, series| {
            some(series, own.metadata.generation);
        },
    ),
    gauge("kube_deployment_deletion_timestamp", "When it is to be gone.", |own, series| {
        at(series, own.metadata.deletion_timestamp.as_ref());
    }),
];

const REPLICA_SET: &[Family<ReplicaSet>] = &[
    gauge("kube_replicaset_status_replicas", "Pods that it has.", status!(replicas)),
    gauge(
        "kube_replicaset_status_fully_labeled_replicas",
        "Those with all labels of its template.",
        status!(fully_labeled_replicas?),
    ),
    gauge("kube_replicaset_status_ready_replicas", "Those that serve.", status!(ready_replicas?)),
    gauge(
        "kube_replicaset_status_observed_generation",
        "As of which generation this is told.",
        status!(observed_generation?),
    ),
    gauge("kube_replicaset_spec_replicas", "Pods that it is to have.", |own, series| {
        some(series, own.spec.as_ref().and_then(|spec| spec.replicas));
    }),
    gauge(
        "kube_replicaset_metadata_generation",
        "How often what is asked for was changed.",
        |own, series| {
            some(series, own.metadata.generation);
        },
    ),
    gauge("kube_replicaset_owner", "Whose it is.", |own, series| {
        owners(series, own.metadata.owner_references.as_ref());
    }),
];

const REPLICATION_CONTROLLER: &[Family<ReplicationController>] = &[
    gauge("kube_replicationcontroller_status_replicas", "Pods that it has.", status!(replicas)),
    gauge(
        "kube_replicationcontroller_status_fully_labeled_replicas",
        "Those with all labels of its template.",
        status!(fully_labeled_replicas?),
    ),
    gauge("kube_replicationcontroller_status_ready_replicas", "Those that serve.", status!(ready_replicas?)),
    gauge(
        "kube_replicationcontroller_status_available_replicas",
        "Those that have for long enough.",
        status!(available_replicas?),
    ),
    gauge(
        "kube_replicationcontroller_status_observed_generation",
        "As of which generation this is told.",
        status!(observed_generation?),
    ),
    gauge("kube_replicationcontroller_spec_replicas", "Pods that it is to have.", |own, series| {
        some(series, own.spec.as_ref().and_then(|spec| spec.replicas));
    }),
    gauge(
        "kube_replicationcontroller_metadata_generation",
        "How often what is asked for was changed.",
        |own, series| {
            some(series, own.metadata.generation);
        },
    ),
    gauge("kube_replicationcontroller_owner", "Whose it is.", |own, series| {
        owners(series, own.metadata.owner_references.as_ref());
    }),
];

const STATEFUL_SET: &[Family<StatefulSet>] = &[
    gauge("kube_statefulset_status_replicas", "Pods that it has.", status!(replicas)),
    gauge(
        "kube_statefulset_status_replicas_available",
        "Those that serve for long enough.",
        status!(available_replicas?),
    ),
    gauge(
        "kube_statefulset_status_replicas_current",
        "Those of the template that it had.",
        status!(current_replicas?),
    ),
    gauge("kube_statefulset_status_replicas_ready", "Those that serve.", status!(ready_replicas?)),
    gauge(
        "kube_statefulset_status_replicas_updated",
        "Those of its newest template.",
        status!(updated_replicas?),
    ),
    gauge(
        "kube_statefulset_status_observed_generation",
        "As of which generation this is told.",
        status!(observed_generation?),
    ),
    gauge("kube_statefulset_status_current_revision", "The template that it had.", |own, series| {
        if let Some(revision) = own.status.as_ref().and_then(|status| status.current_revision.as_deref()) {
            series.info(&[("revision", revision)]);
        }
    }),
    gauge("kube_statefulset_status_update_revision", "The template that it is to have.", |own, series| {
        if let Some(revision) = own.status.as_ref().and_then(|status| status.update_revision.as_deref()) {
            series.info(&[("revision", revision)]);
        }
    }),
    gauge("kube_statefulset_replicas", "Pods that it is to have.", |own, series| {
        some(series, own.spec.as_ref().and_then(|spec| spec.replicas));
    }),
    gauge("kube_statefulset_ordinals_start", "The number of its first pod.", |own, series| {
        some(series, own.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start));
    }),
    gauge(
        "kube_statefulset_metadata_generation",
        "How often what is asked for was changed.",
        |own, series| {
            some(series, own.metadata.generation);
        },
    ),
    gauge(
        "kube_statefulset_persistentvolumeclaim_retention_policy",
        "What becomes of its claims.",
        |own, series| {
            let spec = own.spec.as_ref();
            if let Some(policy) = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref())
            {
                let word = |word: &Option<String>| word.clone().unwrap_or_default();
                let (deleted, scaled) = (word(&policy.when_deleted), word(&policy.when_scaled));
                series.info(&[("when_deleted", &deleted), ("when_scaled", &scaled)]);
            }
        },
    ),
];

const DAEMON_SET: &[Family<DaemonSet>] = &[
    gauge(
        "kube_daemonset_status_current_number_scheduled",
        "Nodes that have its pod, and should.",
        status!(current_number_scheduled),
    ),
    gauge(
        "kube_daemonset_status_desired_number_scheduled",
        "Nodes that should.",
        status!(desired_number_scheduled),
    ),
    gauge(
        "kube_daemonset_status_number_available",
        "Nodes where it serves for long enough.",
        status!(number_available?),
    ),
    gauge(
        "kube_daemonset_status_number_misscheduled",
        "Nodes that have it, and should not.",
        status!(number_misscheduled),
    ),
    gauge("kube_daemonset_status_number_ready", "Nodes where it serves.", status!(number_ready)),
    gauge(
        "kube_daemonset_status_number_unavailable",
        "Nodes where it should serve and does not.",
        status!(number_unavailable?),
    ),
    gauge(
        "kube_daemonset_status_updated_number_scheduled",
        "Nodes with a pod of its newest template.",
        status!(updated_number_scheduled?),
    ),
    gauge(
        "kube_daemonset_status_observed_generation",
        "As of which generation this is told.",
        status!(observed_generation?),
    ),
    gauge("kube_daemonset_metadata_generation", "How often what is asked for was changed.", |own, series| {
        some(series, own.metadata.generation);
    }),
];

/// A bound of a rolling update, in pods: of hundredths, more rather than fewer where pods are added.
fn rolling(
    own: &Deployment,
    series: &mut Series<'_>,
    which: impl Fn((Option<IntOrString>, Option<IntOrString>)) -> Option<IntOrString>,
    up: bool,
) {
    let Some(spec) = &own.spec else { return };
    let update = spec.strategy.clone().and_then(|strategy| strategy.rolling_update);
    let Some(bound) = update.and_then(|update| which((update.max_unavailable, update.max_surge))) else {
        return;
    };
    let replicas = i64::from(spec.replicas.unwrap_or(1));
    let pods = match bound {
        IntOrString::Int(pods) => Some(i64::from(pods)),
        IntOrString::String(text) => {
            let hundredths = text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok());
            hundredths.map(|part| (part * replicas + if up { 99 } else { 0 }) / 100)
        }
    };
    some(series, pods);
}
