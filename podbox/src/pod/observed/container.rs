//! What is known of one container, and how each report changes it.
//!
//! ```text
//!   Run:   started ──▶ postStart Due ──▶ Running ──▶ Done ─────────────▶ counts as started
//!                                          └──────▶ Failed ──▶ Order: it is to end
//!   end:   Order, or the pod's ──▶ preStop Due ──▶ Running ──▶ Done | Failed ──▶ signalled ──▶ killed ──▶ Ended
//! ```
//!
//! Whether a container is started and ready is asked here and nowhere else: [`ContainerSeen::is_started`] and
//! [`ContainerSeen::is_ready`], in which its probes have their say.

use super::{ImageState, Termination};
use crate::api::cause::{self, By, Cause, Ending};
use crate::pod::probe::Probes;
use crate::pod::resize::{Refusal, Resize, Share};
use crate::pod::restart::{Backoff, Pace};
use crate::pod::zombies::Pile;
use crate::sandbox::runtime::{ExitStatus, Exited, ProcessUser, Started};
use serde::{Deserialize, Serialize};
use std::time::{Instant, SystemTime};

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
    /// What its postStart hook complained of, if that is why it had to end.
    pub hook: Option<String>,
    /// Its last words: what it left in its termination message file, or at the end of its log.
    pub message: String,
    /// It was ended for another to follow, whatever the restart policy says.
    pub replaced: bool,
    /// Who ended it; unknown of one that an older podbox saw end.
    pub cause: Option<Cause>,
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// Upstream's reason: CreateContainerConfigError, StartError.
    pub reason: String,
    /// What went wrong, for people.
    pub message: String,
}

impl StartFailure {
    /// Nothing was made of the container, so that there was no run: its configuration does not hold together.
    pub fn is_of_configuration(&self) -> bool {
        matches!(self.reason.as_str(), "CreateContainerConfigError" | "CreateContainerError")
    }
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// After its start.
    PostStart,
    /// Before its stop signal.
    PreStop,
}

/// What has become of a run's hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookState {
    /// Not called, if there is one.
    #[default]
    Due,
    /// Called, and not through.
    Running,
    /// Through, or there is none.
    Done,
    /// It did not do what it should.
    Failed,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its start.
    pub started: Started,
    /// The hook after its start.
    pub post_start: HookState,
    /// What that complained of.
    pub complaint: Option<String>,
    /// The hook before its end; due until that is asked for.
    pub pre_stop: HookState,
    /// When it was sent its stop signal.
    pub signalled: Option<Instant>,
    /// Every process of it was killed.
    pub killed: bool,
    /// What its probes are at.
    pub probes: Probes,
    /// What is told of those of its processes that have ended and lie unreaped.
    pub pile: Pile,
}

/// One container is to end, and its pod is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// By when.
    pub end: Termination,
    /// Why, as the Event that tells of it has it.
    pub why: String,
}

/// What one container is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ContainerState {
    /// Never started.
    #[default]
    Waiting,
    /// A start is in flight.
    Starting,
    /// It cannot be started as things are; tried again under the same number.
    Refused {
        /// Why.
        failure: StartFailure,
        /// When.
        at: Instant,
    },
    /// It runs.
    Running(Run),
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
    /// The current run is to end.
    pub order: Option<Order>,
    /// Another run is to follow the current one, whatever the restart policy says.
    pub replaced: bool,
    /// The image that is asked for, as the manifest named it then.
    pub asked: Option<String>,
    /// The run that the image was asked for last.
    pub asked_for: Option<u32>,
    /// The image that the current run, or the last one, was started with.
    pub definition: Option<String>,
    /// What the current run, or the last one, may use.
    pub share: Option<Share>,
    /// Another share that was asked for.
    pub resize: Resize,
    /// As whom the current run, or the last one, was executed.
    pub user: Option<ProcessUser>,
    /// The last ends of its runs, the latest last.
    pub ends: Vec<Ending>,
    /// OOM victims up to this moment, in nanoseconds since boot, were told.
    pub victims_told_ns: u64,
}

impl Run {
    /// One that has just started, without probes.
    pub fn new(started: Started, post_start: HookState) -> Run {
        let (pre_stop, complaint, probes, pile) = (HookState::Due, None, Probes::default(), Pile::default());
        Run { started, post_start, complaint, pre_stop, signalled: None, killed: false, probes, pile }
    }

    /// Its end has begun.
    pub fn is_stopping(&self) -> bool {
        self.pre_stop != HookState::Due || self.signalled.is_some() || self.killed
    }
}

impl ContainerSeen {
    /// A start is issued now.
    pub fn starting(&mut self, now: Instant) {
        self.definition.clone_from(&self.asked);
        if let ContainerState::Ended(ended) = std::mem::replace(&mut self.state, ContainerState::Starting) {
            self.attempt = ended.attempt + 1;
            // The first run waits for nothing, and neither does the first restart.
            self.backoff.tried(ended.at, now);
            self.last = Some(ended);
        }
    }

    /// What the last run did is gone: it is to run once more, as if it had not.
    pub fn again(&mut self) {
        if let ContainerState::Ended(ended) = std::mem::take(&mut self.state) {
            self.attempt = ended.attempt + 1;
            self.last = Some(ended);
        }
    }

    /// The start came back; a hook that is due is still to be called.
    pub fn started(&mut self, started: Started, post_start: HookState) {
        self.user.clone_from(&started.user);
        self.state = ContainerState::Running(Run::new(started, post_start));
    }

    /// The run that has just started is probed so.
    pub fn probed(&mut self, probes: Probes) {
        self.run_mut().into_iter().for_each(|run| run.probes = probes.clone());
    }

    /// The start failed and left nothing.
    pub fn start_failed(&mut self, failure: StartFailure, at: SystemTime, now: Instant) {
        let exited = Exited { status: ExitStatus::Code(128), at };
        let cause = Cause {
            by: By::Exit,
            message: format!("it was not started: {}", failure.message),
            sender: None,
            telling: false,
        };
        self.end(exited, (false, Some(cause)), String::new(), Some(failure), now);
    }

    /// Nothing was made for the start, and somebody may mend what keeps it from succeeding.
    pub fn refused(&mut self, failure: StartFailure, now: Instant) {
        self.state = ContainerState::Refused { failure, at: now };
    }

    /// The run ended, and so.
    pub fn exited(&mut self, exited: Exited, cause: Option<Cause>, message: String, now: Instant) {
        let oom_killed = cause.as_ref().is_some_and(|cause| cause.by == By::Oom);
        self.end(exited, (oom_killed, cause), message, None, now);
    }

    fn end(
        &mut self,
        exited: Exited,
        (oom_killed, cause): (bool, Option<Cause>),
        message: String,
        failure: Option<StartFailure>,
        at: Instant,
    ) {
        let (started, hook) = match std::mem::take(&mut self.state) {
            ContainerState::Running(run) => (Some(run.started.at), run.complaint),
            _ => (None, None),
        };
        let attempt = self.attempt;
        self.order = None;
        let replaced = std::mem::take(&mut self.replaced);
        if let Some(cause) = &cause {
            let ending = Ending {
                attempt,
                started,
                ended: exited.at,
                code: exited.status.code(),
                cause: cause.clone(),
            };
            cause::remember(&mut self.ends, ending);
        }
        let ended =
            Ended { attempt, started, exited, at, oom_killed, failure, hook, message, replaced, cause };
        self.state = ContainerState::Ended(ended);
    }

    /// A hook is called now.
    pub fn calling(&mut self, hook: Hook) {
        if let Some(state) = self.hook_mut(hook) {
            *state = HookState::Running;
        }
    }

    /// A hook of the run `attempt` came back.
    pub fn called(&mut self, attempt: u32, hook: Hook, complaint: Option<String>) {
        // The run it was called for may be over.
        if attempt != self.attempt {
            return;
        }
        match self.hook_mut(hook) {
            Some(state @ HookState::Running) => {
                *state = if complaint.is_some() { HookState::Failed } else { HookState::Done };
            }
            _ => return,
        }
        if let (ContainerState::Running(run), Hook::PostStart) = (&mut self.state, hook) {
            run.complaint = complaint;
        }
    }

    fn hook_mut(&mut self, hook: Hook) -> Option<&mut HookState> {
        match (&mut self.state, hook) {
            (ContainerState::Running(run), Hook::PostStart) => Some(&mut run.post_start),
            (ContainerState::Running(run), Hook::PreStop) => Some(&mut run.pre_stop),
            _ => None,
        }
    }

    /// The current run is to end, for itself; what was ordered before stays.
    pub fn order(&mut self, end: Termination, why: &str) {
        if self.run().is_some() {
            self.order.get_or_insert_with(|| Order { end, why: why.to_owned() });
        }
    }

    /// The current run is to end, and another one is to follow.
    pub fn replace(&mut self, end: Termination, why: &str) {
        self.order(end, why);
        self.replaced = self.run().is_some();
    }

    /// Whether another run may follow the current one at once. As the kubelet reckons it for a run that it ends itself, the
    /// wait is counted from the end of the run before.
    pub fn is_not_backing_off(&self, now: Instant) -> bool {
        self.last.as_ref().is_none_or(|last| self.backoff.until(last.at, now).is_none())
    }

    /// Its image is asked for now.
    pub fn pulling(&mut self, reference: &str, now: Instant) {
        self.image = ImageState::Pulling;
        self.asked = Some(reference.to_owned());
        self.asked_for = Some(self.next());
        self.pull_backoff.tried(now, now);
    }

    /// Its image is here; a failure after this one is the first.
    pub fn had(&mut self, id: String) {
        self.image = ImageState::Ready { id };
        self.pull_backoff = Backoff::default();
    }

    /// The manifest names another image: nothing of what was had or failed with the other one counts.
    pub fn forget_image(&mut self, pace: Pace) {
        self.image = ImageState::Absent;
        self.asked = None;
        self.pull_backoff = Backoff::default();
        self.backoff = Backoff::new(pace);
    }

    /// Another share is being given to the current run.
    pub fn resizing(&mut self, wanted: Share) {
        self.resize = Resize::Asked(wanted);
    }

    /// That came to its end; of a run that is over, it says nothing.
    pub fn resized(&mut self, attempt: u32, wanted: Share, result: Result<(), Refusal>, now: Instant) {
        if attempt != self.attempt || self.resize != Resize::Asked(wanted.clone()) {
            return;
        }
        match result {
            Ok(()) => (self.share, self.resize) = (Some(wanted), Resize::None),
            Err(refusal) => self.resize = Resize::Failed { wanted, refusal, at: now },
        }
    }

    /// Its stop signal is sent now.
    pub fn stopping(&mut self, now: Instant) {
        if let ContainerState::Running(run) = &mut self.state {
            run.signalled.get_or_insert(now);
        }
    }

    /// Its processes are killed now.
    pub fn killed(&mut self) {
        if let ContainerState::Running(run) = &mut self.state {
            run.killed = true;
        }
    }

    /// The current run, if there is one.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            ContainerState::Running(run) => Some(run),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            ContainerState::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Whether a process of it may exist.
    pub fn is_active(&self) -> bool {
        matches!(self.state, ContainerState::Starting | ContainerState::Running(_))
    }

    /// It runs, and its postStart hook is through.
    pub fn is_up(&self) -> bool {
        self.run().is_some_and(|run| run.post_start == HookState::Done)
    }

    /// It is up, and its startup probe has succeeded if it has one: those after it may start.
    pub fn is_started(&self) -> bool {
        self.is_up() && self.run().is_some_and(|run| run.probes.started())
    }

    /// It is started, and good for what it is there for, by its readiness probe if it has one.
    pub fn is_ready(&self) -> bool {
        self.is_started() && self.run().is_some_and(|run| run.probes.ready())
    }

    /// Whether any run of it has come to be up, or to its end.
    pub fn has_run(&self) -> bool {
        self.last.is_some() || self.is_up() || matches!(self.state, ContainerState::Ended(_))
    }

    /// The number of the next run.
    pub fn next(&self) -> u32 {
        match &self.state {
            ContainerState::Running(_) => self.attempt + 1,
            ContainerState::Ended(ended) => ended.attempt + 1,
            ContainerState::Waiting | ContainerState::Starting | ContainerState::Refused { .. } => {
                self.attempt
            }
        }
    }

    /// How often it was started again. What has not begun is no run yet, and what was refused will not be one.
    pub fn restarts(&self) -> u32 {
        match (&self.state, &self.last) {
            (ContainerState::Running(_) | ContainerState::Ended(_), _) | (_, None) => self.attempt,
            (_, Some(last)) => last.attempt,
        }
    }
}
