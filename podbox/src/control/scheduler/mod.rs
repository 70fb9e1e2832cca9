//! The scheduler: gives pods without a node one that takes them; those that none takes wait, and say why.
//!
//! ```text
//!   pods, nodes, volumes, … ──▶ cluster: what each node holds      waiting: who is next
//!                                     └──────────▶ choose ◀──────────┘
//!                                   a node │            │ none
//!                            Decision::Bind ▼            ▼ Decision::Preempt: others go for it; or Decision::Tell: it waits, and says why
//! ```
//!
//! Pure but for `run`: it is told what changes and what the time is, and says what is to be written. A decision counts
//! from the moment that it is made: the next pod is judged with it, whether it is written yet or not, so that many are written at
//! once. Pods of other schedulers are theirs, and gated ones wait for who gated them. A pod whose claims wait for it
//! (`Decision::Provide`) is given its node once they have volumes there; one for which others go, once they are gone.
//!
//! Invariants: what it holds of a pod follows from what the store shows and what it has decided since, whatever order changes of
//! different kinds come in; a pod that no node takes is neither bound nor ended, so that nobody replaces it.

mod budgets;
mod census;
mod choose;
mod claims;
mod cluster;
mod demand;
mod facts;
mod nearness;
mod nominations;
mod place;
mod preempt;
mod refused;
mod room;
pub mod run;
mod score;
mod seen;
mod spreading;
mod storage;
mod term;
mod told;
mod verdict;
mod waiting;

use super::key::Key;
use super::pods::drop_from;
use crate::limits;
use budgets::Budgets;
use choose::{Choice, Promise};
use cluster::Cluster;
use demand::{Demand, Load};
use k8s_openapi::api::core::v1::Pod;
use place::NodeId;
use seen::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
pub use told::Told;
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
    Tell(Subject, Told),
    /// Why it waits is said again: it has not changed.
    Again(Subject, String),
    /// A pod is told where it is to be, and these go from there.
    Preempt(Subject, Told, Vec<Subject>),
}

impl Decision {
    /// Whom it is about.
    pub fn subject(&self) -> &Subject {
        match self {
            Decision::Bind(subject, _) | Decision::Provide(subject, _) | Decision::Tell(subject, _) => {
                subject
            }
            Decision::Again(subject, _) | Decision::Preempt(subject, ..) => subject,
        }
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
    /// Until when they are to have them.
    deadline: Duration,
    /// The node that was kept for it until it was to be there.
    kept: Option<Arc<str>>,
}

impl Known {
    fn new(seen: Seen, on: Option<(NodeId, Arc<Load>)>) -> Known {
        let (withdrawn, awaits, deadline, kept) = Default::default();
        Known { uid: seen.uid.as_str().into(), seen, on, withdrawn, awaits, deadline, kept }
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
    /// The same pods, by their deadlines.
    deadlines: BTreeSet<(Duration, Key)>,
    /// Pods whose claims have all they need, so that they can be where they are to be.
    provided: BTreeSet<Key>,
    /// Pods for which others are being told to go, and whether something happened meanwhile that may help.
    preempting: BTreeMap<Key, bool>,
    budgets: Budgets,
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
        let (demand, told) = (Demand::of(&pod), Told::of(&pod));
        let kept = self.cluster.nominations.of(key).or(told.nominated.as_ref()).cloned();
        self.cluster.nominations.set(key, kept.as_ref(), &demand.load);
        self.waiting.add(key, demand, seen.created, told);
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
            Ok(pod) => Demand::of(&pod).load,
            Err(error) => return unread("pod", key, &error),
        };
        let before = self.pods.get(key).and_then(|known| known.on.clone());
        let same = before.is_some_and(|(on, before)| Some(on) == node && before.takes_as_much_as(&load));
        let stirred = self.stirred;
        self.forget_pod(key);
        if same {
            // It may be another to its neighbours, but leaves no room.
            self.stirred = stirred;
        }
        // Only now: with its last pod, a node that is gone loses its number.
        let node = self.cluster.id(&seen.node);
        self.cluster.add(key, &load, node);
        self.stirred = self.stirred.and(Cure::NEIGHBOURS);
        self.pods.insert(key.clone(), Known::new(seen, Some((node, load))));
    }

    /// A pod is gone, or over.
    pub fn forget_pod(&mut self, key: &Key) {
        let Some(mut known) = self.pods.remove(key) else { return };
        self.waiting.drop(key);
        self.preempting.remove(key);
        let awaits = std::mem::take(&mut known.awaits);
        awaits.iter().for_each(|claim| drop_from(&mut self.awaited, claim, key));
        self.deadlines.remove(&(known.deadline, key.clone()));
        if self.cluster.nominations.remove(key) {
            self.stirred = self.stirred.and(Cure::ROOM);
        }
        self.lift(key, known.on);
    }

    /// A pod is not where it was, or was to be.
    fn lift(&mut self, key: &Key, on: Option<(NodeId, Arc<Load>)>) {
        if let Some((node, load)) = on {
            self.cluster.take(key, &load, node);
            self.stirred = self.stirred.and(Cure::ROOM).and(Cure::NEIGHBOURS);
        }
    }

    /// The keys of all pods, after changes were missed.
    pub fn pods(&self) -> Vec<Key> {
        self.pods.keys().cloned().collect()
    }

    /// What is to be written next; nothing, too, after so many looks in vain.
    pub fn next(&mut self, now: Duration, patience: usize) -> Option<Decision> {
        for _ in 0..patience {
            let stirred = std::mem::take(&mut self.stirred);
            if stirred != Cure::default() {
                self.waiting.stir(stirred, now);
            }
            if let Some(decision) = self.next_provided().or_else(|| self.next_overdue(now)) {
                return Some(decision);
            }
            let (key, demand) = self.waiting.take(now)?;
            if let Some(stirred) = self.preempting.get_mut(&key) {
                // Who goes for it is not known to go yet: looked at again once it is.
                *stirred = true;
                continue;
            }
            let Some(known) = self.pods.get(&key) else {
                self.waiting.drop(&key);
                continue;
            };
            if known.on.is_some() {
                // It is on its way to a node: what comes of that tells.
                continue;
            }
            let subject = Subject { key: key.clone(), uid: Arc::clone(&known.uid) };
            let decision = match choose::choose(&key, &demand, &mut self.cluster) {
                Ok(choice) => self.chosen(subject, &demand, choice, now),
                Err(unfit) => self.refused(subject, &demand, unfit, now),
            };
            if decision.is_some() {
                return decision;
            }
        }
        None
    }

    /// A node takes a pod; what is to be written for that.
    fn chosen(
        &mut self,
        subject: Subject,
        demand: &Demand,
        choice: Choice,
        now: Duration,
    ) -> Option<Decision> {
        let (key, Choice { node, awaits, writes }) = (&subject.key, choice);
        let kept = self.cluster.nominations.of(key).cloned();
        self.cluster.nominations.remove(key);
        self.cluster.add(key, &demand.load, node);
        self.stirred = self.stirred.and(Cure::NEIGHBOURS);
        let known = self.pods.get_mut(key)?;
        known.on = Some((node, Arc::clone(&demand.load)));
        let name = Arc::clone(&self.cluster.place(node).name);
        if awaits.is_empty() {
            return Some(Decision::Bind(subject, name));
        }
        known.awaits.clone_from(&awaits);
        (known.kept, known.deadline) = (kept, now.saturating_add(limits::VOLUMES_BOUND));
        self.deadlines.insert((known.deadline, key.clone()));
        self.provide(subject, &name, (awaits, writes))
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
            // If it is elsewhere after all, the store will tell, or has told.
            Decision::Bind(..) if written || !known.seen.node.is_empty() => self.waiting.drop(&subject.key),
            Decision::Bind(..) if known.withdrawn => self.forget_pod(&subject.key),
            Decision::Bind(..) => {
                // It may be another by now: its next look is a first one.
                known.seen = Seen::default();
                let on = known.on.take();
                self.lift(&subject.key, on);
                self.waiting.retry(&subject.key, now);
            }
            Decision::Provide(..) | Decision::Again(..) => {}
            Decision::Tell(..) | Decision::Preempt(..) => self.was_told(&subject.key, written, now),
        }
    }

    /// Whether somebody is to be looked at now.
    pub fn is_ready(&self) -> bool {
        self.waiting.is_ready() || self.stirred != Cure::default() || !self.provided.is_empty()
    }

    /// When somebody is to be looked at although nothing happens.
    pub fn next_time(&self) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        self.waiting.next_time().into_iter().chain(deadline).min()
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
                place.pods.len(),
                place.taken,
                place.presumed,
                place.ports.len()
            )
        });
        held.collect()
    }

    /// Whether nothing is known of anything.
    fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.cluster.is_empty()
            && self.preempting.is_empty()
            && self.deadlines.is_empty()
            && self.awaited.is_empty()
            && self.waiting.is_empty()
    }
}

fn unread(what: &str, key: &Key, error: &serde_json::Error) {
    tracing::error!("{what} {key} in the store cannot be read, and the scheduler leaves it alone: {error}");
}
