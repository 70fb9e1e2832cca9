//! What is next for a volume: it says whether somebody has it, and what becomes of it when its claim is gone. Pure.
//!
//! Whoever made a volume takes its data away, when it is Released and is to be deleted: volumes that nobody made, podbox does not
//! know how to take away, and says so.

use super::shelf::{Shelf, Volume};
use crate::api::admission::VOLUME_PROTECTION;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Actions, Edit, Saying, Subject, Write};
use crate::control::meta::written;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is to be written to a volume, and what is said.
pub fn reconcile(volume: &Volume, shelf: &Shelf, now: Timestamp) -> Actions {
    if volume.going
        && volume.phase != "Bound"
        && volume.finalizers.iter().any(|name| name == VOLUME_PROTECTION)
    {
        return edit(volume, "", Edit::Release(VOLUME_PROTECTION));
    }
    let Some((key, uid)) = &volume.claim else { return phase(volume, "Available", now) };
    if uid.is_empty() {
        // It is kept for a claim, and nobody has it yet.
        return phase(volume, "Available", now);
    }
    match shelf.claim(key).filter(|claim| claim.uid == *uid) {
        // Its data are not to go for that.
        None if shelf.is_unread(key) => Actions::none(),
        None => released(volume, now),
        Some(claim) if claim.volume == volume.name => phase(volume, "Bound", now),
        // Its claim is to be told.
        Some(claim) if claim.volume.is_empty() => Actions::none(),
        Some(_) if volume.provisioner.is_some() && volume.policy == "Delete" => released(volume, now),
        // Its claim has another one: nobody uses this.
        Some(_) => {
            let claim = if volume.by_controller {
                Value::Null
            } else {
                json!({"uid": null, "resourceVersion": null})
            };
            edit(volume, "", Edit::Merge(json!({"spec": {"claimRef": claim}})))
        }
    }
}

/// Its claim is gone.
fn released(volume: &Volume, now: Timestamp) -> Actions {
    if !["Released", "Failed"].contains(&volume.phase.as_str()) {
        return phase(volume, "Released", now);
    }
    let (reason, why) = match volume.policy.as_str() {
        "Delete" if volume.provisioner.is_none() => (
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                volume.name
            ),
        ),
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => return Actions::none(),
    };
    if volume.phase == "Failed" {
        return Actions::none();
    }
    let failed = phase(volume, "Failed", now);
    Actions { said: vec![Saying::warning(reason, why)], ..failed }
}

fn phase(volume: &Volume, phase: &str, now: Timestamp) -> Actions {
    if volume.phase == phase {
        return Actions::none();
    }
    let status = json!({"phase": phase, "lastPhaseTransitionTime": written(now)});
    edit(volume, "status", Edit::Merge(json!({"status": status})))
}

fn edit(volume: &Volume, part: &'static str, edit: Edit) -> Actions {
    let seen = Seen { uid: volume.uid.clone(), revision: Some(volume.revision) };
    let write = Write::Edit { at: volume.target(), part, seen, edit };
    let about = Subject { at: volume.target(), uid: volume.uid.clone() };
    Actions { about: Some(about), actions: vec![write.into()], ..Actions::none() }
}

impl Volume {
    /// It, in the words in which it is written to.
    pub fn target(&self) -> Target {
        let (namespace, name) = (String::new(), self.name.clone());
        Target { api_version: "v1".into(), kind: "PersistentVolume".into(), namespace, name }
    }
}
