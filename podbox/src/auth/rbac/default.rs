//! The roles and bindings that every cluster has, as upstream documents them for the kinds that podbox serves, and what
//! to do when they are not as they should be. Pure.
//!
//! An object whose `rbac.authorization.kubernetes.io/autoupdate` is `"false"` is left alone; others get back what they
//! lack, and keep what was added to them.

mod table;

use super::GROUP;
use super::rule::Rule;
use crate::api::object;
use serde_json::{Map, Value, json};

/// Whether an object may be mended.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A row of the table of roles.
struct RoleRow {
    name: &'static str,
    /// Into which role it is aggregated.
    into: Option<&'static str>,
    /// Which roles it aggregates: those with this word.
    of: Option<&'static str>,
    rules: Vec<Rule>,
}

/// A row of the table of bindings: a cluster role, and the group or user that has it.
struct BindingRow {
    role: &'static str,
    subjects: &'static [(&'static str, &'static str)],
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A rule about resources. The group without a name is `core` here.
fn on(verbs: &str, groups: &str, resources: &str) -> Rule {
    let groups = words(groups).into_iter();
    let groups = groups.map(|group| if group == "core" { String::new() } else { group }).collect();
    Rule { verbs: words(verbs), groups, resources: words(resources), ..Rule::default() }
}

fn named(rule: Rule, name: &str) -> Rule {
    Rule { names: words(name), ..rule }
}

/// A rule about paths.
fn paths(urls: &str) -> Rule {
    Rule { verbs: words("get"), urls: words(urls), ..Rule::default() }
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    })
}

fn aggregate_to(role: &str) -> String {
    format!("{GROUP}/aggregate-to-{role}")
}

impl RoleRow {
    fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata(self.name),
            "rules": self.rules.iter().map(Rule::value).collect::<Vec<_>>(),
        });
        if let Some(role) = self.into {
            object["metadata"]["labels"][aggregate_to(role)] = "true".into();
        }
        if let Some(word) = self.of {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {aggregate_to(word): "true"}}]});
            object["rules"] = Value::Null;
        }
        object
    }
}

impl BindingRow {
    fn object(&self) -> Value {
        let subject = |(kind, name): &(&str, &str)| json!({"kind": kind, "apiGroup": GROUP, "name": name});
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata(self.role),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": self.role},
        });
        if !self.subjects.is_empty() {
            object["subjects"] = self.subjects.iter().map(subject).collect();
        }
        object
    }
}

/// Every object there should be, roles first.
pub fn objects() -> Vec<Value> {
    let roles = table::roles().iter().map(RoleRow::object).collect::<Vec<_>>().into_iter();
    roles.chain(table::bindings().iter().map(BindingRow::object)).collect()
}

/// What to do about one of them.
#[derive(Debug, PartialEq)]
pub enum Mend {
    /// It is as it should be, or is to be left alone.
    Keep,
    /// It has to be written, as this.
    Write(Value),
    /// Its role cannot be changed: it has to be deleted, and then created as this.
    Recreate(Value),
}

/// What to do about the one that is there, given what it should be.
pub fn mend(there: &Value, expected: &Value) -> Mend {
    if there["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Mend::Keep;
    }
    if there["roleRef"] != expected["roleRef"] {
        return Mend::Recreate(expected.clone());
    }
    let mut mended = there.clone();
    for map in ["labels", "annotations"] {
        complete(&mut mended, map, &expected["metadata"][map]);
    }
    // The rules of a role that aggregates are those of others.
    if expected["aggregationRule"].is_null() {
        let rules = lacking(&there["rules"], &expected["rules"], covered);
        extend(&mut mended, "/rules", rules);
    } else if there["aggregationRule"].is_null() {
        mended["aggregationRule"] = expected["aggregationRule"].clone();
    } else {
        let at = "/aggregationRule/clusterRoleSelectors";
        let selectors = |object: &Value| object.pointer(at).cloned().unwrap_or_default();
        let lacks = lacking(&selectors(there), &selectors(expected), |all, one| all.contains(one));
        extend(&mut mended, at, lacks);
    }
    let subjects = lacking(&there["subjects"], &expected["subjects"], |all, one| all.contains(one));
    extend(&mut mended, "/subjects", subjects);
    if mended == *there { Mend::Keep } else { Mend::Write(mended) }
}

/// Adds what is missing to a map of the metadata; what is there stays.
fn complete(object: &mut Value, map: &str, expected: &Value) {
    let Some(metadata) = object::metadata(object) else { return };
    let there = metadata.entry(map).or_insert_with(|| Value::Object(Map::new()));
    if there.is_null() {
        *there = Value::Object(Map::new());
    }
    let (Some(there), Some(expected)) = (there.as_object_mut(), expected.as_object()) else { return };
    for (key, value) in expected {
        there.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn lacking(there: &Value, expected: &Value, has: impl Fn(&[Value], &Value) -> bool) -> Vec<Value> {
    let there = there.as_array().map(Vec::as_slice).unwrap_or_default();
    let expected = expected.as_array().into_iter().flatten();
    expected.filter(|one| !has(there, one)).cloned().collect()
}

/// Whether one of the rules that are there already allows all that this one does.
fn covered(there: &[Value], rule: &Value) -> bool {
    let list = |rule: &Value, key: &str| -> Vec<Value> { rule[key].as_array().cloned().unwrap_or_default() };
    let within = |there: &Value, key: &str| {
        let there = list(there, key);
        list(rule, key).iter().all(|word| there.contains(word))
    };
    let keys = ["verbs", "apiGroups", "resources", "nonResourceURLs"];
    there.iter().any(|there| {
        keys.iter().all(|key| within(there, key))
            && list(there, "resourceNames") == list(rule, "resourceNames")
    })
}

fn extend(object: &mut Value, at: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    if object.pointer(at).is_none_or(|there| !there.is_array()) {
        let (parent, key) = at.rsplit_once('/').unwrap_or(("", at));
        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.insert(key.to_owned(), Value::Array(Vec::new()));
        }
    }
    if let Some(list) = object.pointer_mut(at).and_then(Value::as_array_mut) {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests;
