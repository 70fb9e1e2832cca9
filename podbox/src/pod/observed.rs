//! What is known of a pod on this node, and how each report changes it. Pure: the worker calls these
//! methods when it issues a step and when a step comes back.
//!
//! ```text
//! image      Absent ──pulling──▶ Pulling ──▶ Ready
//!              ▲ retried after back-off       │
//!              └────────── Failed ◀───────────┘ (on error)
//!
//! sandbox    Absent ──▶ Creating ──▶ Ready ──▶ Removing ──▶ Removed
//!                        │    ▲                  │    ▲
//!                  error ▼    │ tried again      ▼    │ tried again after a while
//!                       Failed, Unmounted        Stuck
//!
//! container  Waiting ──▶ Starting ──▶ Running ──▶ Ended ──▶ Starting …
//!                            │                      ▲
//!                            ├── error: it never ran ┘ (a failed start counts as an end)
//!                            └── error: its configuration ──▶ Refused ──▶ Starting … (the same run again)
//! ```
//!
//! A state that names work in flight (Pulling, Creating, Starting, Removing, a hook's Running) is what keeps a step
//! from being issued twice.

mod container;

pub use container::{ContainerSeen, ContainerState, Ended, Hook, HookState, Order, Run, StartFailure};

use super::restart::{Backoff, Pace};
use crate::api::startup::Startup;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Where an image is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ImageState {
    /// Not asked for.
    #[default]
    Absent,
    /// Being pulled.
    Pulling,
    /// Unpacked; its image ID.
    Ready {
        /// The digest of its configuration.
        id: String,
    },
    /// The last pull failed.
    Failed {
        /// Upstream's reason: ErrImagePull, ErrImageNeverPull, InvalidImageName.
        reason: String,
        /// What went wrong, for people.
        message: String,
        /// When.
        at: Instant,
    },
}

/// Where the sandbox is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SandboxState {
    /// Not made.
    #[default]
    Absent,
    /// Being made.
    Creating,
    /// There.
    Ready,
    /// The last try failed, and what it had made was taken back, as far as it could be.
    Failed {
        /// What went wrong, for people.
        message: String,
        /// When it is tried again, unless something changes before.
        until: Instant,
    },
    /// A volume could not be had, and nothing else was begun.
    Unmounted {
        /// What went wrong, in the kubelet's words.
        message: String,
        /// When it is tried again, unless something changes before.
        until: Instant,
    },
    /// Being taken away.
    Removing,
    /// Something of it could not be taken away: it is still there.
    Stuck {
        /// What, for people.
        message: String,
        /// When it is tried again.
        until: Instant,
    },
    /// Taken away; with what could not be, if anything, where nobody waits for that.
    Removed {
        /// What teardown could not do.
        problem: Option<String>,
    },
}

/// An end that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Termination {
    /// When.
    pub since: Instant,
    /// How long hooks and processes have until the kill.
    pub grace: Duration,
    /// Nobody is asked: everything is killed now.
    pub at_once: bool,
}

impl Termination {
    /// From now on, within `grace`, of which a manifest may have asked for more than a clock can count.
    pub fn new(since: Instant, grace: Duration) -> Termination {
        Termination { since, grace: grace.min(limits::LONGEST), at_once: false }
    }

    /// Without asking.
    pub fn at_once(since: Instant) -> Termination {
        Termination { since, grace: Duration::ZERO, at_once: true }
    }

    /// When whatever is left is to be killed.
    pub fn deadline(&self) -> Instant {
        self.since + self.grace
    }

    /// The sooner one of two: a second order can only hasten an end.
    pub fn sooner(self, other: Termination) -> Termination {
        let since = self.since.min(other.since);
        let grace = self.deadline().min(other.deadline()).saturating_duration_since(since);
        Termination { since, grace, at_once: self.at_once || other.at_once }
    }
}

/// Why a pod failed whose containers may have done nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Upstream's reason: DeadlineExceeded, Evicted. Empty if whoever said that it failed gave none.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// All that is known of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// When it was accepted.
    pub accepted: Option<Instant>,
    /// Its sandbox.
    pub sandbox: SandboxState,
    /// Its containers by name.
    pub containers: BTreeMap<String, ContainerSeen>,
    /// Its end was asked for.
    pub termination: Option<Termination>,
    /// It has failed, whatever its containers do.
    pub verdict: Option<Verdict>,
    /// How long its containers wait between restarts.
    pub pace: Pace,
    /// How it came up.
    pub startup: Startup,
}

impl Observed {
    /// Nothing yet, of a pod on a node with this pace of restarts.
    pub fn new(accepted: Instant, pace: Pace) -> Observed {
        Observed { accepted: Some(accepted), pace, ..Observed::default() }
    }

    /// What is known of a container; nothing, if it was never touched.
    pub fn container(&self, name: &str) -> &ContainerSeen {
        static NOTHING: LazyLock<ContainerSeen> = LazyLock::new(ContainerSeen::default);
        self.containers.get(name).unwrap_or(&NOTHING)
    }

    /// A container's entry, made if it is not there.
    pub fn container_mut(&mut self, name: &str) -> &mut ContainerSeen {
        let pace = self.pace;
        let new = || ContainerSeen { backoff: Backoff::new(pace), ..ContainerSeen::default() };
        self.containers.entry(name.to_owned()).or_insert_with(new)
    }

    /// The pod is to end.
    pub fn terminate(&mut self, end: Termination) {
        self.termination = Some(self.termination.map_or(end, |before| before.sooner(end)));
        for container in self.containers.values_mut() {
            container.run_mut().into_iter().for_each(|run| run.probes.quiet());
        }
    }

    /// The pod has failed, and is to end. What was said first stays.
    pub fn fail(&mut self, verdict: Verdict, end: Termination) {
        self.verdict.get_or_insert(verdict);
        self.terminate(end);
    }

    /// Its containers are to run once more, from the first one on.
    pub fn begin_anew(&mut self, now: Instant) {
        for container in self.containers.values_mut() {
            if let ContainerState::Ended(ended) = &container.state {
                let at = ended.at;
                container.backoff.tried(at, now);
                container.again();
            }
        }
    }

    /// Whether a process of some container may exist.
    pub fn is_active(&self) -> bool {
        self.containers.values().any(ContainerSeen::is_active)
    }
}
