//! Nodes, as far as they decide what is to run on them: which pods they are for, whether they answer, and how many of each zone
//! do. Pure.
//!
//! A zone is what the well-known labels of region and zone say together; nodes without them share one.

use super::key::Key;
use super::meta::{Labels, Meta};
use crate::limits;
use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The effect of a taint by which pods leave.
pub const NO_EXECUTE: &str = "NoExecute";
/// The taint of a node of which somebody knows that nothing runs there any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What a node's condition `Ready` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// Nothing yet.
    #[default]
    Untold,
    /// It can run pods.
    True,
    /// It cannot.
    False,
    /// It does not answer.
    Unknown,
}

impl From<&str> for Ready {
    fn from(status: &str) -> Ready {
        match status {
            "" => Ready::Untold,
            "True" => Ready::True,
            "False" => Ready::False,
            _ => Ready::Unknown,
        }
    }
}

/// What of a node is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is ready.
    pub ready: Ready,
}

impl Facts {
    /// Whether it makes pods leave.
    pub fn repels(&self) -> bool {
        self.taints.iter().any(|taint| taint.effect == NO_EXECUTE)
    }

    /// Whether nothing of its pods is left there, by the word of who tainted it so.
    pub fn is_out_of_service(&self) -> bool {
        self.ready != Ready::True && self.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
    }

    /// Where it is.
    pub fn zone(&self) -> String {
        let region = self.labels.get("topology.kubernetes.io/region").map_or("", String::as_str);
        format!("{region}:{}", self.zone_label().unwrap_or_default())
    }

    /// The zone that its label names.
    pub fn zone_label(&self) -> Option<&str> {
        self.labels.get("topology.kubernetes.io/zone").map(String::as_str)
    }
}

/// How many nodes of a zone are made to lose their pods since they are not ready: upstream's rates. Where many fail together it is
/// more likely that something between them and the controllers is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// None, and those that were may keep them: no node is ready anywhere.
    Off,
    /// No more.
    Paused,
    /// One in so long.
    Each(Duration),
}

/// The nodes of a zone.
#[derive(Clone, Copy, Debug, Default)]
struct Zone {
    ready: usize,
    unready: usize,
}

impl Zone {
    fn rate(self) -> Rate {
        let all = self.ready + self.unready;
        let disrupted = self.ready > 0
            && self.unready > 2
            && self.unready.saturating_mul(100) >= all.saturating_mul(limits::NODES_UNREADY_PERCENT);
        match disrupted {
            false => Rate::Each(limits::NODE_EVICTION),
            true if all > limits::LARGE_CLUSTER => Rate::Each(limits::NODE_EVICTION_SLOW),
            true => Rate::Paused,
        }
    }

    fn count(&mut self, ready: Ready) -> &mut usize {
        if ready == Ready::True { &mut self.ready } else { &mut self.unready }
    }
}

/// What is different of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// It is for other pods.
    pub suits: bool,
    /// It is in another zone, by its label.
    pub moved: bool,
    /// It makes pods leave, or did.
    pub repels: bool,
    /// It has stopped to answer.
    pub silent: bool,
    /// Nothing of its pods is left there.
    pub out_of_service: bool,
    /// Nodes lose their pods at another rate.
    pub rate: bool,
    /// A node is ready again, after none was.
    pub recovered: bool,
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    all: BTreeMap<Key, Facts>,
    zones: BTreeMap<String, Zone>,
}

#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    is: String,
    status: String,
}

impl Nodes {
    /// A node is like this now. Gives back its metadata, and what is different of it.
    pub fn note(&mut self, key: &Key, bytes: &[u8]) -> Option<(Meta, Change)> {
        let Raw { metadata, spec, status } = serde_json::from_slice(bytes).ok()?;
        let ready = status.conditions.iter().find(|condition| condition.is == "Ready");
        let facts = Facts {
            labels: metadata.labels.clone(),
            taints: spec.taints,
            ready: ready.map_or(Ready::Untold, |ready| Ready::from(ready.status.as_str())),
        };
        let before = self.all.get(key);
        if before == Some(&facts) {
            return Some((metadata, Change::default()));
        }
        let was = before.map(|facts| facts.ready);
        let suits = before.is_none_or(|old| (&old.labels, &old.taints) != (&facts.labels, &facts.taints));
        let change = Change {
            suits,
            moved: before.and_then(Facts::zone_label) != facts.zone_label(),
            repels: before.is_some_and(Facts::repels) || facts.repels(),
            silent: facts.ready == Ready::Unknown && was != Some(Ready::Unknown),
            out_of_service: facts.is_out_of_service() && !before.is_some_and(Facts::is_out_of_service),
            ..Change::default()
        };
        Some((metadata, self.count(key, Some(facts), change)))
    }

    /// A node is gone.
    pub fn forget(&mut self, key: &Key) -> Change {
        let moved = self.all.get(key).and_then(Facts::zone_label).is_some();
        self.count(key, None, Change { suits: true, moved, ..Change::default() })
    }

    /// Puts a node where it belongs now, and finds what that means for all.
    fn count(&mut self, key: &Key, facts: Option<Facts>, change: Change) -> Change {
        let off = self.is_off();
        let before = match &facts {
            Some(facts) => self.all.insert(key.clone(), facts.clone()),
            None => self.all.remove(key),
        };
        let zones: Vec<_> = [&before, &facts].into_iter().flatten().map(Facts::zone).collect();
        let rates = |nodes: &Nodes| zones.iter().map(|zone| nodes.rate(zone)).collect::<Vec<_>>();
        let rates_before = rates(self);
        if let Some(old) = before {
            let zone = self.zones.entry(old.zone()).or_default();
            *zone.count(old.ready) -= 1;
            if zone.ready + zone.unready == 0 {
                self.zones.remove(&old.zone());
            }
        }
        if let Some(new) = facts {
            *self.zones.entry(new.zone()).or_default().count(new.ready) += 1;
        }
        let (off_now, rates_now) = (self.is_off(), rates(self));
        Change { rate: off != off_now || rates_before != rates_now, recovered: off && !off_now, ..change }
    }

    /// Whether there are nodes and none of them is ready.
    fn is_off(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(|zone| zone.ready == 0)
    }

    /// The rate at which nodes of a zone lose their pods.
    pub fn rate(&self, zone: &str) -> Rate {
        if self.is_off() { Rate::Off } else { self.zones.get(zone).copied().unwrap_or_default().rate() }
    }

    /// A node.
    pub fn get(&self, key: &Key) -> Option<&Facts> {
        self.all.get(key)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Facts)> {
        self.all.iter().map(|(key, facts)| (key.name(), facts))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The same.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn note(nodes: &mut Nodes, name: &str, zone: &str, ready: &str) -> Change {
        let node = json!({
            "metadata": {"name": name, "uid": name, "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        nodes.note(&Key::new("", name), &serde_json::to_vec(&node).unwrap()).unwrap().1
    }

    /// The rate of zone `a`, of so many nodes of which so many are ready, beside another zone that is well or is not.
    #[track_caller]
    fn check(ready: usize, all: usize, beside: &str, expected: Rate) {
        let mut nodes = Nodes::default();
        note(&mut nodes, "beside", "b", beside);
        for number in 0..all {
            let status = if number < ready { "True" } else { "Unknown" };
            note(&mut nodes, &format!("n{number}"), "a", status);
        }
        assert_eq!(nodes.rate(":a"), expected, "{ready} of {all}, beside {beside}");
    }

    #[test]
    fn nodes_lose_their_pods_slowly_and_not_at_all_where_most_of_a_small_zone_are_silent() {
        let (usual, slow) = (Rate::Each(limits::NODE_EVICTION), Rate::Each(limits::NODE_EVICTION_SLOW));
        check(3, 3, "True", usual);
        check(1, 3, "True", usual);
        check(1, 4, "True", Rate::Paused);
        check(3, 6, "True", usual);
        check(40, 100, "True", slow);
        check(60, 100, "True", usual);
        check(0, 4, "True", usual);
        check(0, 4, "False", Rate::Off);
        check(1, 4, "False", Rate::Paused);
    }

    #[test]
    fn what_is_different_is_told_once() {
        let mut nodes = Nodes::default();
        let first = note(&mut nodes, "n", "a", "True");
        assert!(first.suits && first.moved && !first.silent && !first.recovered, "{first:?}");
        assert_eq!(note(&mut nodes, "n", "a", "True"), Change::default());
        let silent = note(&mut nodes, "n", "a", "Unknown");
        assert!(silent.silent && silent.rate && !silent.suits && !silent.moved, "{silent:?}");
        let back = note(&mut nodes, "n", "a", "True");
        assert!(back.recovered && back.rate && !back.silent, "{back:?}");
        assert!(note(&mut nodes, "n", "b", "True").moved);
        assert!(nodes.forget(&Key::new("", "n")).moved);
        assert!(nodes.zones.is_empty() && nodes.all.is_empty());
    }
}
