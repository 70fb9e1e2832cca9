//! What a pod's worker must not forget when its daemon ends: [`Observed`] as plain data, and back.
//!
//! Pure: it is written and read elsewhere. Times that are counted with become times since boot, which mean the same to
//! the next daemon; images that were being pulled are asked for anew. What a container has become meanwhile is not
//! here: the keeper knows, and [`Memory::meet`] brings the two together.
//!
//! Invariant: a run that may have been started is in the memory before it is, and its end before the keeper forgets it.

mod status;

use super::observed::{ContainerSeen, ContainerState, Ended, HookState, ImageState, Observed, Order, Run};
use super::observed::{SandboxState, StartFailure, Termination, Verdict};
use super::plan::outcome;
use super::probe::{Probes, Remembered};
use super::resize::Share;
use super::restart::{Backoff, Pace};
use super::shape::{ContainerShape, Shape};
use crate::api::cause::{self, By, Cause, Ending};
use crate::api::identity::{ContainerRef, PodRef};
use crate::api::image::Image;
use crate::api::startup::Startup;
use crate::sandbox::runtime::{ContainerStatus, ExitStatus, Exited, ProcessUser, Started};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

/// One moment on each clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// As a worker counts.
    pub instant: Instant,
    /// Since boot.
    pub boot: Duration,
    /// As the keeper dates starts.
    pub wall: SystemTime,
}

impl Moment {
    fn since_boot(self, at: Instant) -> Duration {
        let past = self.boot.saturating_sub(self.instant.saturating_duration_since(at));
        past.saturating_add(at.saturating_duration_since(self.instant))
    }

    fn instant(self, at: Duration) -> Instant {
        let past = self.instant.checked_sub(self.boot.saturating_sub(at)).unwrap_or(self.instant);
        past.checked_add(at.saturating_sub(self.boot)).unwrap_or(self.instant)
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Which.
    pub pod: PodRef,
    /// When it was accepted.
    pub accepted: SystemTime,
    /// Its address, if it has one of its own.
    pub address: Option<Ipv4Addr>,
    /// Its sandbox is whole: made, and its removal not begun. For one that is ending: something of it is there.
    pub sandbox: bool,
    /// Its containers by name.
    pub containers: BTreeMap<String, Container>,
    /// Since when, by the time since boot, and within which grace period it is to end.
    pub termination: Option<(Duration, Duration)>,
    /// Its end is not to wait for anybody.
    #[serde(default)]
    pub at_once: bool,
    /// Why it failed, if it did so as a whole.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// How it came up; nothing of one whose sandbox is to be made anew.
    #[serde(default)]
    pub startup: Startup,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its image, once it was had.
    pub image: Option<Image>,
    /// What it was at.
    pub state: State,
    /// The run before the current one.
    pub last: Option<End>,
    /// The number of the current or next run.
    pub attempt: u32,
    /// The wait that applies, and when it was chosen.
    pub backoff: Option<(Duration, Duration)>,
    /// What has become of the current run's hooks.
    #[serde(default)]
    pub hooks: Hooks,
    /// How the current run stands by its probes.
    #[serde(default)]
    pub probes: Remembered,
    /// Since when, within which grace period and why the current run is to end.
    #[serde(default)]
    pub order: Option<(Duration, Duration, String)>,
    /// Another run is to follow the current one, or that which has ended.
    #[serde(default)]
    pub replaced: bool,
    /// The image that was asked for.
    #[serde(default)]
    pub asked: Option<String>,
    /// For which run.
    #[serde(default)]
    pub asked_for: Option<u32>,
    /// The image that the current run was started with.
    #[serde(default)]
    pub definition: Option<String>,
    /// What the current run may use.
    #[serde(default)]
    pub share: Option<Share>,
    /// As whom the current run, or the last one, was executed.
    #[serde(default)]
    pub user: Option<ProcessUser>,
    /// The last ends of its runs.
    #[serde(default)]
    pub ends: Vec<Ending>,
    /// Up to when its OOM victims were told, in nanoseconds since boot.
    #[serde(default)]
    pub victims_told_ns: u64,
}

/// What has become of a run's hooks. One that was called, and whose answer nobody got, is called again: at least once, as
/// upstream promises, not at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    /// Its postStart hook; not in files of a podbox that had none.
    pub post_start: Option<HookState>,
    /// What that complained of.
    pub complaint: Option<String>,
    /// Its preStop hook.
    pub pre_stop: HookState,
}

/// What a container was at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Nothing of its next run was begun.
    #[default]
    Waiting,
    /// Its start may have been asked for.
    Starting,
    /// It ran.
    Running(Started),
    /// It had ended.
    Ended(Box<End>),
}

/// A run's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Which run.
    pub attempt: u32,
    /// When it had started.
    pub started: Option<SystemTime>,
    /// How and when it ended.
    pub exited: Exited,
    /// The end by the time since boot.
    pub at: Duration,
    /// The kernel marked its first process as an OOM victim.
    pub oom_killed: bool,
    /// What is to be told instead of an exit code's usual reason.
    pub failure: Option<StartFailure>,
    /// What its postStart hook complained of.
    #[serde(default)]
    pub hook: Option<String>,
    /// Its last words.
    #[serde(default)]
    pub message: String,
    /// Who ended it.
    #[serde(default)]
    pub cause: Option<Cause>,
}

impl Memory {
    /// What is known of a pod now.
    pub fn of(
        (pod, accepted): (&PodRef, SystemTime),
        seen: &Observed,
        images: impl Fn(&str) -> Option<Image>,
        address: Option<Ipv4Addr>,
        now: Moment,
    ) -> Memory {
        let container = |(name, seen): (&String, &ContainerSeen)| {
            let state = match &seen.state {
                ContainerState::Waiting | ContainerState::Refused { .. } => State::Waiting,
                ContainerState::Starting => State::Starting,
                ContainerState::Running(run) => State::Running(run.started.clone()),
                ContainerState::Ended(ended) => State::Ended(Box::new(End::of(ended, now))),
            };
            let remembered = Container {
                image: images(name).filter(|_| matches!(seen.image, ImageState::Ready { .. })),
                state,
                replaced: match &seen.state {
                    ContainerState::Ended(ended) => ended.replaced,
                    _ => seen.replaced,
                },
                asked: seen.asked.clone(),
                asked_for: seen.asked_for,
                definition: seen.definition.clone(),
                share: seen.share.clone(),
                user: seen.user.clone(),
                ends: seen.ends.clone(),
                victims_told_ns: seen.victims_told_ns,
                last: seen.last.as_ref().map(|ended| End::of(ended, now)),
                attempt: seen.attempt,
                backoff: seen.backoff.chosen().map(|(wait, at)| (wait, now.since_boot(at))),
                hooks: seen.run().map(Hooks::of).unwrap_or_default(),
                probes: seen.run().map(|run| run.probes.remembered()).unwrap_or_default(),
                order: seen
                    .order
                    .as_ref()
                    .map(|order| (now.since_boot(order.end.since), order.end.grace, order.why.clone())),
            };
            (name.clone(), remembered)
        };
        Memory {
            pod: pod.clone(),
            accepted,
            address,
            sandbox: seen.sandbox == SandboxState::Ready,
            containers: seen.containers.iter().map(container).collect(),
            termination: seen.termination.map(|end| (now.since_boot(end.since), end.grace)),
            at_once: seen.termination.is_some_and(|end| end.at_once),
            verdict: seen.verdict.clone(),
            startup: seen.startup.clone(),
        }
    }

    /// Its end was asked for.
    pub fn is_ending(&self) -> bool {
        self.termination.is_some()
    }

    /// What a worker goes on from. Signals of a stop that had begun are sent again: whether they were is unknown.
    pub fn recall(&self, shape: &Shape, pace: Pace, now: Moment) -> Observed {
        let termination = self.termination.map(|(since, grace)| {
            let end = Termination::new(now.instant(since), grace);
            Termination { at_once: self.at_once, ..end }
        });
        let sandbox = match (self.sandbox, termination) {
            (true, _) => SandboxState::Ready,
            (false, Some(_)) => SandboxState::Removed { problem: None },
            (false, None) => SandboxState::Absent,
        };
        let recall = |(name, memory): (&String, &Container)| {
            (name.clone(), memory.recall(&self.pod, shape.container(name), pace, now))
        };
        let containers = self.containers.iter().map(recall).collect();
        let verdict = self.verdict.clone();
        let startup = self.startup.clone();
        let mut seen =
            Observed { sandbox, containers, termination, verdict, pace, startup, ..Observed::default() };
        if !self.sandbox && outcome(shape, &seen).is_none() {
            // What init containers made went with the sandbox.
            for init in &shape.init {
                seen.containers.get_mut(&init.name).into_iter().for_each(ContainerSeen::again);
            }
        }
        seen
    }

    /// Brings the memory together with what the keeper holds, and returns what it holds in vain: runs whose end is
    /// remembered. A sandbox that has lost a container's run, as when the keeper was killed, is none any more.
    pub fn meet(&mut self, held: &[ContainerStatus], wall: SystemTime, boot: Duration) -> Vec<ContainerRef> {
        let mut vain = Vec::new();
        let mut lost = false;
        for (name, container) in &mut self.containers {
            let of_it = || held.iter().filter(|held| held.container.pod.uid == self.pod.uid);
            let of_it = || of_it().filter(|held| held.container.name == *name);
            let current = of_it().find(|held| held.container.attempt == container.attempt);
            vain.extend(
                of_it().map(|held| &held.container).filter(|c| c.attempt != container.attempt).cloned(),
            );
            match (&container.state, current) {
                (State::Starting, Some(held)) => {
                    container.state = State::Running(held.started.clone());
                    container.hooks = Hooks { post_start: Some(HookState::Due), ..Hooks::default() };
                    container.probes = Remembered::default();
                }
                (State::Running(_), Some(held)) => container.state = State::Running(held.started.clone()),
                // It did not come to it.
                (State::Starting, None) => container.state = State::Waiting,
                (State::Running(_), None) => lost = true,
                (State::Waiting | State::Ended(_), held) => {
                    vain.extend(held.map(|held| held.container.clone()))
                }
            }
        }
        if lost || !self.sandbox {
            self.lose(wall, boot);
        }
        vain
    }

    /// Its sandbox is gone, and how what ran in it ended is unknown.
    pub fn lose(&mut self, wall: SystemTime, boot: Duration) {
        self.sandbox = false;
        if !self.startup.runs.is_empty() {
            self.startup = Startup::default();
        }
        for container in self.containers.values_mut() {
            if let State::Running(started) = &container.state {
                let message = "The container could not be located when podbox started. It used to be Running";
                let ending = Ending {
                    attempt: container.attempt,
                    started: Some(started.at),
                    ended: wall,
                    code: 137,
                    cause: Cause {
                        by: By::Unknown,
                        message: "nobody saw it end: it was not there any more when podbox started".into(),
                        sender: None,
                        telling: false,
                    },
                };
                cause::remember(&mut container.ends, ending);
                container.state = State::Ended(Box::new(End {
                    attempt: container.attempt,
                    started: Some(started.at),
                    exited: Exited { status: ExitStatus::Code(137), at: wall },
                    at: boot,
                    oom_killed: false,
                    failure: Some(StartFailure {
                        reason: "ContainerStatusUnknown".into(),
                        message: message.into(),
                    }),
                    hook: None,
                    message: String::new(),
                    cause: None,
                }));
            }
        }
    }
}

impl Hooks {
    fn of(run: &Run) -> Hooks {
        let Run { post_start, complaint, pre_stop, .. } = run.clone();
        Hooks { post_start: Some(post_start), complaint, pre_stop }
    }
}

impl Container {
    fn recall(&self, pod: &PodRef, shape: Option<&ContainerShape>, pace: Pace, now: Moment) -> ContainerSeen {
        let state = match &self.state {
            State::Waiting | State::Starting => ContainerState::Waiting,
            State::Running(started) => ContainerState::Running(self.run(started, pod, shape, now)),
            State::Ended(end) => ContainerState::Ended(Ended { replaced: self.replaced, ..end.recall(now) }),
        };
        let image = match &self.image {
            Some(image) => ImageState::Ready { id: image.status_id().to_owned() },
            None => ImageState::Absent,
        };
        ContainerSeen {
            image,
            state,
            last: self.last.as_ref().map(|end| end.recall(now)),
            attempt: self.attempt,
            backoff: Backoff::again(pace, self.backoff.map(|(wait, at)| (wait, now.instant(at)))),
            order: self.order.as_ref().map(|(since, grace, why)| {
                let end = Termination::new(now.instant(*since), *grace);
                Order { end, why: why.clone() }
            }),
            replaced: self.replaced && matches!(self.state, State::Running(_)),
            asked: self.asked.clone(),
            asked_for: self.asked_for,
            definition: self.definition.clone(),
            share: self.share.clone(),
            ends: self.ends.clone(),
            victims_told_ns: self.victims_told_ns,
            // Of a run that nobody had seen start, by the keeper.
            user: match &self.state {
                State::Running(started) => started.user.clone(),
                _ => self.user.clone(),
            },
            ..ContainerSeen::default()
        }
    }

    fn run(&self, started: &Started, pod: &PodRef, shape: Option<&ContainerShape>, now: Moment) -> Run {
        let hook = shape.is_some_and(|shape| shape.post_start);
        let ago = now.wall.duration_since(started.at).unwrap_or_default();
        let begun = now.instant.checked_sub(ago).unwrap_or(now.instant);
        let recalled = |shape: &ContainerShape| {
            Probes::recall(&shape.probes, self.probes, begun, now.instant, (pod, &shape.name))
        };
        let probes = shape.map(recalled).unwrap_or_default();
        let again = |state| if state == HookState::Running { HookState::Due } else { state };
        let post_start = match (hook, self.hooks.post_start) {
            (true, Some(state)) => again(state),
            _ => HookState::Done,
        };
        let complaint = self.hooks.complaint.clone();
        let run = Run::new(started.clone(), post_start);
        Run { complaint, probes, pre_stop: again(self.hooks.pre_stop), ..run }
    }
}

impl End {
    fn of(ended: &Ended, now: Moment) -> End {
        let Ended { attempt, started, exited, at, oom_killed, failure, hook, message, cause, .. } =
            ended.clone();
        End { attempt, started, exited, at: now.since_boot(at), oom_killed, failure, hook, message, cause }
    }

    fn recall(&self, now: Moment) -> Ended {
        let End { attempt, started, exited, at, oom_killed, failure, hook, message, cause } = self.clone();
        let (at, replaced) = (now.instant(at), false);
        Ended { attempt, started, exited, at, oom_killed, failure, hook, message, replaced, cause }
    }
}

#[cfg(test)]
mod tests;
