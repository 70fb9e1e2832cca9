//! What a script may do: what people do with kubectl, in fewer words, and what goes wrong.

use super::stage::{Image, Stage};
use super::table;
use crate::api::kinds::Kind;
use crate::api::lifecycle::{Deletion, Propagation};
use crate::api::object;
use crate::api::objects::Target;
use crate::api::patch::merge;
use crate::sim::faults::key_of;
use crate::sim::story;
use serde_json::{Value, json};
use std::sync::Arc;

/// Who does it.
const USER: &str = "user";
/// Where.
const NAMESPACE: &str = "default";
/// A ReplicaSet's revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// What tells its pods from others' of its Deployment.
const HASH: &str = "pod-template-hash";

impl Stage {
    /// Does one; gives back the tables that it asks for.
    pub fn command(&mut self, words: &[&str], input: &str) -> Result<Vec<String>, String> {
        match words {
            ["nodes", count] => {
                for number in 0..number(count)? {
                    self.world.join(number);
                }
            }
            ["apply"] => self.apply(input)?,
            ["scale", which, count] => {
                let count = number(count)?;
                self.edit(which, |object| object["spec"]["replicas"] = count.into())?;
            }
            ["set-image", which, image] => {
                self.edit(which, |object| {
                    object["spec"]["template"]["spec"]["containers"][0]["image"] = (*image).into()
                })?;
            }
            ["label", which, label] => {
                let (name, value) = match label.split_once('=') {
                    Some((name, value)) => (name, value.into()),
                    None => (label.trim_end_matches('-'), Value::Null),
                };
                self.edit(which, |object| {
                    merge::apply(object, json!({"metadata": {"labels": {name: value}}}))
                })?;
            }
            ["patch", which, ..] => {
                let patch = words[2..].join(" ");
                let patch: Value = serde_json::from_str(&patch).map_err(|why| why.to_string())?;
                self.edit(which, |object| merge::apply(object, patch))?;
            }
            ["undo", which] => self.undo(which, None)?,
            ["undo", which, revision] => self.undo(which, Some(*revision))?,
            ["delete", which] => self.delete(which, None)?,
            ["delete", which, "background"] => self.delete(which, Some(Propagation::Background))?,
            ["delete", which, "foreground"] => self.delete(which, Some(Propagation::Foreground))?,
            ["delete", which, "orphan"] => self.delete(which, Some(Propagation::Orphan))?,
            ["image", image, "is", how @ ..] => {
                let how = match how {
                    ["fine"] => Image::Fine,
                    ["missing"] => Image::Missing,
                    ["never", "ready"] => Image::Unready,
                    ["failing", code] => Image::Fails(code.parse().map_err(|_| "a code is a number")?),
                    _ => return Err("an image is fine, missing, never ready or failing CODE".to_owned()),
                };
                self.images.insert((*image).to_owned(), how);
            }
            ["crash", pod] => {
                let pod = self.pod_named(pod)?;
                let node = pod["spec"]["nodeName"].as_str().ok_or("it has no node")?;
                self.world.crash_of(node, object::uid(&pod), &key_of(&pod));
            }
            ["silence", node] => self.silence(node, true)?,
            ["hear", node] => self.silence(node, false)?,
            ["drain", node] => self.drain(node)?,
            ["remove", node] => self.world.leave(node),
            ["refuse", count] => self.world.weather.refuse = number(count)?,
            ["restart"] => self.world.restart(),
            ["get", kinds @ .., "wide"] if !kinds.is_empty() => return self.get(kinds, true),
            ["get", kinds @ ..] if !kinds.is_empty() => return self.get(kinds, false),
            _ => return Err("there is no such command".to_owned()),
        }
        Ok(Vec::new())
    }

    fn kind(&self, word: &str) -> Result<Arc<Kind>, String> {
        let named = |kind: &&Arc<Kind>| {
            kind.singular == word || kind.plural == word || kind.short_names.iter().any(|name| name == word)
        };
        self.kinds
            .iter()
            .filter(|kind| kind.twin.is_none())
            .find(named)
            .cloned()
            .ok_or(format!("there is no kind {word}"))
    }

    /// An object, as `deployment/web`; of a pod's name the beginning and `*` will do.
    fn target(&self, which: &str) -> Result<Target, String> {
        let (kind, name) = which.split_once('/').ok_or("an object is named as deployment/web")?;
        let kind = self.kind(kind)?;
        let name = match &*kind.kind {
            "Pod" => object::name(&self.pod_named(name)?).to_owned(),
            _ => name.to_owned(),
        };
        let namespace = if kind.namespaced() { NAMESPACE } else { "" };
        let at = Target {
            api_version: kind.api_version().into(),
            kind: kind.kind.clone(),
            namespace: namespace.to_owned(),
            name,
        };
        self.world.api.find(&at).map(|_| ()).ok_or(format!("there is no {which}"))?;
        Ok(at)
    }

    fn edit(&mut self, which: &str, edit: impl FnOnce(&mut Value)) -> Result<(), String> {
        let at = self.target(which)?;
        match self.world.api.edit(&at, "", &Default::default(), edit) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("{why:?}")),
        }
    }

    /// Creates objects, or changes those that are there.
    fn apply(&mut self, input: &str) -> Result<(), String> {
        for document in serde_yaml::Deserializer::from_str(input) {
            let mut object: Value = serde::Deserialize::deserialize(document)
                .map_err(|why: serde_yaml::Error| why.to_string())?;
            let word = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            let kind = self.kinds.kind(&word("apiVersion"), &word("kind")).ok_or("there is no such kind")?;
            if kind.namespaced() && object::namespace(&object).is_empty() {
                object::set(&mut object, "namespace", NAMESPACE);
            }
            let at = Target {
                api_version: kind.api_version().into(),
                kind: kind.kind.clone(),
                namespace: object::namespace(&object).to_owned(),
                name: object::name(&object).to_owned(),
            };
            let now = self.world.now().wall;
            let done = match self.world.api.find(&at) {
                Some(_) => self
                    .world
                    .api
                    .edit(&at, "", &Default::default(), |old| merge::apply(old, object))
                    .map(drop),
                None => self.world.api.create(object, now, &mut self.world.random).map(drop),
            };
            done.map_err(|why| format!("{why:?}"))?;
        }
        Ok(())
    }

    fn delete(&mut self, which: &str, propagation: Option<Propagation>) -> Result<(), String> {
        let at = self.target(which)?;
        self.world.delete(USER, &at, Deletion { grace_seconds: None, propagation });
        Ok(())
    }

    /// As `kubectl rollout undo`: the template of a former ReplicaSet is wanted again.
    fn undo(&mut self, which: &str, to: Option<&str>) -> Result<(), String> {
        let at = self.target(which)?;
        let uid = self.world.api.find(&at).map(object::uid).unwrap_or_default().to_owned();
        let revision = |set: &Value| {
            set["metadata"]["annotations"][REVISION]
                .as_str()
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let mut sets: Vec<&Value> = self.world.api.list("apps/replicasets").collect();
        sets.retain(|set| set["metadata"]["ownerReferences"][0]["uid"] == uid.as_str());
        sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
        let found = match to {
            Some(to) => sets.into_iter().find(|set| revision(set).to_string() == to),
            None => sets.get(1).copied(),
        };
        let mut template = found.ok_or("there is no such revision")?["spec"]["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove(HASH);
        }
        self.edit(which, |object| object["spec"]["template"] = template)
    }

    fn silence(&mut self, node: &str, silent: bool) -> Result<(), String> {
        let machine = self.world.machines.0.get_mut(node).ok_or(format!("there is no {node}"))?;
        machine.silent = silent;
        let what = if silent { "falls silent" } else { "is heard again" };
        self.world.relate(&story::name("Node", node), what);
        Ok(())
    }

    fn get(&self, kinds: &[&str], wide: bool) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for word in kinds {
            let kind = self.kind(word)?;
            let collection = kind.collection();
            let found = self.world.api.list(&collection);
            let found = table::lines(&kind, found, wide, self.world.now().wall.into());
            match found.is_empty() {
                true => lines.push(format!("No {} found.", kind.plural)),
                false => lines.extend(found),
            }
        }
        Ok(lines)
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
