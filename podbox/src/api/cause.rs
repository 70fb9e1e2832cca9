//! Why a container ended: what `podbox why` tells, what status says where the container left no words of its own, and what
//! is kept of it for as long as the pod is on its node.

use super::sender::Sender;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Who ended it, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// It called exit.
    Exit,
    /// It sent itself the signal.
    Itself,
    /// The kernel's OOM killer.
    Oom,
    /// podbox.
    Podbox,
    /// Another process.
    Process,
    /// The kernel, for something that it did.
    Kernel,
    /// Nobody saw who.
    Unknown,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who ended it.
    pub by: By,
    /// In words.
    pub message: String,
    /// Who sent the signal, as far as the kernel was heard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<Sender>,
    /// It called exit, with a code that looks like another end or after it had lost a child.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub telling: bool,
}

impl Cause {
    /// More is to be said of it than its code.
    pub fn says_more(&self) -> bool {
        self.by != By::Exit || self.telling
    }
}

/// A run that is over, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Which run, from 0.
    pub attempt: u32,
    /// When it had started; absent if it never did.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub ended: SystemTime,
    /// As shells and Kubernetes number it.
    pub code: i32,
    /// Why.
    pub cause: Cause,
}

/// Adds an end to those of a container, of which the latest are kept.
pub fn remember(ends: &mut Vec<Ending>, ending: Ending) {
    ends.push(ending);
    let surplus = ends.len().saturating_sub(limits::ENDS_KEPT);
    ends.drain(..surplus);
}

/// What is known of a pod's ends: `podbox why -o json` prints a list of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Its phase; absent once it has left this node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<String>,
    /// Why it failed as a whole, if so: reason and message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<String>,
    /// Its containers in the manifest's order.
    pub containers: Vec<ContainerAccount>,
}

/// What is known of a container's ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerAccount {
    /// Its name.
    pub name: String,
    /// What it is doing: `running since`, `waiting`, …
    pub state: String,
    /// Its last ends, the latest last.
    pub ends: Vec<Ending>,
}
