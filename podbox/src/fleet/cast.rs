//! Who is on stage: simulated nodes, the pods that they were given, and what each has to do next, and when. Pure.
//!
//! Of a pod nothing is kept but where it is, what it waits for, and its address: how far it has come is read from its status when its
//! time has come. Pods of other nodes are passed over.

use super::part::Part;
use super::roster;
use crate::api::object;
use crate::api::simulate::{Mood, Span};
use crate::control::follow::Follower;
use crate::control::key::Key;
use crate::control::marks::Marks;
use crate::control::queue::Queue;
use crate::control::source::Source;
use crate::limits;
use crate::net::ipam::Ipam;
use crate::pod::glance::Glance;
use crate::pod::pretend::{self, Deed, Stage};
use crate::store::Entry;
use ipnet::Ipv4Net;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes.
    Node,
    /// Pods.
    Pod,
}

const NODES: &str = "/nodes";
const PODS: &str = "/pods";
/// Nodes first: a pod's is known then.
pub const KINDS: [(Kind, &str); 2] = [(Kind::Node, NODES), (Kind::Pod, PODS)];

/// How long a pod waits until it asks again for an address, where all are taken.
const ADDRESS_AGAIN: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A node's.
    Node(Key),
    /// A pod's.
    Pod(Key),
}

/// What is to be written, of the object of this uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// How a node is.
    Node {
        /// Which one.
        name: String,
        /// Its uid.
        uid: String,
        /// Where its pods' addresses are, and its own.
        range: Ipv4Net,
    },
    /// How far a pod has come.
    Pod {
        /// Which one.
        key: Key,
        /// Its uid.
        uid: String,
        /// So far.
        stage: Stage,
        /// How often its containers were started again.
        restarts: u32,
        /// Its address.
        address: String,
        /// Its node's.
        host: String,
    },
    /// That nothing of a pod is left.
    Remove {
        /// Which one.
        key: Key,
        /// Its uid.
        uid: String,
    },
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what was written.
    pub wall: SystemTime,
    /// Since some start: it does not jump.
    pub since: Duration,
}

/// A node.
#[derive(Debug)]
struct Machine {
    uid: String,
    mood: Mood,
    range: Ipv4Net,
    /// By the pods' keys.
    addresses: Ipam,
}

/// All of them.
#[derive(Debug)]
pub struct Cast {
    /// How long a pod takes to start that does not say it.
    start: Span,
    machines: BTreeMap<Key, Machine>,
    /// Pods by their nodes, simulated or not: a node may come after its pods.
    bound: Marks,
    queue: Queue<Work>,
    /// What pods are about to do, and when.
    waiting: BTreeMap<Key, (Deed, Duration)>,
}

impl Cast {
    /// Nobody; pods that do not say it take so long to start.
    pub fn new(start: Span) -> Cast {
        let (machines, bound, queue, waiting) = Default::default();
        Cast { start, machines, bound, queue, waiting }
    }

    /// What is due next.
    pub fn next(&mut self, now: Now, source: &impl Source) -> Option<(Work, Write)> {
        for _ in 0..limits::SIMULATED_AT_ONCE {
            let work = self.queue.take(now.since)?;
            if self.queue.pauses(&work, now.since) {
                self.queue.paused(&work);
                continue;
            }
            let write = match &work {
                Work::Node(key) => self.node(key, source, now),
                Work::Pod(key) => self.pod(key, source, now),
            };
            match write {
                Some(write) => return Some((work, write)),
                None => self.queue.done(&work),
            }
        }
        None
    }

    /// A write is done, or failed.
    pub fn ended(&mut self, work: &Work, done: bool, now: Duration) {
        match done {
            true => self.queue.done(work),
            false => self.queue.failed(work, now),
        }
    }

    /// When something is due although nothing changes.
    pub fn next_time(&self) -> Option<Duration> {
        if self.queue.waiting() > 0 { Some(Duration::ZERO) } else { self.queue.next_time() }
    }

    /// Names and uids of the nodes that live.
    pub fn alive(&self) -> Vec<(String, String)> {
        let alive = self.machines.iter().filter(|(_, machine)| machine.mood != Mood::Silent);
        alive.map(|(key, machine)| (key.name().to_owned(), machine.uid.clone())).collect()
    }

    fn node(&mut self, key: &Key, source: &impl Source, now: Now) -> Option<Write> {
        let Machine { uid, range, mood, .. } = self.machines.get(key)?;
        let node: Value = read(source, NODES, key)?;
        if *mood == Mood::Silent || object::uid(&node) != uid {
            return None;
        }
        let silence = roster::silence(&node, range, now.wall);
        if !silence.is_zero() {
            self.queue.add_at(Work::Node(key.clone()), now.since + silence);
            return None;
        }
        Some(Write::Node { name: key.name().to_owned(), uid: uid.clone(), range: *range })
    }

    fn pod(&mut self, key: &Key, source: &impl Source, now: Now) -> Option<Write> {
        let before = self.waiting.remove(key);
        let pod: Value = read(source, PODS, key)?;
        let machine = self.machines.get_mut(&node_of(&pod)?)?;
        if machine.mood == Mood::Silent {
            return None;
        }
        let part = Part::new(&pod, self.start);
        let (deed, wait) = part.next(now.wall)?;
        let due = match before {
            Some((same, due)) if same == deed => due,
            _ => now.since.saturating_add(wait),
        };
        if due > now.since {
            self.waiting.insert(key.clone(), (deed, due));
            self.queue.add_at(Work::Pod(key.clone()), due);
            return None;
        }
        let uid = object::uid(&pod).to_owned();
        let Some((stage, restarts)) = part.done(deed) else {
            return Some(Write::Remove { key: key.clone(), uid });
        };
        let host = roster::address(&machine.range).to_string();
        let address = match (pod["spec"]["hostNetwork"] == true, stage) {
            (true, _) => host.clone(),
            (false, Stage::Starting) => String::new(),
            (false, _) => match machine.address(key, &pod) {
                Some(address) => address,
                None => {
                    self.queue.add_at(Work::Pod(key.clone()), now.since + ADDRESS_AGAIN);
                    return None;
                }
            },
        };
        Some(Write::Pod { key: key.clone(), uid, stage, restarts, address, host })
    }

    fn add_pods_of(&mut self, node: &Key) {
        self.bound.of(node).for_each(|pod| self.queue.add(Work::Pod(pod.clone())));
    }

    fn look_at_node(&mut self, key: &Key, node: &Value) {
        if !pretend::is_simulated(node) {
            return self.forget(Kind::Node, key);
        }
        let (uid, mood) = (object::uid(node), Mood::of(node));
        let known = self.machines.get_mut(key).filter(|machine| machine.uid == uid);
        let was = known.as_ref().map_or(Mood::Silent, |machine| machine.mood);
        match known {
            Some(machine) => machine.mood = mood,
            None => {
                let Some((range, addresses)) = self.range_for(node) else {
                    return tracing::warn!("the simulated node {key} gets no addresses: none are left");
                };
                let machine = Machine { uid: uid.to_owned(), mood, range, addresses };
                self.machines.insert(key.clone(), machine);
            }
        }
        self.queue.add(Work::Node(key.clone()));
        if was == Mood::Silent && mood != Mood::Silent {
            self.add_pods_of(key);
        }
    }

    /// The range that a node names, or that its number gives it, or that nobody has.
    fn range_for(&self, node: &Value) -> Option<(Ipv4Net, Ipam)> {
        let own = roster::range_of(node).or_else(|| roster::number(node).map(roster::range));
        let free = |range: &Ipv4Net| self.machines.values().all(|machine| machine.range != *range);
        let range = own.or_else(|| roster::ranges().find(free))?;
        Some((range, Ipam::new(range).ok()?))
    }
}

impl Machine {
    /// A pod's address: the one that it has, or a new one.
    fn address(&mut self, key: &Key, pod: &Value) -> Option<String> {
        let told = pod["status"]["podIP"].as_str().and_then(|address| address.parse().ok());
        if let Some(told) = told.filter(|_| self.addresses.get(key.as_str()).is_none())
            && let Err(error) = self.addresses.hold(key.as_str(), told)
        {
            tracing::debug!("{key} gets another address than {told}: {error}");
        }
        let address = self.addresses.acquire(key.as_str());
        address
            .inspect_err(|error| tracing::warn!("{key} has no address: {error}"))
            .ok()
            .map(|one| one.to_string())
    }
}

impl Follower<Kind> for Cast {
    fn look(&mut self, kind: Kind, entry: &Entry) {
        let key = &entry.key;
        match kind {
            Kind::Node => match serde_json::from_slice(&entry.bytes) {
                Ok(node) => self.look_at_node(key, &node),
                Err(error) => tracing::error!("the node {key} in the store cannot be read: {error}"),
            },
            Kind::Pod => {
                let glance = Glance::read(&entry.bytes).unwrap_or_default();
                let node = glance.node().map(|name| Key::new("", name));
                let played = node.as_ref().is_some_and(|node| self.machines.contains_key(node));
                self.bound.note(key, node);
                if played && has_a_part(&glance, self.start) {
                    self.queue.add(Work::Pod(key.clone()));
                }
            }
        }
    }

    fn forget(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Node => drop(self.machines.remove(key)),
            Kind::Pod => {
                self.waiting.remove(key);
                let node = self.bound.note(key, None);
                if let Some(machine) = node.and_then(|node| self.machines.get_mut(&node)) {
                    machine.addresses.release(key.as_str());
                }
            }
        }
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        match kind {
            Kind::Node => self.machines.keys().cloned().collect(),
            Kind::Pod => self.bound.keys().cloned().collect(),
        }
    }
}

/// Whether anything is to be done for a pod, where those that do not say it take so long to start.
fn has_a_part(pod: &Glance<'_>, start: Span) -> bool {
    start != Span::Never || pod.is_going() || pod.says_how_it_fares()
}

fn node_of(pod: &Value) -> Option<Key> {
    let name = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?;
    Some(Key::new("", name))
}

fn read<T: DeserializeOwned>(source: &impl Source, collection: &str, key: &Key) -> Option<T> {
    serde_json::from_slice(&source.get(collection, key)?.bytes).ok()
}
