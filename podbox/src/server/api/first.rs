//! What is in the store before anyone asks: namespaces, priority classes, and the default roles and bindings, mended if they lack something.
//!
//! All that is missing is written at once, so that it costs a commit or two; a start that finds everything writes nothing.

use super::Api;
use super::local::Local;
use crate::api::admission;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::auth::rbac::default::{self, Mend};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Namespaces that are there from the beginning.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const ROLES: &str = "rbac.authorization.k8s.io/v1";

impl Api {
    /// Puts in what every cluster has.
    pub async fn furnish(self: &Arc<Self>) -> Result<(), ApiError> {
        let local = Local::new(Arc::clone(self), "podbox");
        let mut writes = JoinSet::new();
        for name in NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let local = local.clone();
            if local.get(&ObjectRef { api_version: "v1", kind: "Namespace", ..named(&namespace) }).is_err() {
                writes.spawn(async move { local.ensure(namespace).await });
            }
        }
        for (name, value) in admission::SYSTEM_CLASSES {
            let place = ObjectRef {
                api_version: "scheduling.k8s.io/v1",
                kind: "PriorityClass",
                namespace: String::new(),
                name: (*name).to_owned(),
            };
            if local.get(&place).is_err() {
                let local = local.clone();
                let class = priority_class(name, *value);
                writes.spawn(async move { local.ensure(class).await });
            }
        }
        for expected in default::objects() {
            let local = local.clone();
            let place = role(&expected);
            match local.get(&place) {
                Ok(there) => match default::mend(&there, &expected) {
                    Mend::Keep => {}
                    mend => drop(writes.spawn(async move { apply(&local, &place, &there, mend).await })),
                },
                Err(error) if error.code == 404 => {
                    drop(writes.spawn(async move { local.ensure(expected).await }))
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(done) = writes.join_next().await {
            done.map_err(|error| ApiError::internal(error.to_string()))??;
        }
        Ok(())
    }
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

fn named(object: &Value) -> ObjectRef {
    let name = object::name(object).to_owned();
    ObjectRef { api_version: "", kind: "", namespace: String::new(), name }
}

fn role(object: &Value) -> ObjectRef {
    let kind = if object["kind"] == "ClusterRole" { "ClusterRole" } else { "ClusterRoleBinding" };
    ObjectRef { api_version: ROLES, kind, ..named(object) }
}
