//! The claims of a StatefulSet's pods: one for each template and ordinal, made before the pod, kept after it. Pure.
//!
//! Whether they go with the pod that is scaled away, or with the set, is told to the garbage collector by their owners; nothing
//! is deleted here. Claims that were given to somebody else are left alone. What a claim asks for is nobody's to change here.

use super::StatefulSet;
use super::identity;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Action, Edit, Saying, Write};
use crate::control::meta::{Meta, Owner};
use crate::control::pods::Member;
use serde_json::{Value, json};

/// What there is of the claims that a pod needs.
#[derive(Debug, Default)]
pub struct Needs {
    /// Those that are to be made.
    pub missing: Vec<Action>,
    /// One that is to go, and has to be gone first.
    pub going: Option<String>,
    /// Whether one is left of an earlier pod of this name, and goes with it.
    pub stale: bool,
}

fn templates(set: &StatefulSet) -> impl Iterator<Item = &Value> {
    set.workload.spec()["volumeClaimTemplates"].as_array().into_iter().flatten()
}

fn name(set: &StatefulSet, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", object::name(template), set.name())
}

/// The sets and ordinals that a claim of this name may be of: where a name is parted is not to be seen.
pub fn owners(claim: &str) -> impl Iterator<Item = &str> {
    let set = identity::parent(claim).map_or("", |(rest, _)| rest);
    set.match_indices('-').map(|(at, _)| &set[at + 1..])
}

/// A pod's volumes of the templates' names are its claims.
pub fn mount(set: &StatefulSet, ordinal: i64, pod: &mut Value) {
    let mut volumes = Vec::new();
    for template in templates(set) {
        let claim = json!({"claimName": name(set, template, ordinal)});
        volumes.push(json!({"name": object::name(template), "persistentVolumeClaim": claim}));
    }
    if volumes.is_empty() {
        return;
    }
    let of_template = |volume: &Value| templates(set).any(|claim| volume["name"] == object::name(claim));
    let others = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.extend(others.filter(|volume| !of_template(volume)).cloned());
    pod["spec"]["volumes"] = volumes.into();
}

/// What the claims of a pod, that is or is to be, need first.
pub fn needs(set: &StatefulSet, ordinal: i64, claim: &dyn Fn(&str) -> Option<Value>) -> Needs {
    let mut needs = Needs::default();
    for template in templates(set) {
        let name = name(set, template, ordinal);
        match claim(&name) {
            None => needs.missing.push(create(set, template, name, ordinal)),
            Some(claim) if object::deleting(&claim) => needs.going = Some(name),
            Some(claim) => needs.stale |= policy(set).0 && is_of_pod(set, ordinal, &Meta::of(&claim)),
        }
    }
    needs
}

fn is_of_pod(set: &StatefulSet, ordinal: i64, claim: &Meta) -> bool {
    let pod = identity::name(set, ordinal);
    claim.owner_references.iter().any(|owner| owner.kind == "Pod" && owner.name == pod)
}

fn create(set: &StatefulSet, template: &Value, name: String, ordinal: i64) -> Action {
    let mut metadata = json!({"name": name, "namespace": set.workload.at.namespace});
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    for (label, value) in set.workload.spec()["selector"]["matchLabels"].as_object().into_iter().flatten() {
        metadata["labels"][label] = value.clone();
    }
    if policy(set).1 {
        let mut owners = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.push(json!(set.workload.claimant.reference));
        metadata["ownerReferences"] = owners.into();
    }
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"],
    });
    let (pod, set) = (identity::name(set, ordinal), set.name());
    let done = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
    let failed = format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: ");
    Action {
        write: Write::Create(claim),
        done: Some(Saying::normal("SuccessfulCreate", done)),
        failed: Some(Saying::warning("FailedCreate", failed)),
    }
}

/// Whether claims go with pods that are scaled away, and whether with the set.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |word: Option<&String>| word.is_some_and(|word| word == "Delete");
    let scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    (scaled, deletes(policy.and_then(|policy| policy.when_deleted.as_ref())))
}

/// The claims of a pod get the owner with whom they are to go, or lose one with whom they are not.
pub fn keep(
    set: &StatefulSet,
    pod: &Member,
    ordinal: i64,
    claim: &dyn Fn(&str) -> Option<Value>,
) -> Vec<Action> {
    let of_pod = Owner::controller("v1", "Pod", pod.key.name(), &pod.uid);
    let wanted = wanted(set, ordinal, &of_pod);
    let mut actions = Vec::new();
    for template in templates(set) {
        let name = name(set, template, ordinal);
        let Some(claim) = claim(&name) else { continue };
        let meta = Meta::of(&claim);
        let own = [&set.workload.claimant.reference, &of_pod];
        let Some(edit) = owned(&meta.owner_references, own, wanted) else { continue };
        let namespace = set.workload.at.namespace.clone();
        let at = Target { api_version: "v1".into(), kind: "PersistentVolumeClaim".into(), namespace, name };
        let seen = Seen { uid: meta.uid, revision: None };
        let (_, failed) = identity::said(set, "update", pod.key.name());
        actions.push(Action { write: Write::Edit { at, part: "", seen, edit }, done: None, failed });
    }
    actions
}

/// With whom the claims of a pod are to go.
fn wanted<'a>(set: &'a StatefulSet, ordinal: i64, pod: &'a Owner) -> Option<&'a Owner> {
    let (scaled, deleted) = policy(set);
    match set.ordinals().contains(&ordinal) {
        false if scaled => Some(pod),
        // One that stays when it is scaled away goes with the set all the same; one that goes with its pod does not wait for it.
        _ if deleted => Some(&set.workload.claimant.reference),
        _ => None,
    }
}

/// The change by which, of the set and the pod, only `wanted` owns a claim; none if it is so, or is not to be touched.
fn owned(owners: &[Owner], own: [&Owner; 2], wanted: Option<&Owner>) -> Option<Edit> {
    let is = |owner: &Owner, one: &Owner| {
        (&owner.api_version, &owner.kind, &owner.name) == (&one.api_version, &one.kind, &one.name)
    };
    let mine = |owner: &&Owner| own.iter().any(|one| owner.uid == one.uid);
    // It is of an earlier set or pod of that name, and goes with it.
    if owners.iter().any(|owner| !mine(&owner) && own.iter().any(|one| is(owner, one))) {
        return None;
    }
    let controls = |owner: &Owner| owner.controller == Some(true);
    let wanted = wanted.filter(|_| !owners.iter().any(|owner| !mine(&owner) && controls(owner)));
    let right = |owner: &Owner| wanted.is_some_and(|wanted| wanted.uid == owner.uid) && controls(owner);
    let wrong: Vec<String> =
        owners.iter().filter(mine).filter(|owner| !right(owner)).map(|owner| owner.uid.clone()).collect();
    if !wrong.is_empty() {
        return Some(Edit::Disown(wrong));
    }
    wanted.filter(|_| !owners.iter().any(right)).cloned().map(Edit::Adopt)
}
