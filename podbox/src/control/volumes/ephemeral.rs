//! The claims that pods bring along, one for each generic ephemeral volume: made when they are missing, and gone with their pod. Pure.

use super::shelf::Shelf;
use super::users::User;
use crate::api::objects::Target;
use crate::control::action::{Action, Actions, Saying, Subject, Write};
use crate::control::key::Key;
use crate::control::meta::Owner;
use serde_json::{Value, json};

/// What is to be made for a pod, and what is said.
pub fn reconcile(key: &Key, pod: &User, shelf: &Shelf) -> Actions {
    let (namespace, name) = (key.namespace().to_owned(), key.name().to_owned());
    let at = Target { api_version: "v1".into(), kind: "Pod".into(), namespace, name };
    let mut all = Actions { about: Some(Subject { at, uid: pod.uid.clone() }), ..Actions::none() };
    if pod.going {
        return Actions::none();
    }
    let own = pod.claims.iter().filter_map(|(name, own)| Some((name, own.as_ref()?)));
    for (name, (volume, template)) in own {
        let failed = format!("ephemeral volume {volume}: ");
        match shelf.claim(&Key::new(key.namespace(), name)) {
            Some(claim) if claim.controller.as_ref() == Some(&pod.uid) => {}
            Some(_) => {
                let why = format!("PVC {key}-{volume} was not created for pod {key} (pod is not owner)");
                all.said.push(Saying::warning("FailedBinding", failed + &why));
            }
            None => all.actions.push(Action {
                write: Write::Create(claim(key, name, &pod.uid, template)),
                done: None,
                failed: Some(Saying::warning("FailedBinding", failed)),
            }),
        }
    }
    all
}

fn claim(pod: &Key, name: &str, uid: &str, template: &Value) -> Value {
    let mut metadata = json!({
        "namespace": pod.namespace(),
        "name": name,
        "ownerReferences": [Owner::controller("v1", "Pod", pod.name(), uid)],
    });
    for field in ["labels", "annotations"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
}
