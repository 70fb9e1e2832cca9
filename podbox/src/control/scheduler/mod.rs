//! The scheduler: gives pods without a node one that takes them; those that none takes wait, and say why.
//!
//! ```text
//!   pods, nodes, volumes, … ──▶ cluster: what each node holds      waiting: who is next
//!                                     └──────────▶ choose ◀──────────┘
//!                                   a node │            │ none
//!                            Decision::Bind ▼            ▼ Decision::Tell, and wait until something happens that may help
//! ```
//!
//! Pure but for `run`: it is told what changes and what the time is, and says what is to be written. A decision counts
//! from the moment that it is made: the next pod is judged with it, whether it is written yet or not, so that many are written at
//! once. Pods of other schedulers are theirs, and gated ones wait for who gated them. Nobody is made to go for a pod of higher priority;
//! it only comes first. A pod whose claims wait for it (`Decision::Provide`) is given its node once they have volumes there.
//!
//! Invariants: what it holds of a pod follows from what the store shows and what it has decided since, whatever order changes of
//! different kinds come in; a pod that no node takes is neither bound nor ended, so that nobody replaces it.

mod census;
mod choose;
mod claims;
mod cluster;
mod demand;
mod nearness;
mod place;
mod room;
pub mod run;
mod score;
mod seen;
mod spreading;
mod storage;
mod term;
mod verdict;
mod waiting;

use super::key::Key;
use super::pods::drop_from;
use crate::control::meta::Head;
use choose::{Choice, Promise};
use cluster::Cluster;
use demand::{Demand, Load};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use place::NodeId;
use seen::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use verdict::Cure;
use waiting::Waiting;

#[cfg(test)]
mod tests;

/// The scheduler whose pods these are.
pub const NAME: &str = "default-scheduler";

/// A pod that something is to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which one.
    pub key: Key,
    /// Its uid: another one of its name is somebody else's.
    pub uid: Arc<str>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A pod is given to a node.
    Bind(Subject, Arc<str>),
    /// Claims of a pod get their volumes on the node that it is to be given when they have them.
    Provide(Subject, Vec<Promise>),
    /// A pod is told why it waits.
    Tell(Subject, String),
}

impl Decision {
    /// Whom it is about.
    pub fn subject(&self) -> &Subject {
        let (Decision::Bind(subject, _) | Decision::Provide(subject, _) | Decision::Tell(subject, _)) = self;
        subject
    }
}

/// A pod, as far as it was looked at.
#[derive(Debug)]
struct Known {
    uid: Arc<str>,
    /// As what it was seen: one that is the same is not read again.
    seen: Seen,
    /// Where it is, or is to be, and what it takes there.
    on: Option<(NodeId, Arc<Load>)>,
    /// While it was given a node, it turned out to want none.
    withdrawn: bool,
    /// Claims that are to have volumes before it can be there.
    awaits: BTreeSet<Key>,
}

impl Known {
    fn new(seen: Seen, on: Option<(NodeId, Arc<Load>)>) -> Known {
        Known { uid: seen.uid.as_str().into(), seen, on, withdrawn: false, awaits: BTreeSet::new() }
    }
}

/// The scheduler.
#[derive(Debug, Default)]
pub struct Scheduler {
    cluster: Cluster,
    waiting: Waiting,
    pods: BTreeMap<Key, Known>,
    /// What has happened since somebody was looked at.
    stirred: Cure,
    /// Who waits for a claim to have a volume.
    awaited: BTreeMap<Key, BTreeSet<Key>>,
    /// Pods whose claims have all they need, so that they can be where they are to be.
    provided: BTreeSet<Key>,
}

impl Scheduler {
    /// A pod is like this now.
    pub fn note_pod(&mut self, key: &Key, bytes: &[u8]) {
        let seen = match Seen::read(bytes) {
            Ok(seen) => seen,
            Err(error) => return unread("pod", key, &error),
        };
        if self.pods.get(key).is_some_and(|known| *known.uid != *seen.uid) || seen.over {
            self.forget_pod(key);
        }
        if seen.over || self.pods.get(key).is_some_and(|known| known.seen == seen) {
            return;
        }
        match (seen.node.is_empty(), self.pods.get(key).is_some_and(|known| known.on.is_some())) {
            // It is being given one, or this is from before that.
            (true, true) => {
                let Some(known) = self.pods.get_mut(key) else { return };
                known.withdrawn |= !seen.waits;
                if known.withdrawn && !known.awaits.is_empty() {
                    self.forget_pod(key);
                }
            }
            (true, false) if seen.waits => self.wait(key, seen, bytes),
            (true, false) => self.forget_pod(key),
            (false, _) => self.settle(key, seen, bytes),
        }
    }

    /// A pod is to be given a node.
    fn wait(&mut self, key: &Key, seen: Seen, bytes: &[u8]) {
        let pod: Pod = match serde_json::from_slice(bytes) {
            Ok(pod) => pod,
            Err(error) => return unread("pod", key, &error),
        };
        self.waiting.add(key, Demand::of(&pod), seen.created);
        self.pods.insert(key.clone(), Known::new(seen, None));
    }

    /// A pod is on a node.
    fn settle(&mut self, key: &Key, seen: Seen, bytes: &[u8]) {
        let node = self.cluster.find(&seen.node);
        let known = self.pods.get_mut(key);
        if let Some(known) = known
            && known.on.as_ref().is_some_and(|(on, _)| Some(*on) == node)
            && known.seen.is_like(&seen)
        {
            // It was given to that node here.
            known.seen = seen;
            return;
        }
        let load = match serde_json::from_slice::<Pod>(bytes) {
            Ok(pod) => Arc::new(Demand::of(&pod).load),
            Err(error) => return unread("pod", key, &error),
        };
        self.forget_pod(key);
        // Only now: with its last pod, a node that is gone loses its number.
        let node = self.cluster.id(&seen.node);
        self.cluster.add(&load, node);
        self.stirred = self.stirred.and(Cure::NEIGHBOURS);
        self.pods.insert(key.clone(), Known::new(seen, Some((node, load))));
    }

    /// A pod is gone, or over.
    pub fn forget_pod(&mut self, key: &Key) {
        let Some(mut known) = self.pods.remove(key) else { return };
        self.waiting.drop(key);
        let awaits = std::mem::take(&mut known.awaits);
        awaits.iter().for_each(|claim| drop_from(&mut self.awaited, claim, key));
        if let Some((node, load)) = known.on {
            self.cluster.take(&load, node);
            self.stirred = self.stirred.and(Cure::ROOM).and(Cure::NEIGHBOURS);
        }
    }

    /// A node is like this now.
    pub fn note_node(&mut self, key: &Key, bytes: &[u8]) {
        match serde_json::from_slice::<Node>(bytes) {
            Ok(node) if self.cluster.note(key.name(), &node) => self.stirred = Cure::ANY,
            Ok(_) => {}
            Err(error) => unread("node", key, &error),
        }
    }

    /// A node is gone. Who waits for parts of the cluster to be even may be helped.
    pub fn forget_node(&mut self, key: &Key) {
        self.cluster.forget(key.name());
        self.stirred = Cure::ANY;
    }

    /// A node has these taints, though it may not say so yet. Its next look says what follows.
    pub fn taint_ahead(&mut self, node: &str, taints: Vec<Taint>) {
        self.cluster.taint_ahead(node, taints);
    }

    /// A namespace is like this now.
    pub fn note_namespace(&mut self, key: &Key, bytes: &[u8]) {
        let labels = Head::read(bytes).labels;
        if self.cluster.namespaces.get(key.name()) != Some(&labels) {
            self.cluster.namespaces.insert(key.name().into(), labels);
            self.stirred = self.stirred.and(Cure::NEIGHBOURS);
        }
    }

    /// A namespace is gone.
    pub fn forget_namespace(&mut self, key: &Key) {
        self.cluster.namespaces.remove(key.name());
    }

    /// The keys of all pods, after changes were missed.
    pub fn pods(&self) -> Vec<Key> {
        self.pods.keys().cloned().collect()
    }

    /// The keys of all nodes.
    pub fn nodes(&self) -> Vec<Key> {
        self.cluster.names().iter().map(|name| Key::new("", name)).collect()
    }

    /// The keys of all namespaces.
    pub fn namespaces(&self) -> Vec<Key> {
        self.cluster.namespaces.keys().map(|name| Key::new("", name)).collect()
    }

    /// What is to be written next; nothing, too, after so many looks in vain.
    pub fn next(&mut self, now: Duration, patience: usize) -> Option<Decision> {
        for _ in 0..patience {
            let stirred = std::mem::take(&mut self.stirred);
            if stirred != Cure::default() {
                self.waiting.stir(stirred, now);
            }
            if let Some(decision) = self.next_provided() {
                return Some(decision);
            }
            let (key, demand) = self.waiting.take(now)?;
            let Some(known) = self.pods.get_mut(&key) else {
                self.waiting.drop(&key);
                continue;
            };
            let subject = Subject { key: key.clone(), uid: Arc::clone(&known.uid) };
            match choose::choose(&demand, &self.cluster) {
                Ok(Choice { node, awaits, writes }) => {
                    let load = Arc::new(demand.load.clone());
                    self.cluster.add(&load, node);
                    known.on = Some((node, load));
                    self.stirred = self.stirred.and(Cure::NEIGHBOURS);
                    let name = Arc::clone(&self.cluster.place(node).name);
                    if awaits.is_empty() {
                        return Some(Decision::Bind(subject, name));
                    }
                    known.awaits.clone_from(&awaits);
                    if let Some(decision) = self.provide(subject, &name, (awaits, writes)) {
                        return Some(decision);
                    }
                }
                Err(unfit) => {
                    self.waiting.park(&key, unfit.cure, now);
                    let message = unfit.to_string();
                    if demand.told.as_ref() != Some(&message) {
                        self.waiting.told(&key, Some(message.clone()));
                        return Some(Decision::Tell(subject, message));
                    }
                }
            }
        }
        None
    }

    /// What came of a decision: whether it is written.
    pub fn ended(&mut self, decision: &Decision, written: bool, now: Duration) {
        let subject = decision.subject();
        if let (Decision::Provide(_, promises), false) = (decision, written) {
            return self.not_provided(subject, promises, now);
        }
        let Some(known) = self.pods.get_mut(&subject.key).filter(|known| known.uid == subject.uid) else {
            return;
        };
        match decision {
            // If it is elsewhere after all, the store will tell.
            Decision::Bind(..) if written => self.waiting.drop(&subject.key),
            Decision::Bind(..) if !known.seen.node.is_empty() => {}
            Decision::Bind(..) if known.withdrawn => self.forget_pod(&subject.key),
            Decision::Bind(..) => {
                // It may be another by now: its next look is a first one.
                known.seen = Seen::default();
                if let Some((node, load)) = known.on.take() {
                    self.cluster.take(&load, node);
                    self.stirred = self.stirred.and(Cure::ROOM).and(Cure::NEIGHBOURS);
                }
                self.waiting.retry(&subject.key, now);
            }
            Decision::Tell(..) | Decision::Provide(..) if written => {}
            Decision::Provide(..) => {}
            Decision::Tell(..) => {
                self.waiting.told(&subject.key, None);
                self.waiting.retry(&subject.key, now);
            }
        }
    }

    /// Whether somebody is to be looked at now.
    pub fn is_ready(&self) -> bool {
        self.waiting.is_ready() || self.stirred != Cure::default() || !self.provided.is_empty()
    }

    /// When somebody is to be looked at although nothing happens.
    pub fn next_time(&self) -> Option<Duration> {
        self.waiting.next_time()
    }

    /// How many pods are to be looked at, how many pause, and how many wait for something to happen.
    pub fn counts(&self) -> [usize; 3] {
        self.waiting.counts()
    }
}

#[cfg(test)]
impl Scheduler {
    /// What each node holds, in words.
    fn held(&self) -> Vec<String> {
        let nodes = self.cluster.nodes();
        let held = nodes.map(|(_, place, _)| {
            format!(
                "{}: {} {:?} {:?} {:?}",
                place.name,
                place.pods,
                place.taken,
                place.presumed,
                place.ports.len()
            )
        });
        held.collect()
    }

    /// Whether nothing is known of anything.
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.cluster.is_empty() && self.counts() == [0; 3]
    }
}

fn unread(what: &str, key: &Key, error: &serde_json::Error) {
    tracing::error!("{what} {key} in the store cannot be read, and the scheduler leaves it alone: {error}");
}
