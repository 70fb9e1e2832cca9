//! Which ReplicaSet has the Deployment's template, what it is called and what number it has; and which are too many.

use super::super::action::{Action, Actions, Attempt, Edit, Saying, Write};
use super::super::{condition, number, template};
use super::status::progressing;
use super::{Observed, Rolling, Set, Workload, share};
use crate::api::object;
use crate::api::objects::Seen;
use serde_json::{Map, Value, json};

/// A ReplicaSet's number among those of its Deployment; the Deployment has that of the newest.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers that it had before it was rolled back to.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the Deployment wanted when it was scaled last.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it allowed then.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Characters that the history may have.
const HISTORY_CHARACTERS: usize = 2000;

/// A Deployment's annotations that are not its ReplicaSets'.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
];

/// The oldest ReplicaSet with the Deployment's template, and the others. They come oldest first.
pub fn split(desired: &Workload, mut sets: Vec<Set>) -> (Option<Set>, Vec<Set>) {
    let wanted = &desired.spec()["template"];
    let new = sets.iter().position(|set| template::same(&set.object["spec"]["template"], wanted));
    (new.map(|index| sets.remove(index)), sets)
}

impl Rolling<'_> {
    /// The number that the new ReplicaSet has or gets: above all others.
    fn next_revision(&self) -> i64 {
        self.old.iter().map(Set::revision).max().unwrap_or(0) + 1
    }

    /// What is to be noted at the new ReplicaSet, or else at the Deployment.
    pub(super) fn mark(&self) -> Option<Action> {
        let new = self.new.as_ref()?;
        let mut patch = json!({});
        let annotations = self.annotations(new);
        if !annotations.is_empty() {
            patch["metadata"]["annotations"] = annotations.into();
        }
        let wanted = number(&self.desired.spec()["minReadySeconds"]);
        if number(&new.object["spec"]["minReadySeconds"]) != wanted {
            patch["spec"]["minReadySeconds"] = wanted.into();
        }
        match patch == json!({}) {
            false => Some(edit(new, patch).into()),
            true => self.mark_deployment(new).map(Action::from),
        }
    }

    /// The annotations of the new ReplicaSet that are not what they should be.
    fn annotations(&self, new: &Set) -> Map<String, Value> {
        let mut changed = self.copied(|name, value| new.annotation(name) != Some(value));
        let (next, before) = (self.next_revision(), new.annotation(REVISION));
        let known = before.map_or(Some(0), |text| text.parse::<i64>().ok());
        if known.is_some_and(|known| known < next) {
            changed.insert(REVISION.to_owned(), next.to_string().into());
            if let Some(before) = before {
                let history = history(new.annotation(HISTORY).unwrap_or_default(), before);
                changed.insert(HISTORY.to_owned(), history.into());
            }
        }
        changed
    }

    /// The Deployment's annotations that are its ReplicaSets' too.
    fn copied(&self, wanted: impl Fn(&str, &str) -> bool) -> Map<String, Value> {
        let all = self.desired.object["metadata"]["annotations"].as_object().into_iter().flatten();
        let copied = all.filter(|(name, _)| !OWN.contains(&name.as_str()));
        let wanted = copied.filter(|(name, value)| wanted(name, value.as_str().unwrap_or_default()));
        wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The Deployment has the newest one's number, and says that there is a newest one.
    fn mark_deployment(&self, new: &Set) -> Option<Write> {
        let desired = self.desired;
        let mut patch = json!({});
        let marked = desired.object["metadata"]["annotations"][REVISION].as_str() == new.annotation(REVISION);
        if !marked {
            patch["metadata"]["annotations"][REVISION] = new.annotation(REVISION).unwrap_or_default().into();
        }
        // One that never was anything else was just made.
        let made = !marked && new.annotation(HISTORY).is_none();
        let known = desired.condition("Progressing").is_some();
        if desired.deadline_seconds().is_some() && (made || !known) {
            let (reason, word) = match made {
                true => ("NewReplicaSetCreated", "Created"),
                false => ("FoundNewReplicaSet", "Found"),
            };
            let message = format!("{word} new replica set {:?}", new.name());
            let mut conditions = condition::of(&desired.object);
            condition::set(&mut conditions, progressing("True", reason, message, self.now));
            patch["status"]["conditions"] = conditions.into();
        }
        (patch != json!({})).then(|| desired.edit_status(patch))
    }

    /// A ReplicaSet for the Deployment's template is made; if that cannot be, the Deployment says so.
    pub(super) fn begin(&self, observed: &Observed<'_>, attempt: Attempt<'_>) -> Actions {
        let desired = self.desired;
        let template = &desired.spec()["template"];
        let collisions = number(&desired.object["status"]["collisionCount"]);
        let hash = template::hash(template, collisions);
        let name = format!("{}-{hash}", desired.name());
        if (observed.taken)(&name) {
            // Another template's, or another's.
            return Actions::of([desired.edit_status(json!({"status": {"collisionCount": collisions + 1}}))]);
        }
        if attempt.holds(true) {
            let told = attempt.failure.and_then(|failure| self.not_made(&name, &failure.message));
            return Actions { paused: true, ..Actions::of(told) };
        }
        let replicas = self.new_replicas(0, share::asked(&self.old));
        let done = format!("Scaled up replica set {name} from 0 to {replicas}");
        let failed = format!("Failed to create new replica set {name:?}: ");
        Actions::of([Action {
            write: Write::Create(self.replica_set(&name, &hash, replicas)),
            done: (replicas > 0).then(|| Saying::normal("ScalingReplicaSet", done)),
            failed: Some(Saying::warning("ReplicaSetCreateError", failed)),
        }])
    }

    fn not_made(&self, name: &str, why: &str) -> Option<Write> {
        self.desired.deadline_seconds()?;
        let message = format!("Failed to create new replica set {name:?}: {why}");
        let mut conditions = condition::of(&self.desired.object);
        let before = conditions.clone();
        condition::set(&mut conditions, progressing("False", "ReplicaSetCreateError", message, self.now));
        (conditions != before)
            .then(|| self.desired.edit_status(json!({"status": {"conditions": conditions}})))
    }

    fn replica_set(&self, name: &str, hash: &str, replicas: i32) -> Value {
        let desired = self.desired;
        let mut template = desired.spec()["template"].clone();
        template["metadata"]["labels"][template::HASH] = hash.into();
        let mut selector = desired.spec()["selector"].clone();
        selector["matchLabels"][template::HASH] = hash.into();
        let mut annotations = self.copied(|_, _| true);
        annotations.insert(REVISION.to_owned(), self.next_revision().to_string().into());
        annotations.extend(desired.sizes());
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": desired.at.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [desired.claimant.reference],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": number(&desired.spec()["minReadySeconds"]),
                "selector": selector,
                "template": template,
            },
        })
    }

    /// The end of old ReplicaSets that are more than are kept to be rolled back to.
    pub(super) fn superfluous(&self) -> Vec<Action> {
        let limit = self.desired.spec()["revisionHistoryLimit"].as_i64();
        let Some(limit) = limit.filter(|limit| *limit != i64::from(i32::MAX)) else { return Vec::new() };
        let mut kept: Vec<&Set> = self.old.iter().filter(|set| !set.meta.deleting()).collect();
        let surplus = kept.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        kept.sort_by_key(|set| set.revision());
        let empty = |set: &&&Set| {
            let seen = set.object["status"]["observedGeneration"].as_i64().unwrap_or(0);
            set.replicas() == 0 && set.status("replicas") == 0 && object::generation(&set.object) <= seen
        };
        let end = |set: &&Set| {
            let seen = Seen { uid: set.meta.uid.clone(), revision: Some(set.stored) };
            Action::from(Write::Delete { at: set.at.clone(), seen, propagation: None })
        };
        kept.iter().take(surplus).filter(empty).map(end).collect()
    }
}

impl Workload {
    /// What a ReplicaSet is to remember of the size of its Deployment.
    pub(super) fn sizes(&self) -> [(String, Value); 2] {
        [(DESIRED, self.replicas()), (MAX, self.most())]
            .map(|(name, size)| (name.to_owned(), size.to_string().into()))
    }
}

/// A change of a ReplicaSet, if it still is as it was seen.
pub fn edit(set: &Set, patch: Value) -> Write {
    let seen = Seen { uid: set.meta.uid.clone(), revision: Some(set.stored) };
    Write::Edit { at: set.at.clone(), part: "", seen, edit: Edit::Merge(patch) }
}

/// One more number in a history, of which the oldest are left out if it becomes too long.
fn history(before: &str, revision: &str) -> String {
    let mut all: Vec<&str> = before.split(',').filter(|text| !text.is_empty()).chain([revision]).collect();
    while all.len() > 1 && all.iter().map(|text| text.len() + 1).sum::<usize>() > HISTORY_CHARACTERS + 1 {
        all.remove(0);
    }
    all.join(",")
}
