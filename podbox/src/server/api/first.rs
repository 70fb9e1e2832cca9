//! What is in the store before anyone asks: namespaces, priority classes, a storage class, the range of Services' addresses, and the
//! default roles and bindings, mended if they lack something.
//!
//! All that is missing is written at once, so that it costs a commit or two; a start that finds everything writes nothing.

use super::local::Local;
use super::{Api, allocate};
use crate::api::admission;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::auth::rbac::default::{self, Mend};
use crate::clock;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Namespaces that are there from the beginning.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const ROLES: &str = "rbac.authorization.k8s.io/v1";
/// What the range is called from which Services have their addresses.
pub const SERVICE_RANGE: &str = "kubernetes";

impl Api {
    /// Puts in what every cluster has.
    pub async fn furnish(self: &Arc<Self>) -> Result<(), ApiError> {
        let local = Local::new(Arc::clone(self), "podbox");
        let mut writes = JoinSet::new();
        for expected in plain().into_iter().chain(default::objects()) {
            let (local, place) = (local.clone(), place(&expected));
            match local.get(&place) {
                Ok(_) if place.api_version != ROLES => {}
                Ok(there) => match default::mend(&there, &expected) {
                    Mend::Keep => {}
                    mend => drop(writes.spawn(async move { apply(&local, &place, &there, mend).await })),
                },
                Err(error) if error.code == 404 => {
                    writes.spawn(async move { local.ensure(expected).await });
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(done) = writes.join_next().await {
            done.map_err(|error| ApiError::internal(error.to_string()))??;
        }
        in_use(&local).await
    }
}

/// What is only to be there, however it looks.
fn plain() -> Vec<Value> {
    let namespaces = NAMESPACES
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let classes = admission::SYSTEM_CLASSES.iter().map(|(name, value)| priority_class(name, *value));
    namespaces.chain(classes).chain([storage_class(), service_range()]).collect()
}

/// The class of claims that name none: directories of the node that their first pod is given.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "local", "annotations": {admission::DEFAULT_STORAGE_CLASS: "true"}},
        "provisioner": admission::NODE_LOCAL,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// The range of Services' addresses, for who looks for it there.
fn service_range() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": SERVICE_RANGE},
        "spec": {"cidrs": [allocate::RANGE]},
    })
}

/// Says of that range that addresses are given from it.
async fn in_use(local: &Local) -> Result<(), ApiError> {
    let place = place(&service_range());
    if local.get(&place)?["status"]["conditions"][0].is_object() {
        return Ok(());
    }
    let ready = json!({
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": object::time(clock::wall()),
    });
    local.update_status(&place, |range| range["status"]["conditions"] = json!([ready])).await.map(drop)
}

/// A priority class that is always there.
fn priority_class(name: &str, value: i32) -> Value {
    let description = match name {
        "system-node-critical" => {
            "Used for system critical pods that must not be moved from their current node."
        }
        _ => {
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
        }
    };
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    })
}

async fn apply(local: &Local, place: &ObjectRef, there: &Value, mend: Mend) -> Result<(), ApiError> {
    match mend {
        Mend::Keep => Ok(()),
        Mend::Write(mended) => local.replace(place, mended).await.map(drop),
        Mend::Recreate(expected) => {
            local.remove(place, object::uid(there)).await?;
            local.ensure(expected).await
        }
    }
}

fn place(object: &Value) -> ObjectRef {
    let (api_version, kind) = match object["kind"].as_str() {
        Some("ClusterRole") => (ROLES, "ClusterRole"),
        Some("ClusterRoleBinding") => (ROLES, "ClusterRoleBinding"),
        Some("PriorityClass") => ("scheduling.k8s.io/v1", "PriorityClass"),
        Some("StorageClass") => ("storage.k8s.io/v1", "StorageClass"),
        Some("ServiceCIDR") => ("networking.k8s.io/v1", "ServiceCIDR"),
        _ => ("v1", "Namespace"),
    };
    ObjectRef { api_version, kind, namespace: String::new(), name: object::name(object).to_owned() }
}
