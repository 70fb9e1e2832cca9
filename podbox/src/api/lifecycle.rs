//! What happens to an object's metadata over its life, whatever its kind: names and identities at birth, what an
//! update may not touch, generations, graceful deletion and finalizers. Pure; time and chance are parameters.
//!
//! ```text
//!            ┌─ no finalizers, no grace ──────────────────────────▶ removed
//!   delete ──┤                                                          ▲
//!            └─ else: deletionTimestamp set ─▶ deleting ── the last finalizer taken out,
//!                                                │   ▲     or deleted with no grace ──┘
//!                                                └───┘ deleted again: the grace can only get shorter
//! ```

use super::kinds::Kind;
use super::object;
use crate::limits;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Letters that generated names end in: none that could make a word, none that look alike.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them.
pub const SUFFIX: usize = 5;
/// How long a name may be for one to be appended.
const GENERATED: usize = 63 - SUFFIX;

/// The name that `generateName` and five random bytes make.
pub fn generated(base: &str, random: [u8; SUFFIX]) -> String {
    let mut end = base.len().min(GENERATED);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    base[..end].chars().chain(letters).collect()
}

/// Gives a new object its identity.
pub fn born(object: &mut Value, kind: &Kind, uid: String, now: SystemTime) {
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        object::set(object, field, Value::Null);
    }
    object::set(object, "uid", uid);
    object::set(object, "creationTimestamp", object::time(now));
    object::set(object, "generation", if kind.generation { json!(1) } else { Value::Null });
}

/// Metadata that belongs to the server: an update keeps it, whatever it says.
const KEPT: [&str; 6] = [
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "resourceVersion",
];

/// Puts back into an update what it may not change.
pub fn keep(new: &mut Value, old: &Value) {
    object::take(new, old, &KEPT);
    // One that is given is judged: it may not be another.
    if object::uid(new).is_empty() {
        object::take(new, old, &["uid"]);
    }
}

/// Counts a change of what the object asks for, as opposed to what it is and what is said of it.
pub fn count(new: &mut Value, old: &Value, kind: &Kind) {
    if !kind.generation {
        return;
    }
    let part = |object: &Value, name: &str| object.get(name).cloned().unwrap_or_default();
    let asks = |object: &Value| match object.as_object() {
        Some(fields) => {
            let own = |name: &str| !matches!(name, "metadata" | "status" | "kind" | "apiVersion");
            fields.iter().filter(|(name, _)| own(name)).map(|(_, value)| value.clone()).collect()
        }
        None => Vec::new(),
    };
    // Annotations of a Deployment are copied to its ReplicaSets, so they are asked for.
    let annotations = kind.kind == "Deployment"
        && part(&new["metadata"], "annotations") != part(&old["metadata"], "annotations");
    if asks(new) != asks(old) || annotations {
        object::set(new, "generation", object::generation(old) + 1);
    }
}

/// What is to become of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted, after it is gone.
    Background,
    /// They are deleted, and it goes after them.
    Foreground,
    /// They stay, without it as their owner.
    Orphan,
}

/// What deletion is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deletion {
    /// How long it may take; the object's own wish if none.
    pub grace_seconds: Option<i64>,
    /// What is to become of dependents; the kind's default if none.
    pub propagation: Option<Propagation>,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted {
    /// It stays for now, like this.
    Marked(Value),
    /// It stays as it is.
    Unchanged,
    /// It goes at once; with the state it goes in, if that differs from the one before.
    Gone(Option<Value>),
}

/// Finalizers that stand for a propagation.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Asks an object to be deleted. Preconditions were looked at.
pub fn delete(old: &Value, kind: &Kind, asked: Deletion, now: SystemTime) -> Deleted {
    let mut new = old.clone();
    propagate(&mut new, kind, asked.propagation);
    let held = !object::finalizers(&new).is_empty() || namespace_held(&new, kind);
    let grace = if is_pod(kind) { pod_grace(old, asked.grace_seconds) } else { 0 };
    let was = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match was.filter(|_| object::deleting(old)) {
        // Only ever shorter.
        Some(was) if is_pod(kind) && asked.grace_seconds.is_some() && grace < was => {
            mark(&mut new, grace, now)
        }
        Some(_) if !is_pod(kind) && !held => {}
        // It was to go at once, and podbox was killed before it went.
        Some(0) if is_pod(kind) && !held && grace == 0 => {}
        Some(_) if new == *old => return Deleted::Unchanged,
        Some(_) => {}
        None => {
            mark(&mut new, grace, now);
            // A namespace has none.
            if kind.kind == "Namespace" && kind.group.is_empty() {
                object::set(&mut new, "deletionGracePeriodSeconds", Value::Null);
                new["status"]["phase"] = "Terminating".into();
            }
        }
    }
    match (held, grace) {
        (false, 0) if is_pod(kind) => Deleted::Gone(Some(new)),
        (false, 0) => Deleted::Gone(None),
        _ => Deleted::Marked(new),
    }
}

/// Whether an update took out what kept a deleted object from going.
pub fn released(new: &Value, old: &Value, kind: &Kind) -> bool {
    let over = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let was_held = !object::finalizers(old).is_empty() || namespace_held(old, kind);
    let held = !object::finalizers(new).is_empty() || namespace_held(new, kind);
    object::deleting(new) && over && was_held && !held
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

/// A namespace goes once what is in it has gone.
fn namespace_held(object: &Value, kind: &Kind) -> bool {
    let finalizers = object["spec"]["finalizers"].as_array();
    kind.group.is_empty() && kind.kind == "Namespace" && finalizers.is_some_and(|list| !list.is_empty())
}

fn mark(object: &mut Value, grace: i64, now: SystemTime) {
    if !object::deleting(object) && object["metadata"]["generation"].is_i64() {
        object::set(object, "generation", object::generation(object) + 1);
    }
    // What is longer than any calendar ends with it.
    let span = Duration::from_secs(u64::try_from(grace).unwrap_or(0)).min(limits::LONGEST);
    object::set(object, "deletionTimestamp", object::time(now.checked_add(span).unwrap_or(now)));
    object::set(object, "deletionGracePeriodSeconds", grace);
}

/// How long a pod gets: what is asked for, else its own wish; nothing if no process of it can be there.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let nowhere = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    if nowhere || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return 0;
    }
    let grace = asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if grace < 0 { 1 } else { grace }
}

fn keeps_dependents(kind: &Kind) -> bool {
    matches!((&*kind.group, &*kind.kind), ("batch", "Job") | ("", "ReplicationController"))
}

fn propagate(object: &mut Value, kind: &Kind, asked: Option<Propagation>) {
    let mut finalizers: Vec<String> = object::finalizers(object).into_iter().map(str::to_owned).collect();
    let before = finalizers.clone();
    let wanted = match asked {
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Background) => None,
        None if before.iter().any(|name| name == FOREGROUND || name == ORPHAN) => return,
        // Whoever deletes one of the oldest kinds without a word on its pods keeps them.
        None if keeps_dependents(kind) => Some(ORPHAN),
        None => None,
    };
    finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
    finalizers.extend(wanted.map(str::to_owned));
    if finalizers != before {
        let list = if finalizers.is_empty() { Value::Null } else { json!(finalizers) };
        object::set(object, "finalizers", list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;

    fn kind(name: &str) -> std::sync::Arc<Kind> {
        Kinds::new().iter().find(|kind| kind.kind == name).expect("it is in the table").clone()
    }

    #[test]
    fn generated_names_fit() {
        assert_eq!(generated("gen-", [0, 1, 2, 3, 4]), "gen-bcdfg");
        assert_eq!(generated(&"a".repeat(70), [0; 5]).len(), 63);
        assert!(generated(&"é".repeat(40), [0; 5]).len() <= 63);
    }

    #[test]
    fn what_is_asked_for_is_counted() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {}});
        let check = |kind_name: &str, change: Value, expected: i64| {
            let mut new = old.clone();
            new.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            count(&mut new, &old, &kind(kind_name));
            assert_eq!(object::generation(&new), expected, "{change}");
        };
        check("Pod", json!({"spec": {"a": 2}}), 2);
        check("Pod", json!({"status": {"a": 2}}), 1);
        check("Pod", json!({"metadata": {"generation": 1, "annotations": {"a": "b"}}}), 1);
        check("Deployment", json!({"metadata": {"generation": 1, "annotations": {"a": "b"}}}), 2);
    }

    #[test]
    fn a_bound_pod_gets_time_and_an_unbound_one_goes_at_once() {
        let now = SystemTime::UNIX_EPOCH;
        let bound = json!({"metadata": {}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let Deleted::Marked(marked) = delete(&bound, &kind("Pod"), Deletion::default(), now) else {
            panic!("it has a grace period")
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:30Z");
        let longer = Deletion { grace_seconds: Some(100), ..Deletion::default() };
        assert_eq!(delete(&marked, &kind("Pod"), longer, now), Deleted::Unchanged);
        let now_asked = Deletion { grace_seconds: Some(0), ..Deletion::default() };
        let Deleted::Gone(Some(going)) = delete(&marked, &kind("Pod"), now_asked, now) else {
            panic!("it has no time any more")
        };
        // It is marked before it goes, and podbox may be killed in between.
        assert!(matches!(delete(&going, &kind("Pod"), now_asked, now), Deleted::Gone(Some(_))));
        let patient = Deletion { grace_seconds: Some(i64::MAX), ..Deletion::default() };
        let Deleted::Marked(marked) = delete(&bound, &kind("Pod"), patient, now) else {
            panic!("it has a very long time")
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2069-12-07T00:00:00Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], i64::MAX);
        let unbound = json!({"metadata": {}, "spec": {}});
        assert!(matches!(delete(&unbound, &kind("Pod"), Deletion::default(), now), Deleted::Gone(Some(_))));
    }

    #[test]
    fn finalizers_hold_and_release() {
        let now = SystemTime::UNIX_EPOCH;
        let held = json!({"metadata": {"finalizers": ["e.io/a"]}});
        let config_map = kind("ConfigMap");
        let Deleted::Marked(marked) = delete(&held, &config_map, Deletion::default(), now) else {
            panic!("it is held")
        };
        assert_eq!(delete(&marked, &config_map, Deletion::default(), now), Deleted::Unchanged);
        let mut free = marked.clone();
        object::set(&mut free, "finalizers", Value::Null);
        assert!(released(&free, &marked, &config_map) && !released(&marked, &marked, &config_map));
        let plain = json!({"metadata": {}});
        assert_eq!(delete(&plain, &config_map, Deletion::default(), now), Deleted::Gone(None));
        let orphan = Deletion { propagation: Some(Propagation::Orphan), ..Deletion::default() };
        assert!(matches!(delete(&plain, &config_map, orphan, now), Deleted::Marked(_)));
        for keeps in ["Job", "ReplicationController"] {
            let Deleted::Marked(marked) = delete(&plain, &kind(keeps), Deletion::default(), now) else {
                panic!("the pods of a {keeps} are to stay")
            };
            assert_eq!(object::finalizers(&marked), ["orphan"]);
        }
    }
}
