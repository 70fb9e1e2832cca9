//! An object's `metadata`: names as each kind wants them, labels, owners, finalizers, and what an update keeps.
//!
//! The server calls [`create`] or [`update`] for every kind and puts what they find before what the kind's own
//! rules find. What is the server's: uid, creationTimestamp, resourceVersion, generation, generated names,
//! managed fields themselves.
//!
//! **Invariant:** an update changes neither name, namespace, uid, creationTimestamp nor deletionTimestamp.

use super::check::{all, at_most_bytes, json, text};
use super::names::{self, Wrong};
use super::{check, labels};
use crate::api::field::{Errors, Path, Reason};
use crate::api::kinds::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use serde_json::Value;
use std::collections::BTreeSet;

const PATH: Path<'static> = Path::ROOT;

/// What a kind's names may look like.
pub fn judge(kind: &Kind) -> fn(&str) -> Wrong {
    match (&*kind.group, &*kind.plural) {
        ("", "namespaces" | "services") => names::label,
        // Colons and the like are common in their names.
        ("rbac.authorization.k8s.io" | "certificates.k8s.io", _) => names::path_segment,
        ("networking.k8s.io", "ipaddresses") => names::canonical_ip,
        _ => names::subdomain,
    }
}

/// What is wrong with the metadata of a new object. Of a generated name both the prefix and the name must do.
pub fn create(meta: &ObjectMeta, kind: &Kind) -> Errors {
    named(meta, kind.namespaced(), judge(kind))
}

/// What is wrong with the metadata of an object that takes the place of `old`. Upstream judges it more than once
/// on the way, and so do the causes tell it.
pub fn update(meta: &ObjectMeta, old: &ObjectMeta) -> Errors {
    let (mut kept_errors, mut errors) = (Errors::default(), Errors::default());
    kept(&mut kept_errors, meta, old);
    general(&mut errors, meta);
    let (kept, general) = (kept_errors.0, errors.0);
    Errors([general.clone(), kept.clone(), general.clone(), kept, general.clone(), general].concat())
}

/// Puts back what an update may leave out or not change.
pub fn prepare_update(meta: &mut ObjectMeta, old: &ObjectMeta) {
    if text(&meta.uid).is_empty() {
        meta.uid.clone_from(&old.uid);
    }
    if old.creation_timestamp.is_some() {
        meta.creation_timestamp.clone_from(&old.creation_timestamp);
    }
    if old.deletion_timestamp.is_some() {
        meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    }
    if meta.deletion_grace_period_seconds.is_none() {
        meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
    meta.generation = old.generation;
    meta.self_link = None;
}

/// Takes out what a create may not set.
pub fn prepare_create(meta: &mut ObjectMeta) {
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = None;
}

/// Lists each owner once. What was wrong is worth a warning.
pub fn dedup_owners(meta: &mut ObjectMeta) -> Option<String> {
    let owners = meta.owner_references.as_mut()?;
    let (mut uids, mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for owner in owners.iter().filter(|owner| !uids.insert(owner.uid.clone())) {
        twice.insert(owner.uid.clone());
    }
    owners.retain(|owner| seen.insert(shown(owner)));
    let uids: Vec<_> = twice.into_iter().collect();
    (!uids.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, \
             and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) \
             observed: {}",
            uids.join(", ")
        )
    })
}

/// The same, of an object that lies in a namespace or does not and whose name `judge` judges.
pub fn named(meta: &ObjectMeta, namespaced: bool, judge: fn(&str) -> Wrong) -> Errors {
    let mut errors = Errors::default();
    let path = PATH.child("metadata");
    let prefix = text(&meta.generate_name);
    if !prefix.is_empty() {
        all(&mut errors, &path.child("generateName"), prefix, judge(&names::as_prefix(prefix)));
    }
    match text(&meta.name) {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        name => all(&mut errors, &path.child("name"), name, judge(name)),
    }
    let namespace = path.child("namespace");
    match (namespaced, text(&meta.namespace)) {
        (true, "") => errors.required(&namespace, ""),
        (true, name) => all(&mut errors, &namespace, name, names::label(name)),
        (false, "") => {}
        (false, _) => errors.forbidden(&namespace, "not allowed on this type"),
    }
    general(&mut errors, meta);
    errors
}

/// What holds for every object, new or not.
fn general(errors: &mut Errors, meta: &ObjectMeta) {
    let path = PATH.child("metadata");
    check::maybe_non_negative(errors, &path.child("generation"), meta.generation);
    labels::labels(errors, &path.child("labels"), &meta.labels);
    labels::annotations(errors, &path.child("annotations"), &meta.annotations);
    owners(errors, &path.child("ownerReferences"), meta.owner_references.as_deref().unwrap_or_default());
    finalizers(errors, &path.child("finalizers"), meta.finalizers.as_deref().unwrap_or_default());
    let managed = path.child("managedFields");
    for (index, entry) in meta.managed_fields.iter().flatten().enumerate() {
        managed_fields(errors, &managed.index(index), entry);
    }
}

fn owners(errors: &mut Errors, path: &Path, owners: &[OwnerReference]) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        self::owner(errors, path, owner);
        if owner.controller != Some(true) {
            continue;
        }
        if let Some(other) = controller {
            let list: Vec<_> = owners.iter().map(shown).collect();
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} \
                 and {}/{}",
                other.kind, other.name, owner.kind, owner.name
            );
            // Once: it shows the whole list.
            return errors.add_shown(Reason::Invalid, path, format!("[{}]", list.join(",")), why);
        }
        controller = Some(owner);
    }
}

fn owner(errors: &mut Errors, path: &Path, owner: &OwnerReference) {
    let version = match owner.api_version.split('/').collect::<Vec<_>>().as_slice() {
        [version] | [_, version] => *version,
        _ => "",
    };
    if version.is_empty() {
        errors.invalid(&path.child("apiVersion"), owner.api_version.as_str(), "version must not be empty");
    }
    for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
        if value.is_empty() {
            errors.invalid(&path.child(field), value.as_str(), "must not be empty");
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        let why = "/v1, Kind=Event is disallowed from being an owner";
        errors.add_shown(Reason::Invalid, path, shown(owner), why);
    }
}

/// An owner in upstream's order of fields.
fn shown(owner: &OwnerReference) -> String {
    let mut parts: Vec<String> = [
        ("apiVersion", &owner.api_version),
        ("kind", &owner.kind),
        ("name", &owner.name),
        ("uid", &owner.uid),
    ]
    .iter()
    .map(|(field, value)| format!("\"{field}\":{}", json(value)))
    .collect();
    let flags = [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)];
    parts.extend(flags.iter().filter_map(|(field, flag)| flag.map(|flag| format!("\"{field}\":{flag}"))));
    format!("{{{}}}", parts.join(","))
}

fn finalizers(errors: &mut Errors, path: &Path, finalizers: &[String]) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    for (index, name) in finalizers.iter().enumerate() {
        let at = path.index(index);
        all(errors, &at, name, names::qualified(name));
        if !name.contains('/') && !STANDARD.contains(&name.as_str()) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&at, name.as_str(), why);
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            path,
            finalizers.to_vec(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}

fn managed_fields(errors: &mut Errors, path: &Path, entry: &ManagedFieldsEntry) {
    match text(&entry.operation) {
        "Apply" | "Update" => {}
        other => errors.invalid(&path.child("operation"), other, "must be `Apply` or `Update`"),
    }
    match text(&entry.fields_type) {
        "FieldsV1" | "" => {}
        other => errors.invalid(&path.child("fieldsType"), other, "must be `FieldsV1`"),
    }
    at_most_bytes(errors, &path.child("manager"), text(&entry.manager), 128);
}

/// What an update keeps.
fn kept(errors: &mut Errors, meta: &ObjectMeta, old: &ObjectMeta) {
    let path = PATH.child("metadata");
    if old.deletion_timestamp.is_some() {
        let before = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<_> =
            meta.finalizers.iter().flatten().filter(|finalizer| !before.contains(finalizer)).collect();
        if !added.is_empty() {
            let list: Vec<_> = added.iter().map(|finalizer| json(finalizer).to_string()).collect();
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    list.join(", ")
                ),
            );
        }
    }
    let fields: [(&str, Value, Value); 6] = [
        ("name", json(&meta.name), json(&old.name)),
        ("namespace", json(&meta.namespace), json(&old.namespace)),
        ("uid", json(&meta.uid), json(&old.uid)),
        ("creationTimestamp", json(&meta.creation_timestamp), json(&old.creation_timestamp)),
        ("deletionTimestamp", json(&meta.deletion_timestamp), json(&old.deletion_timestamp)),
        (
            "deletionGracePeriodSeconds",
            json(meta.deletion_grace_period_seconds),
            json(old.deletion_grace_period_seconds),
        ),
    ];
    for (field, new, old) in fields {
        if new != old {
            errors.invalid(&path.child(field), new, check::IMMUTABLE);
        }
    }
    if let (Some(new), Some(old)) = (meta.generation, old.generation)
        && new < old
    {
        errors.invalid(&path.child("generation"), new, "must not be decremented");
    }
}
