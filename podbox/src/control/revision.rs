//! ControllerRevisions: the templates that a StatefulSet or a DaemonSet has had, each with its number. Pure.
//!
//! A revision holds the patch by which its template comes back: `kubectl rollout undo` sends it as it is. The newest one is
//! that of the template which the object has now; a template that comes back brings its revision along, which gets the next number.
//! Invariant: what a revision holds never changes, so a pod that is labelled with it is of that template.

use super::action::{Action, Actions, Attempt, Edit, Saying, Write};
use super::claim::Claim;
use super::meta::Meta;
use super::workload::Workload;
use super::{number, status, template};
use crate::api::objects::{Seen, Target};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Deserialize;
use serde_json::{Value, json};

/// The label by which pods say of which revision they are.
pub const LABEL: &str = "controller-revision-hash";
/// How long the owner's part of a revision's name may be.
const NAME: usize = 223;
/// How many revisions are kept beside those in use, if nobody says so.
const KEPT: i64 = 10;

/// A revision.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Where it is.
    pub at: Target,
    /// Its metadata.
    pub meta: Meta,
    /// As it is stored.
    pub object: Value,
    /// Its revision in the store.
    pub stored: u64,
}

impl Revision {
    /// From an object as it is stored.
    pub fn new(at: Target, object: Value, stored: u64) -> Revision {
        Revision { at, meta: Meta::of(&object), object, stored }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.at.name
    }

    /// Its number: the higher, the newer.
    pub fn number(&self) -> i64 {
        self.object["revision"].as_i64().unwrap_or(0)
    }

    /// A label of its own.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.meta.labels.get(name).map(String::as_str)
    }

    /// The template that it holds. Anybody may write anything into a revision: what is no template is an empty one, whose pods the API
    /// refuses, in words.
    pub fn template(&self) -> Value {
        let mut template = self.object["data"]["spec"]["template"].clone();
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        if PodTemplateSpec::deserialize(&template).is_ok() { template } else { json!({}) }
    }

    fn seen(&self) -> Seen {
        Seen { uid: self.meta.uid.clone(), revision: Some(self.stored) }
    }
}

/// What a revision of a template holds.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The revisions of one object.
#[derive(Debug)]
pub struct History<'a> {
    desired: &'a Workload,
    /// The label that has a revision's hash.
    label: &'static str,
    /// Lowest number first.
    all: Vec<Revision>,
}

impl<'a> History<'a> {
    /// Of those that the object controls or selects; and what is to be written so that these are all that it should have.
    pub fn new(
        desired: &'a Workload,
        label: &'static str,
        found: impl IntoIterator<Item = Revision>,
    ) -> (History<'a>, Vec<Write>) {
        let (mut all, mut writes) = (Vec::new(), Vec::new());
        for revision in found {
            let controller = revision.meta.controller().map(|owner| owner.uid.as_str());
            let claimant = &desired.claimant;
            match claimant.claim(controller, &revision.meta.labels, revision.meta.deleting()) {
                Claim::Kept => all.push(revision),
                claim => writes.extend(claimant.write(claim, revision.at.clone(), &revision.meta.uid)),
            }
        }
        let age = |revision: &Revision| {
            (revision.number(), revision.meta.creation_timestamp, revision.at.name.clone())
        };
        all.sort_by_cached_key(age);
        (History { desired, label, all }, writes)
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Option<&Revision> {
        self.all.iter().find(|revision| revision.name() == name)
    }

    /// Those of the template that the object has now, newest first: several, where somebody else has made one.
    pub fn same(&self) -> impl Iterator<Item = &Revision> {
        let data = data(&self.desired.spec()["template"]);
        self.all.iter().rev().filter(move |revision| revision.object["data"] == data)
    }

    /// The one of the template that the object has now.
    pub fn newest(&self) -> Option<&Revision> {
        self.same().next()
    }

    /// What is to be done so that the newest one is of the object's template; nothing if it is. `taken` tells whether there is a
    /// revision of a name, whosever.
    pub fn step(&self, taken: impl Fn(&str) -> bool, attempt: Attempt<'_>) -> Option<Actions> {
        let last = self.all.last();
        let Some(newest) = self.newest() else { return Some(self.begin(last, taken, attempt)) };
        let last = last.filter(|last| last.name() != newest.name())?;
        let (seen, edit) = (newest.seen(), Edit::Merge(json!({"revision": last.number().saturating_add(1)})));
        Some(Actions::of([Write::Edit { at: newest.at.clone(), part: "", seen, edit }]))
    }

    /// A revision of the object's template is made.
    fn begin(&self, last: Option<&Revision>, taken: impl Fn(&str) -> bool, attempt: Attempt<'_>) -> Actions {
        let desired = self.desired;
        let template = &desired.spec()["template"];
        let collisions = number(&desired.object["status"]["collisionCount"]);
        // Of two kinds, objects of one name may have the same template.
        let hash = template::hash(&json!([&*desired.at.kind, template]), collisions);
        let stem: String = desired.at.name.chars().take(NAME).collect();
        let name = format!("{stem}-{hash}");
        if taken(&name) {
            let fields = json!({"status": {"collisionCount": collisions.saturating_add(1)}});
            return Actions::of(status::write(&desired.at, &desired.object, desired.revision, fields));
        }
        if attempt.holds(true) {
            return Actions { paused: true, ..Actions::none() };
        }
        let mut metadata = json!({
            "name": name,
            "namespace": desired.at.namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [desired.claimant.reference],
        });
        metadata["labels"][self.label] = hash.into();
        // Among them the cause of the change, which `kubectl rollout history` shows.
        if let Some(annotations) = desired.object["metadata"].get("annotations") {
            metadata["annotations"] = annotations.clone();
        }
        let revision = json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": metadata,
            "data": template::sorted(&data(template)),
            "revision": last.map_or(1, |last| last.number().saturating_add(1)),
        });
        let failed = format!("create ControllerRevision {name} failed error: ");
        Actions::of([Action {
            write: Write::Create(revision),
            done: None,
            failed: Some(Saying::warning("FailedCreate", failed)),
        }])
    }

    /// The end of the oldest of `old`, which come oldest first, so that so many are left as are to be kept; of those that are `live`
    /// none goes.
    pub fn superfluous(&self, old: &[&Revision], live: impl Fn(&Revision) -> bool) -> Vec<Action> {
        let limit = self.desired.spec()["revisionHistoryLimit"].as_i64().unwrap_or(KEPT);
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        // What goes already, and is held by something, is not taken away again and again.
        let going = old.iter().filter(|revision| !live(revision)).take(surplus);
        let going = going.filter(|revision| !revision.meta.deleting());
        let end = |revision: &&Revision| {
            let (at, seen) = (revision.at.clone(), revision.seen());
            Action::from(Write::Delete { at, seen, propagation: None })
        };
        going.map(end).collect()
    }

    /// All but the one of the object's template, oldest first.
    pub fn old(&self) -> Vec<&Revision> {
        let newest = self.newest().map(Revision::name);
        self.all.iter().filter(|revision| Some(revision.name()) != newest).collect()
    }
}
