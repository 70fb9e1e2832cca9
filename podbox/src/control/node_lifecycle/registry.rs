//! Which nodes are known to be there, and what each is told of how many there are. Pure.
//!
//! Who comes and who goes is said as an Event, as upstream does: once, or again after a restart. The more nodes there are, the longer each may use
//! what it has read of Secrets and ConfigMaps (`node.alpha.kubernetes.io/ttl`): podbox's own nodes watch instead, others' make use of it.

use super::Desired;
use crate::api::object;
use crate::api::objects::Seen;
use crate::control::action::{Actions, Edit, Saying, Subject, Write};
use crate::control::key::Key;
use serde_json::json;
use std::collections::BTreeMap;

/// For how many seconds a node may use what it has read.
const TTL: &str = "node.alpha.kubernetes.io/ttl";
/// From how many nodes on fewer seconds are too few, up to how many, and how many seconds: upstream's. They overlap, lest a node more
/// or less change all.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// The nodes that were told of.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Their uids.
    known: BTreeMap<Key, String>,
    step: usize,
}

impl Registry {
    /// The uid of a node that was told of.
    pub fn uid(&self, node: &Key) -> Option<&str> {
        self.known.get(node).map(String::as_str)
    }

    /// A node of this uid was told of; or that there is none any more.
    pub fn heed(&mut self, node: &Key, uid: Option<&str>) {
        match uid {
            Some(uid) if self.uid(node) != Some(uid) => drop(self.known.insert(node.clone(), uid.to_owned())),
            Some(_) => {}
            None => drop(self.known.remove(node)),
        }
    }

    /// There are so many nodes; tells whether that changes what they are told.
    pub fn count(&mut self, nodes: usize) -> bool {
        let before = self.step;
        while nodes > STEPS[self.step].1 {
            self.step += 1;
        }
        while nodes < STEPS[self.step].0 {
            self.step -= 1;
        }
        self.step != before
    }

    /// For how many seconds nodes may use what they have read.
    pub fn ttl(&self) -> u32 {
        STEPS[self.step].2
    }
}

/// What is said of a node that is there.
pub fn registered(node: &str) -> Saying {
    Saying::normal("RegisteredNode", format!("Node {node} event: Registered Node {node} in Controller"))
}

/// What is said of a node that is gone.
pub fn removed(about: Subject) -> Actions {
    let node = &about.at.name;
    let message = format!("Node {node} event: Removing Node {node} from Controller");
    Actions { said: vec![Saying::normal("RemovingNode", message)], about: Some(about), ..Actions::none() }
}

/// The write by which a node knows for how many seconds it may use what it has read, if it does not.
pub fn write(desired: &Desired<'_>, seconds: u32) -> Option<Write> {
    let seconds = seconds.to_string();
    let known = desired.object["metadata"]["annotations"][TTL] == seconds.as_str();
    (!known).then(|| Write::Edit {
        at: desired.at.clone(),
        part: "",
        seen: Seen { uid: object::uid(desired.object).to_owned(), revision: Some(desired.revision) },
        edit: Edit::Merge(json!({"metadata": {"annotations": {TTL: seconds}}})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_nodes_the_longer_and_one_more_or_less_changes_nothing() {
        let mut registry = Registry::default();
        let ttls = [1, 100, 101, 95, 89, 501, 499, 449, 5000, 1799, 1].map(|nodes| {
            registry.count(nodes);
            registry.ttl()
        });
        assert_eq!(ttls, [0, 0, 15, 15, 0, 30, 30, 15, 300, 60, 0]);
        assert!(!registry.count(2));
    }
}
