//! Who owns which field: `metadata.managedFields` for every write, and server-side apply. Pure.
//!
//! [`update`] is for creates, updates and patches: who wrote owns what came or changed. [`apply`] merges a configuration into
//! an object, takes out what the applier no longer lists and nobody else owns, and refuses to change what others own. Both
//! work on objects that are decoded and defaulted, before `status` or `spec` is put back: that is what [`Write::reset`] is for.
//! Times are the caller's.
//!
//! **Invariant:** to apply the same configuration again changes nothing.

pub mod managed;
mod set;
mod walk;

#[cfg(test)]
mod tests;

use super::decode::Target;
use super::kinds::Kind;
use super::object;
use super::status::ApiError;
use managed::{Managed, Manager, Operation};
use serde_json::{Map, Value, json};
use set::Set;
use walk::{Differences, Place};

/// Who writes what.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The field manager: the query's, or the user agent's first word.
    pub manager: &'a str,
    /// The part that is written: `status`, `scale`; empty for the object.
    pub subresource: &'a str,
    /// The object's `apiVersion`.
    pub api_version: &'a str,
    /// RFC 3339, to the second.
    pub now: &'a str,
    /// What this write cannot set, and therefore does not own: paths like `["status"]`.
    pub reset: &'a [&'a [&'a str]],
}

/// What [`Write::reset`] is for a kind's object and its status, unless the kind has a rule of its own.
pub fn reset(kind: &Kind, subresource: &str) -> &'static [&'static [&'static str]] {
    match subresource {
        "status" => &[&["spec"]],
        "" if kind.has_status() => &[&["status"]],
        _ => &[],
    }
}

/// Fields of `metadata` that the system owns.
const SYSTEM: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Sets `managedFields` of `new`, which is to take the place of `old`; null if it is created.
pub fn update(old: &Value, new: &mut Value, target: &Target<'_>, write: &Write<'_>) {
    let created = old.is_null();
    let mut managed = known(old, new, write);
    take_managed(new);
    // Whoever never tracked an object does not begin with an update.
    if managed.is_empty() && !created {
        return;
    }
    let empty = json!({});
    let old = if created { &empty } else { old };
    let differences = differences(old, new, target, write);
    let own = managed.find(&Manager::new(write, Operation::Update));
    managed.lose(&differences, None);
    if !differences.set.is_empty() {
        let mut own = own.map(|entry| entry.set).unwrap_or_default();
        own.subtract(&differences.removed);
        own.add(&differences.set);
        managed.set(Manager::new(write, Operation::Update), own, Some(write.now));
    }
    managed.cap();
    managed.write(new);
}

/// The managers before this write: the request's, if it means to set them.
fn known(old: &Value, new: &Value, write: &Write<'_>) -> Managed {
    let given = &new["metadata"]["managedFields"];
    if let (Some(list), "") = (given.as_array(), write.subresource) {
        let blank = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
        if list.is_empty() || matches!(list.as_slice(), [one] if blank(one)) {
            return Managed::default();
        }
        let managed = Managed::read(given);
        if !managed.is_empty() {
            return managed;
        }
    }
    Managed::read(&old["metadata"]["managedFields"])
}

fn take_managed(object: &mut Value) {
    if let Some(meta) = object::metadata(object) {
        meta.remove("managedFields");
    }
}

fn differences(old: &Value, new: &Value, target: &Target<'_>, write: &Write<'_>) -> Differences {
    let mut differences = walk::compare(old, new, Place::root(target.schema, &target.root));
    strip(&mut differences.set, write);
    strip(&mut differences.removed, write);
    differences
}

/// Takes out what nobody owns.
fn strip(set: &mut Set, write: &Write<'_>) {
    set.member = false;
    for field in ["f:apiVersion", "f:kind"] {
        set.below.remove(field);
    }
    if let Some(meta) = set.below.get_mut("f:metadata") {
        meta.member = false;
        meta.below.retain(|step, _| !step.strip_prefix("f:").is_some_and(|field| SYSTEM.contains(&field)));
        if meta.is_empty() {
            set.below.remove("f:metadata");
        }
    }
    for path in write.reset {
        let steps: Vec<_> = path.iter().map(|field| format!("f:{field}")).collect();
        let steps: Vec<_> = steps.iter().map(String::as_str).collect();
        set.cut(&steps);
    }
}

/// Takes out lists and maps that are empty and need not be there: upstream does not store them. For every write, after
/// [`update`]; [`apply`] does it itself.
pub fn prune(object: &mut Value, target: &Target<'_>) {
    walk::prune(object, Place::root(target.schema, &target.root));
}

/// What came of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, with its `managedFields`.
    pub object: Value,
    /// Whether anything but `managedFields` differs.
    pub changed: bool,
}

/// Applies `config` to `live`, which is null if there is no such object. `config` has its shape and no defaults. A conflict
/// is an error unless `force` is given.
pub fn apply(
    live: &Value,
    config: &Value,
    target: &Target<'_>,
    write: &Write<'_>,
    force: bool,
) -> Result<Applied, ApiError> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let at = Place::root(target.schema, &target.root);
    let mut set = walk::fields(config, at, "").map_err(|why| mistyped(config, target, &why))?;
    strip(&mut set, write);
    let mut managed = Managed::read(&live["metadata"]["managedFields"]);
    let mut before = live.clone();
    take_managed(&mut before);
    if managed.is_empty() && !live.is_null() {
        // What was there before anyone applied has an owner of its own.
        let first = Write { manager: "before-first-apply", ..*write };
        let all = differences(&json!({}), &before, target, &first);
        managed.set(Manager::new(&first, Operation::Update), all.set, Some(write.now));
    }
    let me = Manager::new(write, Operation::Apply);
    let mine = managed.find(&me);
    let mut after = match &before {
        Value::Null => json!({}),
        there => there.clone(),
    };
    walk::merge(&mut after, config, at);
    let time = mine.as_ref().and_then(|entry| entry.time.clone());
    managed.set(me.clone(), set, time.as_deref());
    if let Some(mine) = mine {
        let all = managed.all();
        walk::remove(&mut after, &mine.set, &all, at);
        // A list that is listed as empty has no member that would have kept what is around it.
        walk::merge(&mut after, config, at);
    }
    let from = if before.is_null() { json!({}) } else { before.clone() };
    let differences = differences(&from, &after, target, write);
    let conflicts = managed.conflicts(&differences.set, &me);
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    managed.lose(&differences, Some(&me));
    // Only now: an applier owns a map that it lists, though it be empty and not stored.
    walk::prune(&mut after, at);
    let changed = after != before;
    if changed {
        managed.touch(&me, write.now);
    }
    managed.write(&mut after);
    Ok(Applied { object: after, changed })
}

fn mistyped(config: &Value, target: &Target<'_>, why: &str) -> ApiError {
    let (namespace, name) = (object::namespace(config), object::name(config));
    let group = target.group;
    ApiError::internal(format!(
        "failed to create typed patch object ({namespace}/{name}; {group}/{}, Kind={}): {why}",
        target.version, target.kind
    ))
}

/// 409 that names who owns what.
fn conflict(conflicts: &[(String, Set)]) -> ApiError {
    let by_manager: Vec<_> = conflicts.iter().map(|(manager, set)| (manager, set.paths())).collect();
    let count: usize = by_manager.iter().map(|(_, paths)| paths.len()).sum();
    let told = match by_manager.as_slice() {
        [(manager, paths)] if paths.len() == 1 => {
            format!("1 conflict: conflict with {manager}: {}", paths[0])
        }
        many => {
            let lines = many.iter().flat_map(|(manager, paths)| {
                let head = format!("conflicts with {manager}:");
                std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
            });
            format!("{count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
        }
    };
    let causes = by_manager.iter().flat_map(|(manager, paths)| {
        paths.iter().map(move |path| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
    });
    let details = json!({"causes": causes.collect::<Vec<_>>()});
    ApiError { details, ..ApiError::new(409, "Conflict", format!("Apply failed with {told}")) }
}
