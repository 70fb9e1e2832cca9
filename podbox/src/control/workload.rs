//! An object that asks for pods, or for objects that do: as it is stored, and whom it claims. Pure.

use super::action::{Action, Actions, Saying, Subject, Write};
use super::claim::Claimant;
use super::meta::Owner;
use super::pods::Member;
use super::{number, sets};
use crate::api::object;
use crate::api::objects::Target;
use crate::limits;
use serde_json::{Value, json};

/// Such an object.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: Value,
    /// Its revision in the store.
    pub revision: u64,
    /// Whom it claims.
    pub claimant: Claimant,
}

/// Why no more pods are made of a number that was mistyped, perhaps.
pub const CROWDED: &str = "too many of its pods have no node yet: more are made once they have one";

/// The same, where there is no condition to say it.
pub fn crowded() -> Saying {
    Saying::warning("FailedCreate", format!("Error creating: {CROWDED}"))
}

/// How many more pods may be made beside these: so many may wait for a node.
pub fn room(active: &[&Member]) -> usize {
    let waiting = active.iter().filter(|pod| pod.place().is_none()).count();
    limits::PODS_WITHOUT_NODE.saturating_sub(waiting)
}

impl Workload {
    /// From an object as it is stored.
    pub fn new(at: Target, object: Value, revision: u64) -> Workload {
        let reference = Owner::controller(&at.api_version, &at.kind, &at.name, object::uid(&object));
        let selector = sets::selector(&object["spec"]["selector"]);
        let claimant = Claimant { reference, selector, deleting: object::deleting(&object) };
        Workload { at, object, revision, claimant }
    }

    /// What is asked for.
    pub fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        &self.claimant.reference.uid
    }

    /// How many it asks for; one, if it does not say.
    pub fn replicas(&self) -> i32 {
        self.spec()["replicas"].as_i64().map_or(1, |_| number(&self.spec()["replicas"]))
    }

    /// For how long a pod is ready before it counts as available.
    pub fn min_ready_seconds(&self) -> i32 {
        number(&self.spec()["minReadySeconds"])
    }

    /// A pod of its template that it controls, still without a name.
    pub fn pod(&self) -> Value {
        self.pod_of(&self.spec()["template"])
    }

    /// The same of another template.
    pub fn pod_of(&self, template: &Value) -> Value {
        let mut metadata = json!({
            "namespace": self.at.namespace,
            "ownerReferences": [self.claimant.reference],
        });
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template["metadata"].get(field) {
                metadata[field] = value.clone();
            }
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    }

    /// These actions, with what they say said of it.
    pub fn about(&self, actions: Actions) -> Actions {
        let about = Subject { at: self.at.clone(), uid: self.uid().to_owned() };
        Actions { about: Some(about), ..actions }
    }
}

/// A new pod, and what its owner says of it.
pub fn create(pod: Value) -> Action {
    Action {
        write: Write::Create(pod),
        done: Some(Saying::normal("SuccessfulCreate", "Created pod: ")),
        failed: Some(Saying::warning("FailedCreate", "Error creating: ")),
    }
}

/// The end of a pod, and what its owner says of it.
pub fn delete(pod: &Member) -> Action {
    Action {
        write: Write::Delete { at: pod.target(), seen: pod.seen(), propagation: None },
        done: Some(Saying::normal("SuccessfulDelete", "Deleted pod: ")),
        failed: Some(Saying::warning("FailedDelete", "Error deleting: ")),
    }
}
