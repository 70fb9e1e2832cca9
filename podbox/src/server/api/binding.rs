//! Binding: a pod is given to a node, once.

use super::write::{read, store_error, stored};
use super::{Api, Call};
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::store::{Expected, WriteError};
use serde_json::{Value, json};

impl Api {
    /// Gives the pod that a call is about to a node; only the one of this uid, if any is given.
    pub(super) async fn bind(&self, call: &Call, uid: &str, node: &str) -> Result<(), ApiError> {
        let (kind, place) = (&call.kind, call.key());
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
            let make = move |revision| stored(pod, revision);
            let expected = Expected::Revision(entry.revision);
            match self.store.put(&kind.collection(), &place, expected, make).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
    }
}

/// The condition that says so.
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
}
