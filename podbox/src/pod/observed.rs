//! What is known of a pod on this node, and how each report changes it. Pure: the worker calls these
//! methods when it issues a step and when a step comes back.
//!
//! ```text
//! image      Absent ──pulling──▶ Pulling ──▶ Ready
//!              ▲ retried after back-off       │
//!              └────────── Failed ◀───────────┘ (on error)
//!
//! sandbox    Absent ──▶ Creating ──▶ Ready ──▶ Removing ──▶ Removed
//!              ▲            ▼ error
//!              └────────  Failed (retried after back-off)
//!
//! container  Waiting ──▶ Starting ──▶ Running ──▶ Ended ──▶ Starting …
//!                            ▼ error                ▲
//!                          Failed ──────────────────┘ (a failed start counts as an end)
//! ```
//!
//! A state that names work in flight (Pulling, Creating, Starting, Removing) is what keeps a step from
//! being issued twice.

use super::restart::Backoff;
use crate::sandbox::runtime::{ExitStatus, Exited, Started};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

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
    /// The last try failed and left nothing.
    Failed {
        /// What went wrong, for people.
        message: String,
        /// When.
        at: Instant,
    },
    /// Being taken away.
    Removing,
    /// Taken away; with what could not be, if anything.
    Removed {
        /// What teardown could not do.
        problem: Option<String>,
    },
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which run.
    pub attempt: u32,
    /// When it had started; none if it never did.
    pub started: Option<SystemTime>,
    /// Its end.
    pub exited: Exited,
    /// The end by the clock that back-off is counted with.
    pub at: Instant,
    /// The kernel marked one of its processes as an OOM victim.
    pub oom_killed: bool,
    /// Why it could not be started, or why its end is unknown, if so.
    pub failure: Option<StartFailure>,
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartFailure {
    /// Upstream's reason: CreateContainerConfigError, StartError.
    pub reason: String,
    /// What went wrong, for people.
    pub message: String,
}

/// What one container is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ContainerState {
    /// Never started.
    #[default]
    Waiting,
    /// A start is in flight.
    Starting,
    /// It runs.
    Running {
        /// Its start.
        started: Started,
        /// The stop signal was sent.
        stopping: bool,
        /// Every process of it was killed.
        killed: bool,
    },
    /// It ended.
    Ended(Ended),
}

/// One container's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSeen {
    /// Its image.
    pub image: ImageState,
    /// Waits between pulls.
    pub pull_backoff: Backoff,
    /// What it is doing.
    pub state: ContainerState,
    /// The run before the current one.
    pub last: Option<Ended>,
    /// The number of the current or next run, counted from 0.
    pub attempt: u32,
    /// Waits between restarts.
    pub backoff: Backoff,
}

/// A pod's end was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Termination {
    /// When.
    pub since: Instant,
    /// How long processes have between the stop signal and the kill.
    pub grace: Duration,
}

/// All that is known of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Its sandbox.
    pub sandbox: SandboxState,
    /// Waits between tries to make it.
    pub sandbox_backoff: Backoff,
    /// Its containers by name.
    pub containers: BTreeMap<String, ContainerSeen>,
    /// Its end was asked for.
    pub termination: Option<Termination>,
}

impl ContainerSeen {
    /// A start is issued now.
    pub fn starting(&mut self, now: Instant) {
        if let ContainerState::Ended(ended) = std::mem::replace(&mut self.state, ContainerState::Starting) {
            self.attempt = ended.attempt + 1;
            self.last = Some(ended);
            // The first run waits for nothing, and neither does the first restart.
            self.backoff.tried(now);
        }
    }

    /// What the last run did is gone: it is to run once more, as if it had not.
    pub fn again(&mut self) {
        if let ContainerState::Ended(ended) = std::mem::take(&mut self.state) {
            self.attempt = ended.attempt + 1;
            self.last = Some(ended);
        }
    }

    /// The start came back.
    pub fn started(&mut self, started: Started) {
        self.state = ContainerState::Running { started, stopping: false, killed: false };
    }

    /// The start failed and left nothing.
    pub fn start_failed(&mut self, failure: StartFailure, at: SystemTime, now: Instant) {
        let exited = Exited { status: ExitStatus::Code(128), at };
        self.state = ContainerState::Ended(Ended {
            attempt: self.attempt,
            started: None,
            exited,
            at: now,
            oom_killed: false,
            failure: Some(failure),
        });
    }

    /// The run ended.
    pub fn exited(&mut self, exited: Exited, oom_killed: bool, now: Instant) {
        let started = match &self.state {
            ContainerState::Running { started, .. } => Some(started.at),
            _ => None,
        };
        self.state = ContainerState::Ended(Ended {
            attempt: self.attempt,
            started,
            exited,
            at: now,
            oom_killed,
            failure: None,
        });
    }

    /// Its stop signal is sent now.
    pub fn stopping(&mut self) {
        if let ContainerState::Running { stopping, .. } = &mut self.state {
            *stopping = true;
        }
    }

    /// Its processes are killed now.
    pub fn killed(&mut self) {
        if let ContainerState::Running { killed, .. } = &mut self.state {
            *killed = true;
        }
    }

    /// Whether a process of it may exist.
    pub fn is_active(&self) -> bool {
        matches!(self.state, ContainerState::Starting | ContainerState::Running { .. })
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.attempt
    }
}

impl Observed {
    /// What is known of a container; nothing, if it was never touched.
    pub fn container(&self, name: &str) -> &ContainerSeen {
        static NOTHING: LazyLock<ContainerSeen> = LazyLock::new(ContainerSeen::default);
        self.containers.get(name).unwrap_or(&NOTHING)
    }

    /// A container's entry, made if it is not there.
    pub fn container_mut(&mut self, name: &str) -> &mut ContainerSeen {
        self.containers.entry(name.to_owned()).or_default()
    }
}
