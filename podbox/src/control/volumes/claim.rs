//! What is next for a claim: a volume is found and given to it, or made for it, or it waits and says for what; and in the end it is let
//! go. Pure.
//!
//! ```text
//!   volume: claimRef ──▶ claim: volumeName, "completed" ──▶ claim: status Bound      (one write each, each against what was seen)
//! ```
//!
//! Upstream's two-way binding: the volume says first whose it is, so that two claims cannot have it. Whoever is killed between
//! two of these writes goes on with the next.

use super::shelf::{BY_CONTROLLER, COMPLETED, Claim, NONE, PROVISIONER, SELECTED, Shelf, Volume};
use super::users::Users;
use crate::api::admission::CLAIM_PROTECTION;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Actions, Edit, Saying, Subject, Write};
use crate::control::key::Key;
use serde_json::{Value, json};

/// The older name of who is to make a claim's volume: some look for it.
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";

/// What is to be written to a claim or its volume, and what is said.
pub fn reconcile(claim: &Claim, shelf: &Shelf, users: &Users) -> Actions {
    if claim.going {
        let held = claim.finalizers.iter().any(|name| name == CLAIM_PROTECTION);
        let used = users.of(&claim.key).any(|(_, pod)| pod.holds(claim));
        return match held && !used {
            true => edit(claim, "", Edit::Release(CLAIM_PROTECTION)),
            false => Actions::none(),
        };
    }
    match (claim.completed, claim.volume.as_str()) {
        (false, "") => unbound(claim, shelf, users),
        (false, _) => named(claim, shelf),
        (true, "") => {
            let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            lost(claim, "ClaimLost", why)
        }
        (true, name) => match shelf.volume(name) {
            None if shelf.is_unread(&Key::new("", name)) => Actions::none(),
            None => {
                let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                lost(claim, "ClaimLost", why)
            }
            Some(volume) if volume.is_of(claim) || volume.claim.is_none() => bind(volume, claim),
            Some(_) => {
                let why = "Two claims are bound to the same volume, this one is bound incorrectly";
                lost(claim, "ClaimMisbound", why)
            }
        },
    }
}

/// Any volume will do.
fn unbound(claim: &Claim, shelf: &Shelf, users: &Users) -> Actions {
    let delayed = shelf.delayed(claim);
    // Where the scheduler says on which node it is to be, it chooses among those that are free, too.
    if let Some(volume) = shelf.best(claim, |_| !delayed) {
        return bind(volume, claim);
    }
    if let Some(class) = shelf.default_class().filter(|_| claim.classless) {
        // It came before there was one.
        return edit(claim, "", Edit::Merge(json!({"spec": {"storageClassName": class}})));
    }
    if claim.node.as_ref().is_some_and(|node| !shelf.nodes.contains(node)) {
        // Nobody makes volumes there any more: a node is chosen anew.
        return edit(claim, "", Edit::Merge(json!({"metadata": {"annotations": {SELECTED: null}}})));
    }
    if delayed && claim.node.is_none() {
        let pods: Vec<&str> = users
            .of(&claim.key)
            .filter(|(_, pod)| !pod.placed && !pod.going)
            .map(|(key, _)| key.name())
            .collect();
        return match pods.as_slice() {
            [] => {
                says(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
            }
            [pod] => says(claim, "WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
            pods => says(
                claim,
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", pods.join(",")),
            ),
        };
    }
    match claim.class.as_str() {
        "" => {
            let why = "no persistent volumes available for this claim and no storage class is set";
            says(claim, "FailedBinding", why)
        }
        class => provision(claim, class, shelf),
    }
}

/// Whoever makes volumes of its class is told to.
fn provision(claim: &Claim, name: &str, shelf: &Shelf) -> Actions {
    let Some(class) = shelf.classes.get(name) else {
        let why = format!("storageclass.storage.k8s.io {name:?} not found");
        return Actions { said: vec![Saying::warning("ProvisioningFailed", why)], ..about(claim) };
    };
    let provisioner = &class.provisioner;
    if provisioner == NONE {
        // In upstream's words: it looks for somebody of this name who makes volumes.
        let why = format!("no volume plugin matched name: {NONE}");
        return Actions { said: vec![Saying::warning("ProvisioningFailed", why)], ..about(claim) };
    }
    if claim.provisioner.as_ref() != Some(provisioner) {
        let annotations = json!({PROVISIONER: provisioner, PROVISIONER_BETA: provisioner});
        return edit(claim, "", Edit::Merge(json!({"metadata": {"annotations": annotations}})));
    }
    let why = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running and \
         correctly registered."
    );
    says(claim, "ExternalProvisioning", why)
}

/// It names the volume that it wants.
fn named(claim: &Claim, shelf: &Shelf) -> Actions {
    let warns = |reason, why: String| Actions { said: vec![Saying::warning(reason, why)], ..about(claim) };
    match shelf.volume(&claim.volume) {
        None => Actions::none(),
        Some(volume) if volume.claim.is_some() && !volume.is_of(claim) => {
            warns("FailedBinding", format!("volume {:?} already bound to a different claim.", volume.name))
        }
        Some(volume) => match claim.mismatch(volume) {
            Some(why) if volume.claim.is_none() => {
                warns("VolumeMismatch", format!("Cannot bind to requested volume {:?}: {why}", volume.name))
            }
            _ => bind(volume, claim),
        },
    }
}

/// The next step of bringing them together.
fn bind(volume: &Volume, claim: &Claim) -> Actions {
    let known = volume.claim.as_ref().is_some_and(|(_, uid)| *uid == claim.uid);
    if !known {
        return Actions { actions: vec![reserve(volume, claim).into()], ..about(claim) };
    }
    if claim.volume != volume.name || !claim.completed {
        let mut annotations = json!({COMPLETED: "yes"});
        if claim.volume.is_empty() {
            annotations[BY_CONTROLLER] = "yes".into();
        }
        let bound = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume.name}});
        return edit(claim, "", Edit::Merge(bound));
    }
    if claim.phase == "Bound" && claim.capacity == volume.size() {
        return Actions::none();
    }
    let size = volume.size().map_or(Value::Null, |size| size.to_string().into());
    let status = json!({"phase": "Bound", "accessModes": volume.modes, "capacity": {"storage": size}});
    edit(claim, "status", Edit::Merge(json!({"status": status})))
}

/// A volume says whose it is.
pub fn reserve(volume: &Volume, claim: &Claim) -> Write {
    let key = &claim.key;
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": key.namespace(), "name": key.name(),
        "uid": claim.uid, "resourceVersion": claim.revision.to_string(),
    });
    let mut change = json!({"spec": {"claimRef": reference}});
    if volume.claim.is_none() {
        change["metadata"]["annotations"][BY_CONTROLLER] = "yes".into();
    }
    let seen = Seen { uid: volume.uid.clone(), revision: Some(volume.revision) };
    Write::Edit { at: volume.target(), part: "", seen, edit: Edit::Merge(change) }
}

fn lost(claim: &Claim, reason: &'static str, why: &str) -> Actions {
    if claim.phase == "Lost" {
        return Actions::none();
    }
    let change = Edit::Merge(json!({"status": {"phase": "Lost", "accessModes": null, "capacity": null}}));
    Actions { said: vec![Saying::warning(reason, why)], ..edit(claim, "status", change) }
}

fn says(claim: &Claim, reason: &'static str, message: impl Into<String>) -> Actions {
    Actions { said: vec![Saying::normal(reason, message)], ..about(claim) }
}

fn about(claim: &Claim) -> Actions {
    Actions { about: Some(Subject { at: claim.target(), uid: claim.uid.clone() }), ..Actions::none() }
}

fn edit(claim: &Claim, part: &'static str, edit: Edit) -> Actions {
    let seen = Seen { uid: claim.uid.clone(), revision: Some(claim.revision) };
    let write = Write::Edit { at: claim.target(), part, seen, edit };
    Actions { actions: vec![write.into()], ..about(claim) }
}

impl Claim {
    /// It, in the words in which it is written to.
    pub fn target(&self) -> Target {
        let (namespace, name) = (self.key.namespace().to_owned(), self.key.name().to_owned());
        Target { api_version: "v1".into(), kind: "PersistentVolumeClaim".into(), namespace, name }
    }
}
