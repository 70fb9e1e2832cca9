//! What is told of nodes and namespaces.

use super::{Name, Subject, amounts, at, condition};
use crate::api::allowed::Allowed;
use crate::metrics::text::{Family, Page, gauge};
use crate::store::Store;
use k8s_openapi::api::core::v1::{Namespace, Node};

const NODES: Subject<Node> =
    Subject { collection: "/nodes", prefix: "kube_node", name: Name::Alone("node"), families: NODE };
const NAMESPACES: Subject<Namespace> = Subject {
    collection: "/namespaces",
    prefix: "kube_namespace",
    name: Name::Alone("namespace"),
    families: NAMESPACE,
};

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    NODES.write(page, store, allowed);
    NAMESPACES.write(page, store, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    [NODES.names(), NAMESPACES.names()].concat()
}

/// What the labels of a node's roles begin with.
const ROLE: &str = "node-role.kubernetes.io/";

const NODE: &[Family<Node>] = &[
    gauge("kube_node_info", "What a node is.", |node, series| {
        let of = node.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default();
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP");
        let spec = node.spec.clone().unwrap_or_default();
        series.info(&[
            ("kernel_version", &of.kernel_version),
            ("os_image", &of.os_image),
            ("container_runtime_version", &of.container_runtime_version),
            ("kubelet_version", &of.kubelet_version),
            ("kubeproxy_version", "deprecated"),
            ("provider_id", spec.provider_id.as_deref().unwrap_or_default()),
            ("pod_cidr", spec.pod_cidr.as_deref().unwrap_or_default()),
            ("system_uuid", &of.system_uuid),
            ("internal_ip", internal.map_or("", |address| &address.address)),
        ]);
    }),
    gauge("kube_node_role", "The roles that its labels give it.", |node, series| {
        for role in node.metadata.labels.iter().flatten().filter_map(|(key, _)| key.strip_prefix(ROLE)) {
            series.info(&[("role", role)]);
        }
    }),
    gauge("kube_node_deletion_timestamp", "When it is to be gone.", |node, series| {
        at(series, node.metadata.deletion_timestamp.as_ref());
    }),
    gauge("kube_node_spec_unschedulable", "Whether it takes no new pods.", |node, series| {
        series.one(node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true));
    }),
    gauge("kube_node_spec_taint", "What keeps pods from it.", |node, series| {
        for taint in node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()) {
            let value = taint.value.as_deref().unwrap_or_default();
            series.info(&[("key", &taint.key), ("value", value), ("effect", &taint.effect)]);
        }
    }),
    gauge("kube_node_status_addresses", "Where it is reached.", |node, series| {
        for address in node.status.iter().flat_map(|status| status.addresses.iter().flatten()) {
            series.info(&[("type", &address.type_), ("address", &address.address)]);
        }
    }),
    gauge("kube_node_status_capacity", "What it has.", |node, series| {
        for (resource, unit, value) in amounts(node.status.as_ref().and_then(|own| own.capacity.as_ref())) {
            series.with(&[("resource", &resource), ("unit", unit)], value);
        }
    }),
    gauge("kube_node_status_allocatable", "What of it pods may have.", |node, series| {
        for (resource, unit, value) in amounts(node.status.as_ref().and_then(|own| own.allocatable.as_ref()))
        {
            series.with(&[("resource", &resource), ("unit", unit)], value);
        }
    }),
    gauge("kube_node_status_condition", "How it is.", |node, series| {
        for own in node.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
            condition(series, &[("condition", &own.type_)], &own.status);
        }
    }),
];

const NAMESPACE: &[Family<Namespace>] = &[
    gauge("kube_namespace_status_phase", "Whether it is to go.", |namespace, series| {
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        series.state("phase", &["Active", "Terminating"], phase);
    }),
    gauge("kube_namespace_status_condition", "What holds it up.", |namespace, series| {
        for own in namespace.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
            condition(series, &[("condition", &own.type_)], &own.status);
        }
    }),
];
