//! Bindings: a pod is given to a node, once. By a pod's subresource, or as an object of its own that names the pod.

use super::query::WriteOptions;
use super::write::{prepared, read, store_error};
use super::{Api, Call, answer, unknown};
use crate::api::decode::Target;
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use crate::store::{Expected, WriteError};
use hyper::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::Arc;

impl Api {
    /// Answers a binding.
    pub(super) async fn binding(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::read(&call.query, "CreateOptions", &call.head.agent, false)?;
        let target = Target::named("", "v1", "Binding");
        let (binding, warnings) = self.decode_as(call, &target, body, &options).await?;
        let mut pod = call.clone();
        if call.kind.kind == "Binding" {
            let kinds = self.kinds();
            pod.kind = Arc::clone(kinds.resource("", "v1", "pods").ok_or_else(unknown)?);
            object::name(&binding).clone_into(&mut pod.info.name);
        } else if !object::name(&binding).is_empty() && object::name(&binding) != call.info.name {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        let node = binding["target"]["name"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Err(ApiError::internal("target.name: Required value"));
        }
        if let Some(kind) = binding["target"]["kind"].as_str().filter(|kind| !["", "Node"].contains(kind)) {
            let why =
                format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
            return Err(ApiError::internal(why));
        }
        if !options.dry_run {
            self.bind_as(&pod, &binding, node).await?;
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        answer::plain(201, &status, call.media, &warnings)
    }

    /// Gives the pod that a call is about to a node; only the one of this uid, if any is given.
    pub(super) async fn bind(&self, call: &Call, uid: &str, node: &str) -> Result<(), ApiError> {
        self.bind_as(call, &json!({"metadata": {"uid": uid}}), node).await
    }

    /// The same; the pod gets what the binding says of it, too.
    async fn bind_as(&self, call: &Call, binding: &Value, node: &str) -> Result<(), ApiError> {
        let (kind, place, uid) = (&call.kind, call.key(), object::uid(binding));
        loop {
            let entry = self.find(call)?;
            let mut pod = read(&entry)?;
            let refuse = |why: &str| Err(ApiError::conflict("", "pods/binding", place.name(), why));
            if !uid.is_empty() && uid != object::uid(&pod) {
                return refuse(&format!("the UID in the precondition ({uid}) is not the pod's"));
            }
            if object::deleting(&pod) {
                return refuse(&format!(
                    "pod {} is being deleted, cannot be assigned to a host",
                    place.name()
                ));
            }
            let bound = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            if !bound.is_empty() {
                return refuse(&format!("pod {} is already assigned to node {bound:?}", place.name()));
            }
            if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
                return refuse(&format!("pod {} has non-empty .spec.schedulingGates", place.name()));
            }
            pod["spec"]["nodeName"] = node.into();
            scheduled(&mut pod);
            hand_over(binding, &mut pod);
            let make = prepared(pod);
            let expected = Expected::Revision(entry.revision);
            match self.store.put(&kind.collection(), &place, expected, make).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
    }
}

/// Who binds may say more of the pod, such as where the node is: its annotations and labels count over the pod's own.
fn hand_over(binding: &Value, pod: &mut Value) {
    for field in ["annotations", "labels"] {
        for (name, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][name.as_str()] = value.clone();
        }
    }
}

/// The condition that says so; no node need be kept for it any more.
fn scheduled(pod: &mut Value) {
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": object::time(clock::wall()),
    });
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let others = conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled");
    pod["status"]["conditions"] = std::iter::once(condition).chain(others).collect();
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
}
