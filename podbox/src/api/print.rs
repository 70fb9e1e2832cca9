//! Tables: the rows and columns in which `kubectl get` shows objects, made by the server as upstream makes them.
//! Pure; the time is a parameter.
//!
//! A kind without a row in [`printer`] is shown by name and age of creation.

mod access;
mod cell;
mod cluster;
mod device;
mod network;
mod pod;
mod request;
mod storage;
mod usage;
mod workload;

#[cfg(test)]
mod tests;

use super::kinds::Kind;
use super::object;
use serde_json::{Value, json};
use std::time::SystemTime;

/// A column: name, type, format, and whether it is shown only when wide output is asked for.
pub type Column = (&'static str, &'static str, &'static str, bool);

/// How a kind is shown.
pub struct Printer {
    /// What is shown.
    pub columns: &'static [Column],
    /// An object's cells.
    pub cells: fn(&Value, SystemTime) -> Vec<Value>,
}

/// How much of the objects comes with their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// The metadata.
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    None,
}

const NAME: Column = ("Name", "string", "name", false);
const AGE: Column = ("Age", "string", "", false);

static PLAIN: Printer = Printer {
    columns: &[NAME, ("Created At", "date", "", false)],
    cells: |object, _| vec![object::name(object).into(), object::text(object, "creationTimestamp").into()],
};

/// How objects of a kind are shown.
pub fn printer(kind: &Kind) -> &'static Printer {
    let group = &*kind.group;
    match &*kind.kind {
        "Pod" => &pod::POD,
        "PodTemplate" => &workload::POD_TEMPLATE,
        "ReplicationController" | "ReplicaSet" => &workload::REPLICA_SET,
        "Deployment" => &workload::DEPLOYMENT,
        "StatefulSet" => &workload::STATEFUL_SET,
        "DaemonSet" => &workload::DAEMON_SET,
        "Job" => &workload::JOB,
        "CronJob" => &workload::CRON_JOB,
        "ControllerRevision" => &workload::CONTROLLER_REVISION,
        "PodDisruptionBudget" => &workload::DISRUPTION_BUDGET,
        "HorizontalPodAutoscaler" => &workload::AUTOSCALER,
        "Scale" => &workload::SCALE,
        "Node" => &cluster::NODE,
        "Namespace" => &cluster::NAMESPACE,
        "ConfigMap" => &cluster::CONFIG_MAP,
        "Secret" => &cluster::SECRET,
        "Event" => &cluster::EVENT,
        "ResourceQuota" => &cluster::QUOTA,
        "PriorityClass" => &cluster::PRIORITY_CLASS,
        "RuntimeClass" => &cluster::RUNTIME_CLASS,
        "Lease" => &cluster::LEASE,
        "Service" => &network::SERVICE,
        "Endpoints" => &network::ENDPOINTS,
        "EndpointSlice" => &network::ENDPOINT_SLICE,
        "Ingress" => &network::INGRESS,
        "IngressClass" => &network::INGRESS_CLASS,
        "NetworkPolicy" => &network::NETWORK_POLICY,
        "IPAddress" => &network::ADDRESS,
        "ServiceCIDR" => &network::SERVICE_RANGE,
        "DeviceClass" | "ResourceClaimTemplate" => &device::PLAIN,
        "ResourceClaim" => &device::CLAIM,
        "ResourceSlice" => &device::SLICE,
        "CertificateSigningRequest" => &request::SIGNING_REQUEST,
        "FlowSchema" => &request::FLOW_SCHEMA,
        "PriorityLevelConfiguration" => &request::PRIORITY_LEVEL,
        "ValidatingAdmissionPolicy" => &request::VALIDATING_POLICY,
        "MutatingAdmissionPolicy" => &request::MUTATING_POLICY,
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => &request::POLICY_BINDING,
        "PersistentVolume" => &storage::VOLUME,
        "PersistentVolumeClaim" => &storage::CLAIM,
        "StorageClass" => &storage::CLASS,
        "CSIDriver" => &storage::DRIVER,
        "CSINode" => &storage::NODE,
        "CSIStorageCapacity" => &storage::CAPACITY,
        "VolumeAttributesClass" => &storage::ATTRIBUTES,
        "VolumeAttachment" => &storage::ATTACHMENT,
        "ServiceAccount" => &access::SERVICE_ACCOUNT,
        "NodeMetrics" if group == "metrics.k8s.io" => &usage::NODE,
        "PodMetrics" if group == "metrics.k8s.io" => &usage::POD,
        "RoleBinding" | "ClusterRoleBinding" if group == "rbac.authorization.k8s.io" => &access::BINDING,
        _ => &PLAIN,
    }
}

/// The table's own part: kind, version and columns. Rows come from [`row`].
pub fn columns(kind: &Kind) -> Value {
    let column = |&(name, of, format, wide): &Column| {
        json!({
            "name": name,
            "type": of,
            "format": format,
            "description": describe(name, kind),
            "priority": i32::from(wide),
        })
    };
    printer(kind).columns.iter().map(column).collect()
}

fn describe(name: &str, kind: &Kind) -> String {
    match name {
        "Name" => format!("The name of the {}.", kind.singular),
        "Age" | "Created At" => "How long ago it was created.".to_owned(),
        _ => format!("{name} of the {}.", kind.singular),
    }
}

/// One object's row. The object has its kind and apiVersion.
pub fn row(kind: &Kind, object: &Value, include: Include, now: SystemTime) -> Value {
    let mut row = json!({"cells": (printer(kind).cells)(object, now)});
    if kind.kind == "Pod"
        && let Some(over) = pod::over(object)
    {
        row["conditions"] = over;
    }
    match include {
        Include::None => {}
        Include::Object => row["object"] = object.clone(),
        Include::Metadata => row["object"] = partial(object),
    }
    row
}

/// An object's metadata alone.
pub fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
