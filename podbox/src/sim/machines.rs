//! The nodes of a simulated cluster, and the processes that really run there: what is true, whatever the API says.
//!
//! ```text
//!   bound ──▶ starting ──▶ running ──▶ ready ──▶ ended, if it is of those that end
//!                              ▲          │ crash        ▲
//!                              └──────────┘              │ asked to go: ended, told, then taken out of the API
//! ```
//!
//! A silent node does nothing and says nothing, and its processes go on. Invariant: a process ends before anybody is told so, and
//! starts before anybody is.

use super::api::Api;
use super::checks;
use super::world::target;
use crate::api::object;
use crate::control::key::Key;
use crate::pod::pretend::{self, Stage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node.
#[derive(Debug, Default)]
pub struct Machine {
    /// Whether it does not answer.
    pub silent: bool,
    /// Whether the administrator has closed it to pods, or has opened it again.
    pub closed: Option<bool>,
    /// What runs there, by the pod's uid.
    pub processes: BTreeMap<String, Process>,
    /// Its number, of which addresses are made.
    pub number: usize,
}

/// A pod's processes.
#[derive(Clone, Debug)]
pub struct Process {
    /// The pod.
    pub key: Key,
    /// How far it has come.
    pub stage: Stage,
    /// How often it was started again.
    pub restarts: u32,
    /// It takes until then to come further.
    pub slow_until: Duration,
}

/// What a node may do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// What is to be done for a pod that the API has.
    For(pretend::Deed),
    /// It runs, and the API does not have it any more.
    Kill,
}

/// All nodes, by name.
#[derive(Debug, Default)]
pub struct Machines(pub BTreeMap<String, Machine>);

impl Machines {
    /// What each node that answers may do, pod by pod: the node, the pod's uid and key, and the deed.
    pub fn due(&self, api: &Api, now: Duration) -> Vec<(String, String, Key, Deed)> {
        let mut due = Vec::new();
        let mut there = BTreeMap::new();
        for pod in api.list("/pods") {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            there.insert(object::uid(pod), node);
            let deed = match self.0.get(node) {
                Some(machine) if !machine.silent => {
                    let heard = || {
                        api.find(&target("v1", "Node", "", node))
                            .is_some_and(|node| object::holds(node, "Ready"))
                    };
                    machine.deed(pod, now, heard)
                }
                _ => None,
            };
            if let Some(deed) = deed {
                let key = Key::new(object::namespace(pod), object::name(pod));
                due.push((node.to_owned(), object::uid(pod).to_owned(), key, deed));
            }
        }
        for (name, machine) in self.0.iter().filter(|(_, machine)| !machine.silent) {
            let lost = machine.processes.iter().filter(|(uid, _)| !there.contains_key(uid.as_str()));
            due.extend(
                lost.map(|(uid, process)| (name.clone(), uid.clone(), process.key.clone(), Deed::Kill)),
            );
        }
        due
    }

    /// Two pods of one name whose processes run at the same time, if there are any.
    pub fn doubles(&self) -> Option<String> {
        let mut seen: BTreeMap<&Key, (&str, &str)> = BTreeMap::new();
        for (name, machine) in &self.0 {
            let live = machine.processes.iter().filter(|(_, one)| !matches!(one.stage, Stage::Ended(_)));
            for (uid, process) in live {
                if let Some((other, first)) = seen.insert(&process.key, (name, uid)) {
                    return Some(format!(
                        "{} runs as {first} on {other} and as {uid} on {name}",
                        process.key
                    ));
                }
            }
        }
        None
    }
}

impl Machine {
    /// What it may do for a pod of its own; `heard` tells whether the API has it as ready.
    fn deed(&self, pod: &Value, now: Duration, heard: impl FnOnce() -> bool) -> Option<Deed> {
        let process = self.processes.get(object::uid(pod));
        let slow = process.is_some_and(|process| process.slow_until > now);
        // What has ended in others' eyes stays so, whatever becomes of its processes.
        if !object::deleting(pod) && (slow || checks::has_ended(pod)) {
            return None;
        }
        let stage = process.map(|process| process.stage);
        let deed = pretend::deed(pod, stage, ends(pod).then_some(0));
        // Who was given up with its node says that it is ready once that is heard again: before, it would be contradicted at once.
        let again =
            || stage == Some(Stage::Ready) && !object::deleting(pod) && !checks::is_ready(pod) && heard();
        deed.or_else(|| again().then_some(pretend::Deed::Advance(Stage::Ready))).map(Deed::For)
    }
}

/// Whether a pod is of those that end by themselves.
pub fn ends(pod: &Value) -> bool {
    pod["spec"]["restartPolicy"] != "Always"
}
