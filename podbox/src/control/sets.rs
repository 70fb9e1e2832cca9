//! Objects that select others (ReplicaSets, ReplicationControllers, Deployments), as far as finding them needs it: by uid, by
//! who controls them, by namespace. Pure.

use super::key::Key;
use super::meta::{Labels, Meta};
use super::pods::drop_from;
use crate::api::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Such an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Selecting {
    /// Its uid.
    pub uid: Arc<str>,
    /// Who controls it.
    pub controller: Option<Arc<str>>,
    /// Its own labels.
    pub labels: Labels,
    /// What it selects.
    pub selector: selector::Labels,
    /// Whether it goes.
    pub deleting: bool,
    /// How often it was asked for anew.
    pub generation: i64,
}

impl Selecting {
    /// Whether it selects what has these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        selects(&self.selector, labels)
    }
}

/// Whether a selector asks for something, and these labels are so.
pub fn selects(selector: &selector::Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.matches(|key| labels.get(key).map(String::as_str))
}

/// All of a kind.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    all: BTreeMap<Key, Selecting>,
    by_uid: BTreeMap<Arc<str>, Key>,
    controlled: BTreeMap<Arc<str>, BTreeSet<Key>>,
    in_namespace: BTreeMap<Arc<str>, BTreeSet<Key>>,
    /// Those of each namespace that nobody controls.
    free: BTreeMap<Arc<str>, BTreeSet<Key>>,
}

#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Value,
}

/// A selector in either form: that of apps/v1, or a plain map of labels.
pub fn selector(given: &Value) -> selector::Labels {
    let is_map = given.as_object().is_some_and(|fields| fields.values().all(Value::is_string));
    match is_map {
        true => {
            let labels = Labels::deserialize(given).unwrap_or_default();
            selector::Labels::of_map(&labels)
        }
        false => {
            LabelSelector::deserialize(given).map(|given| selector::Labels::of(&given)).unwrap_or_default()
        }
    }
}

impl Sets {
    /// An object is like this now. Gives back its metadata, and what there was before.
    pub fn note(&mut self, key: &Key, bytes: &[u8]) -> Option<(Meta, Option<Selecting>)> {
        let Raw { metadata, spec } = serde_json::from_slice(bytes).ok()?;
        let before = self.forget(key);
        let one = Selecting {
            uid: metadata.uid.as_str().into(),
            controller: metadata.controller().map(|owner| owner.uid.as_str().into()),
            labels: metadata.labels.clone(),
            selector: selector(&spec.selector),
            deleting: metadata.deleting(),
            generation: metadata.generation,
        };
        self.by_uid.insert(Arc::clone(&one.uid), key.clone());
        match &one.controller {
            Some(controller) => {
                self.controlled.entry(Arc::clone(controller)).or_default().insert(key.clone());
            }
            None => drop(self.free.entry(key.namespace().into()).or_default().insert(key.clone())),
        }
        self.in_namespace.entry(key.namespace().into()).or_default().insert(key.clone());
        self.all.insert(key.clone(), one);
        Some((metadata, before))
    }

    /// An object is gone; gives back what it was.
    pub fn forget(&mut self, key: &Key) -> Option<Selecting> {
        let one = self.all.remove(key)?;
        self.by_uid.remove(&one.uid);
        match &one.controller {
            Some(controller) => drop_from(&mut self.controlled, &**controller, key),
            None => drop_from(&mut self.free, key.namespace(), key),
        }
        drop_from(&mut self.in_namespace, key.namespace(), key);
        Some(one)
    }

    /// One of them.
    pub fn get(&self, key: &Key) -> Option<&Selecting> {
        self.all.get(key)
    }

    /// Where the one of this uid is.
    pub fn of_uid(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// Those that the object of this uid controls.
    pub fn controlled_by(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.controlled.get(uid).into_iter().flatten()
    }

    /// Those of a namespace.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Selecting)> {
        let keys = self.in_namespace.get(namespace).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.all.get(key)?)))
    }

    /// Those of a namespace that nobody controls.
    pub fn free(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Selecting)> {
        let keys = self.free.get(namespace).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.all.get(key)?)))
    }

    /// Those of a namespace that select these labels.
    pub fn selecting<'a>(&'a self, namespace: &str, labels: &'a Labels) -> impl Iterator<Item = &'a Key> {
        self.of_namespace(namespace).filter(|(_, one)| one.selects(labels)).map(|(key, _)| key)
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_selectors_are_read() {
        let labels = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
        let mut sets = Sets::default();
        for (name, selector) in [
            ("map", json!({"app": "x"})),
            ("labels", json!({"matchLabels": {"app": "x"}})),
            ("in", json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]})),
            ("nothing", json!({})),
        ] {
            let set = json!({"metadata": {"uid": name}, "spec": {"selector": selector}});
            sets.note(&Key::new("n", name), &serde_json::to_vec(&set).unwrap()).unwrap();
        }
        let found: Vec<_> = sets.selecting("n", &labels("x")).map(Key::name).map(str::to_owned).collect();
        assert_eq!(found, ["in", "labels", "map"]);
        assert_eq!(sets.selecting("n", &labels("y")).count(), 0);
        assert_eq!(sets.of_uid("map"), Some(&Key::new("n", "map")));
        sets.forget(&Key::new("n", "map"));
        assert!(sets.of_uid("map").is_none());
    }
}
