//! The content of a namespace that is to go: deleted kind by kind, and what is left counted.
//!
//! **Invariant:** while a pod is left, nothing but pods is deleted: what it still uses on its way out (its configuration, the
//! policies that confine it) goes after it.

use super::delete::DeleteOptions;
use super::local::Local;
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::store::Key;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What keeps a namespace until its content is gone.
const CONTENT: &str = "kubernetes";

/// Pods, as what is left is counted.
const PODS: &str = "pods.";

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

/// What is left of a namespace's content.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How many objects of each resource, `deployments.apps`.
    pub objects: BTreeMap<String, usize>,
    /// On how many objects each finalizer is.
    pub finalizers: BTreeMap<String, usize>,
}

impl Local {
    /// Asks everything in a namespace to go, and tells what has not gone yet.
    pub async fn empty(&self, namespace: &str) -> Result<Left, ApiError> {
        let kinds = self.api().kinds();
        let mut left = Left::default();
        let all = kinds.iter().filter(|kind| kind.namespaced() && kind.stored() && kind.twin.is_none());
        let (pods, others): (Vec<_>, Vec<_>) = all.partition(|kind| is_pod(kind));
        for kind in pods.into_iter().chain(others) {
            if !is_pod(kind) && left.objects.contains_key(PODS) {
                return Ok(left);
            }
            let call = self.about(kind, namespace, "");
            let list = || {
                let page = self.api().store.list(&kind.collection(), Some(namespace), None, 0, None);
                page.map_err(|error| ApiError::internal(error.to_string()))
            };
            for entry in list()?.entries {
                match self.api().delete(&call.at(&entry.key), &DeleteOptions::background()).await {
                    Err(error) if !matches!(error.code, 404 | 409) => return Err(error),
                    _ => {}
                }
            }
            for entry in list()?.entries {
                let resource = format!("{}.{}", kind.plural, kind.group);
                *left.objects.entry(resource).or_default() += 1;
                let object: Value = serde_json::from_slice(&entry.bytes).unwrap_or_default();
                for finalizer in object::finalizers(&object) {
                    *left.finalizers.entry(finalizer.to_owned()).or_default() += 1;
                }
            }
        }
        Ok(left)
    }

    /// Takes from a namespace what keeps it for its content; without finalizers of others it is gone then.
    pub async fn release(&self, namespace: &str) -> Result<(), ApiError> {
        let change = |old: &Value| {
            let mut new = old.clone();
            let finalizers = old["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
            let others: Vec<_> = finalizers.into_iter().filter(|name| name != CONTENT).collect();
            new["spec"]["finalizers"] = json!(others);
            Ok(new)
        };
        self.change("finalize", &namespace_ref(namespace), &change).await.map(drop)
    }

    /// Says in a namespace's conditions how far its end has come.
    pub async fn tell_left(&self, namespace: &str, left: &Left, now: &str) -> Result<(), ApiError> {
        let wanted = conditions(left);
        let there = self.api().store.get("/namespaces", &Key::new("", namespace));
        let there: Value =
            there.and_then(|entry| serde_json::from_slice(&entry.bytes).ok()).unwrap_or_default();
        let says = |object: &Value| {
            let said = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            wanted.iter().all(|wanted| {
                said.iter().any(|one| {
                    ["type", "status", "reason", "message"].iter().all(|field| one[field] == wanted[field])
                })
            })
        };
        if says(&there) {
            return Ok(());
        }
        let set = |object: &mut Value| {
            let mut said = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            for wanted in &wanted {
                let mut condition = wanted.clone();
                let before = said.iter().position(|one| one["type"] == wanted["type"]);
                let since =
                    before.map(|index| said[index].clone()).filter(|one| one["status"] == wanted["status"]);
                condition["lastTransitionTime"] =
                    since.map_or_else(|| now.into(), |one| one["lastTransitionTime"].clone());
                match before {
                    Some(index) => said[index] = condition,
                    None => said.push(condition),
                }
            }
            object["status"]["conditions"] = said.into();
        };
        self.update_status(&namespace_ref(namespace), set).await.map(drop)
    }
}

fn namespace_ref(name: &str) -> ObjectRef {
    ObjectRef { api_version: "v1", kind: "Namespace", namespace: String::new(), name: name.to_owned() }
}

/// Upstream's conditions of a namespace that goes, without times.
fn conditions(left: &Left) -> Vec<Value> {
    let condition = |kind: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    };
    let list = |counts: &BTreeMap<String, usize>, verb: &str| {
        let each = counts.iter().map(|(name, count)| format!("{name} {verb} {count} resource instances"));
        each.collect::<Vec<_>>().join(", ")
    };
    let fine = |kind: &str, reason: &str, message: &str| condition(kind, false, reason, message.to_owned());
    let remaining = "NamespaceContentRemaining";
    let finalizers = "NamespaceFinalizersRemaining";
    vec![
        fine(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        fine(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        match left.objects.is_empty() {
            true => fine(remaining, "ContentRemoved", "All content successfully removed"),
            false => condition(
                remaining,
                true,
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", list(&left.objects, "has")),
            ),
        },
        match left.finalizers.is_empty() {
            true => fine(finalizers, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            false => condition(
                finalizers,
                true,
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(&left.finalizers, "in")
                ),
            ),
        },
    ]
}
