//! What a controller wants done: data, so that it can be compared, printed and replayed. Pure.
//!
//! A write names what its controller saw (uid, and revision where it counts), so that it does nothing to another object or
//! to one that has changed since.

use super::meta::Owner;
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use jiff::Timestamp;
use serde_json::{Value, json};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new object.
    Create(Value),
    /// A change of an object, or of the part of this name.
    Edit {
        /// Which object.
        at: Target,
        /// `status`, or empty.
        part: &'static str,
        /// As what it was seen.
        seen: Seen,
        /// What is to be different.
        edit: Edit,
    },
    /// The end of an object.
    Delete {
        /// Which object.
        at: Target,
        /// As what it was seen.
        seen: Seen,
        /// What is to become of its dependents.
        propagation: Option<Propagation>,
    },
    /// The end of an object at once, whatever grace it was given: nobody is there to make use of it.
    Remove {
        /// Which object.
        at: Target,
        /// As what it was seen.
        seen: Seen,
    },
}

/// A change of an object as it is when it is written to.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// These fields get these values; null takes one out (RFC 7386).
    Merge(Value),
    /// These uids are not its owners any more.
    Disown(Vec<String>),
    /// This one controls it from now on, unless another does.
    Adopt(Owner),
    /// The same, and it is held by this finalizer then.
    AdoptHeld(Owner, &'static str),
    /// Its end holds up nobody else's.
    Unblock,
    /// This finalizer has done its work.
    Release(&'static str),
    /// The same of a pod of which its owner wants to know nothing more, unless it has succeeded meanwhile.
    LetGo(&'static str),
}

impl Edit {
    /// Does it.
    pub fn apply(&self, object: &mut Value) {
        match self {
            Edit::Merge(patch) => merge(object, patch),
            Edit::Disown(uids) => {
                let not_these = |owner: &Value| !uids.iter().any(|uid| owner["uid"] == uid.as_str());
                owners(object, |owners| owners.retain(not_these));
            }
            Edit::Adopt(owner) => drop(adopt(object, owner)),
            Edit::AdoptHeld(owner, finalizer) => {
                if adopt(object, owner) && !object::finalizers(object).contains(finalizer) {
                    let mut finalizers = object::finalizers(object);
                    finalizers.push(finalizer);
                    let finalizers = json!(finalizers);
                    object::set(object, "finalizers", finalizers);
                }
            }
            Edit::Unblock => owners(object, |owners| {
                for owner in owners.iter_mut().filter_map(Value::as_object_mut) {
                    owner.remove("blockOwnerDeletion");
                }
            }),
            Edit::LetGo(_) if object["status"]["phase"] == "Succeeded" => {}
            Edit::Release(finalizer) | Edit::LetGo(finalizer) => {
                let left: Vec<_> =
                    object::finalizers(object).into_iter().filter(|name| name != finalizer).collect();
                let left = if left.is_empty() { Value::Null } else { json!(left) };
                object::set(object, "finalizers", left);
            }
        }
    }
}

/// Whether it is controlled by this one then.
fn adopt(object: &mut Value, owner: &Owner) -> bool {
    let mut free = true;
    owners(object, |owners| {
        free = !owners.iter().any(|other| other["controller"] == true);
        if free {
            owners.retain(|other| other["uid"] != owner.uid.as_str());
            owners.push(json!(owner));
        }
    });
    free
}

fn owners(object: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    let mut owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    change(&mut owners);
    object::set(object, "ownerReferences", if owners.is_empty() { Value::Null } else { owners.into() });
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Some(into) = object.as_object_mut() else { return };
    for (name, value) in fields {
        match value {
            Value::Null => drop(into.remove(name)),
            value => merge(into.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// An Event, of whom it is about by what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Whether it is a warning.
    pub warning: bool,
    /// In one word, as upstream's.
    pub reason: &'static str,
    /// In a sentence. What is written to, or why that failed, is put behind it if it ends in a colon and a space.
    pub message: String,
    /// Whom it is about, if not whom all else is about.
    pub of: Option<Box<Subject>>,
}

impl Saying {
    /// Something went as it should.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Saying {
        Saying { warning: false, reason, message: message.into(), of: None }
    }

    /// Something did not.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Saying {
        Saying { warning: true, reason, message: message.into(), of: None }
    }

    /// It is about another object than all else.
    pub fn about(self, subject: Subject) -> Saying {
        Saying { of: Some(Box::new(subject)), ..self }
    }
}

/// A write, and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The write.
    pub write: Write,
    /// Once it is done.
    pub done: Option<Saying>,
    /// If it fails.
    pub failed: Option<Saying>,
}

impl From<Write> for Action {
    fn from(write: Write) -> Action {
        Action { write, done: None, failed: None }
    }
}

/// Whom Events are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Where it is, and of what kind.
    pub at: Target,
    /// Its uid.
    pub uid: String,
}

/// What one reconciliation wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actions {
    /// Whom what is said is about; nothing is said of nobody.
    pub about: Option<Subject>,
    /// In any order, or at the same time; each of them is right by itself. Creations begin slowly.
    pub actions: Vec<Action>,
    /// Said in any case.
    pub said: Vec<Saying>,
    /// When to look again although nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Whether something is left undone until the pause after a failure is over.
    pub paused: bool,
}

impl Actions {
    /// Nothing.
    pub fn none() -> Actions {
        Actions::default()
    }

    /// Only these writes.
    pub fn of(writes: impl IntoIterator<Item = impl Into<Action>>) -> Actions {
        Actions { actions: writes.into_iter().map(Into::into).collect(), ..Actions::default() }
    }
}

/// What was tried last and failed, as far as it is not yet tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether it was a creation.
    pub creating: bool,
    /// In the API's words.
    pub message: String,
}

/// How a reconciliation meets an earlier one of the same key that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// Why it failed.
    pub failure: Option<&'a Failure>,
    /// Whether the pause after it is not over: what failed is not to be tried yet.
    pub pausing: bool,
}

impl Attempt<'_> {
    /// Whether creations, or anything else, wait for the end of the pause: what failed does, and nothing else. (Where a conflict is all that is known,
    /// everything.)
    pub fn holds(&self, creating: bool) -> bool {
        self.pausing && self.failure.is_none_or(|failure| failure.creating == creating)
    }

    /// Those of these actions that need not wait, and whether others do.
    pub fn permitted(&self, actions: Vec<Action>) -> (Vec<Action>, bool) {
        let all = actions.len();
        let held = |action: &Action| self.holds(matches!(action.write, Write::Create(_)));
        let permitted: Vec<Action> = actions.into_iter().filter(|action| !held(action)).collect();
        let waits = permitted.len() < all;
        (permitted, waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(edit: Edit, before: Value, after: Value) {
        let mut object = before;
        edit.apply(&mut object);
        assert_eq!(object, after);
    }

    #[test]
    fn what_failed_waits_and_nothing_else() {
        let actions = || {
            let seen = Seen::default();
            let at = Target {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: "n".into(),
                name: "p".into(),
            };
            vec![Write::Create(json!({})).into(), Write::Delete { at, seen, propagation: None }.into()]
        };
        let creates =
            |actions: &[Action]| actions.iter().map(|one| matches!(one.write, Write::Create(_))).collect();
        let permitted = |failed: Option<bool>, pausing| {
            let failure = failed.map(|creating| Failure { creating, message: String::new() });
            let (permitted, waits) = Attempt { failure: failure.as_ref(), pausing }.permitted(actions());
            (creates(&permitted), waits)
        };
        assert_eq!(permitted(Some(true), true), (vec![false], true));
        assert_eq!(permitted(Some(false), true), (vec![true], true));
        assert_eq!(permitted(Some(true), false), (vec![true, false], false));
        assert_eq!(permitted(None, true), (vec![], true));
    }

    #[test]
    fn edits_change_what_they_name_and_nothing_else() {
        let owned = |owners: Value| json!({"metadata": {"name": "a", "ownerReferences": owners}});
        let two = owned(json!([{"uid": "1", "blockOwnerDeletion": true}, {"uid": "2"}]));
        check(Edit::Disown(vec!["1".into()]), two.clone(), owned(json!([{"uid": "2"}])));
        check(Edit::Disown(vec!["1".into(), "2".into()]), two.clone(), json!({"metadata": {"name": "a"}}));
        check(Edit::Unblock, two.clone(), owned(json!([{"uid": "1"}, {"uid": "2"}])));
        let [mine, theirs] = ["1", "2"].map(|uid| Owner::controller("v1", "Pod", "p", uid));
        let adopted = json!({"metadata": {"ownerReferences": [json!(mine)]}});
        check(Edit::Adopt(mine), json!({"metadata": {}}), adopted.clone());
        check(Edit::Adopt(theirs.clone()), adopted.clone(), adopted.clone());
        check(Edit::AdoptHeld(theirs.clone(), "f"), adopted.clone(), adopted);
        let held = json!({"metadata": {"ownerReferences": [json!(theirs)], "finalizers": ["f"]}});
        check(Edit::AdoptHeld(theirs, "f"), json!({"metadata": {}}), held);
        let held = json!({"metadata": {"finalizers": ["orphan", "x"]}});
        check(Edit::Release("orphan"), held, json!({"metadata": {"finalizers": ["x"]}}));
        let patch = json!({"spec": {"a": null, "b": {"c": 1}}});
        check(
            Edit::Merge(patch),
            json!({"spec": {"a": 1, "d": 2}}),
            json!({"spec": {"b": {"c": 1}, "d": 2}}),
        );
    }
}
