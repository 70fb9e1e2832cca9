//! One container's status.

use super::{Facts, time};
use crate::api::cause::Cause;
use crate::api::identity::{ContainerRef, PodRef};
use crate::pod::observed::{ContainerSeen, ContainerState, Ended, HookState, ImageState, Observed};
use crate::pod::observed::{SandboxState, StartFailure};
use crate::pod::plan::{PULL_FAILURE_TOLD, initialized, is_main_turn, outcome};
use crate::pod::shape::{ContainerShape, Shape};
use crate::sandbox::runtime::{ExitStatus, ProcessUser};
use k8s_openapi::api::core::v1 as core;
use std::time::{Duration, Instant, SystemTime};

/// Bytes of termination messages in one pod's status, as the kubelet has it.
const MESSAGE_BYTES: usize = 12 << 10;

/// What is asked for at every turn.
struct Words<'a> {
    name: &'a str,
    pod: &'a Shape,
    observed: &'a Observed,
    seen: &'a ContainerSeen,
    facts: &'a Facts,
    now: Instant,
}

/// The status now.
pub(super) fn status(
    shape: &ContainerShape,
    pod: &Shape,
    observed: &Observed,
    facts: &Facts,
    now: Instant,
) -> core::ContainerStatus {
    let (name, seen) = (&shape.name, observed.container(&shape.name));
    let words = Words { name, pod, observed, seen, facts, now };
    let state = words.state();
    // An end that another run follows, or that nobody saw, is the last state as soon as it is not the state.
    let last = match &seen.state {
        ContainerState::Ended(ended) if state.terminated.is_none() => Some(ended),
        _ => seen.last.as_ref(),
    };
    let image = facts.images.iter().find(|(container, _)| container == name).map(|(_, reference)| reference);
    // It runs with what it was started with until that is replaced.
    let before = seen.definition.as_ref().filter(|image| seen.run().is_some() && **image != shape.image);
    let is_init = pod.init.iter().any(|init| init.name == *name);
    // Nobody waits for one that only looks.
    let is_ephemeral = pod.ephemeral.iter().any(|one| one.name == *name);
    let share = seen.share.as_ref().filter(|_| seen.is_active()).unwrap_or(&shape.share);
    let done = state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
    core::ContainerStatus {
        name: name.clone(),
        image: before.or(image).cloned().unwrap_or_default(),
        image_id: match &seen.image {
            ImageState::Ready { id } => id.clone(),
            _ => String::new(),
        },
        container_id: words.id(),
        // An init container that is through has done all it is there for.
        ready: if is_init && !shape.sidecar { done } else { seen.is_ready() && !is_ephemeral },
        started: (!is_ephemeral).then(|| seen.is_started()),
        restart_count: i32::try_from(seen.restarts()).unwrap_or(i32::MAX),
        last_state: last.map(|ended| words.ended(ended)),
        state: Some(state),
        resources: Some(share.requirements()),
        volume_mounts: (!shape.mounts.is_empty()).then(|| shape.mounts.clone()),
        user: seen.user.as_ref().map(user),
        allocated_resources: (!share.requests.is_empty()).then(|| share.requests.clone()),
        ..Default::default()
    }
}

fn user(user: &ProcessUser) -> core::ContainerUser {
    let (uid, gid) = (user.uid.into(), user.gid.into());
    let groups = user.groups.iter().copied().map(i64::from).collect();
    core::ContainerUser {
        linux: Some(core::LinuxContainerUser { uid, gid, supplemental_groups: Some(groups) }),
    }
}

impl Words<'_> {
    fn state(&self) -> core::ContainerState {
        match &self.seen.state {
            ContainerState::Running(run) if run.post_start == HookState::Done => core::ContainerState {
                running: Some(core::ContainerStateRunning { started_at: Some(time(run.started.at)) }),
                ..Default::default()
            },
            ContainerState::Running(run) => match &run.complaint {
                Some(complaint) => waits("PostStartHookError", Some(complaint.clone())),
                // It counts as started once its hook is through.
                None => waits(self.not_started(), None),
            },
            ContainerState::Ended(ended) => self.after(ended),
            _ if self.is_lost() => unknown(),
            ContainerState::Refused { failure, .. } => waits(&failure.reason, Some(failure.message.clone())),
            ContainerState::Waiting | ContainerState::Starting => self.image(),
        }
    }

    /// The pod is over, and it never got to its end.
    fn is_lost(&self) -> bool {
        matches!(self.observed.sandbox, SandboxState::Removed { .. }) && initialized(self.pod, self.observed)
    }

    fn not_started(&self) -> &'static str {
        if self.pod.init.is_empty() { "ContainerCreating" } else { "PodInitializing" }
    }

    fn image(&self) -> core::ContainerState {
        let ImageState::Failed { reason, message, at } = &self.seen.image else {
            return waits(self.not_started(), None);
        };
        let is_main = self.pod.main.iter().any(|main| main.name == self.name);
        if is_main && !is_main_turn(self.pod, self.observed) {
            return waits(self.not_started(), None);
        }
        let told = self.now >= *at + PULL_FAILURE_TOLD;
        if told && reason == "ErrImagePull" {
            let image = self.facts.images.iter().find(|(container, _)| container == self.name);
            let reference = image.map(|(_, reference)| reference.as_str()).unwrap_or_default();
            let why = format!("Back-off pulling image {reference:?}: {reason}: {message}");
            return waits("ImagePullBackOff", Some(why));
        }
        waits(reason, Some(message.clone()))
    }

    /// After a run: what keeps the next one from starting, if there is to be one.
    fn after(&self, ended: &Ended) -> core::ContainerState {
        let ends = self.observed.termination.is_some() || outcome(self.pod, self.observed).is_some();
        if ended.replaced && !ends {
            return self.image();
        }
        if ends || !self.pod.restarts(self.name, ended.exited.status.code()) {
            return self.ended(ended);
        }
        if matches!(self.seen.image, ImageState::Failed { .. }) {
            return self.image();
        }
        if self.seen.backoff.until(ended.at, self.now).is_some() {
            return waits("CrashLoopBackOff", Some(self.backing_off()));
        }
        match ended {
            Ended { hook: Some(complaint), .. } => waits("PostStartHookError", Some(complaint.clone())),
            Ended { failure: Some(StartFailure { reason, message }), .. } if reason == "StartError" => {
                waits("RunContainerError", Some(message.clone()))
            }
            _ => self.ended(ended),
        }
    }

    fn backing_off(&self) -> String {
        let (wait, PodRef { namespace, name: pod, uid }) = (self.seen.backoff.wait(), &self.facts.pod);
        let (wait, name) = (duration(wait), self.name);
        format!("back-off {wait} restarting failed container={name} pod={pod}_{namespace}({uid})")
    }

    /// The ID of the current run, or of the last one while there is none.
    fn id(&self) -> Option<String> {
        match (&self.seen.state, &self.seen.last) {
            (ContainerState::Running(_), _) => Some(self.id_of(self.seen.attempt)),
            (ContainerState::Ended(ended), _) => Some(self.id_of(ended.attempt)),
            (_, Some(last)) => Some(self.id_of(last.attempt)),
            _ => None,
        }
    }

    fn id_of(&self, attempt: u32) -> String {
        let pod = self.facts.pod.clone();
        let container = ContainerRef { pod, name: self.name.to_owned(), attempt };
        format!("podbox://{}/{}", container.pod.uid, container.key())
    }

    fn ended(&self, ended: &Ended) -> core::ContainerState {
        let code = ended.exited.status.code();
        let reason = match &ended.failure {
            Some(failure) => failure.reason.as_str(),
            None if ended.oom_killed => "OOMKilled",
            None if code == 0 => "Completed",
            None => "Error",
        };
        let message = match &ended.failure {
            Some(failure) => failure.message.as_str(),
            None if ended.message.is_empty() => {
                ended.cause.as_ref().map_or("", |cause| self.cut(spoken(cause)))
            }
            None => self.cut(&ended.message),
        };
        let terminated = core::ContainerStateTerminated {
            exit_code: code,
            signal: match ended.exited.status {
                ExitStatus::Signal(signal) => Some(signal),
                ExitStatus::Code(_) => None,
            },
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
            // As upstream dates what never started.
            started_at: Some(time(ended.started.unwrap_or(SystemTime::UNIX_EPOCH))),
            finished_at: Some(time(ended.exited.at)),
            container_id: Some(self.id_of(ended.attempt)),
        };
        core::ContainerState { terminated: Some(terminated), ..Default::default() }
    }

    /// A pod's containers share what its status may hold of their last words.
    fn cut<'a>(&self, message: &'a str) -> &'a str {
        let share = MESSAGE_BYTES / self.pod.containers().count().max(1);
        let end = (0..=share.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
        &message[..end.unwrap_or_default()]
    }
}

/// What is said of an end in place of last words that nobody left, where the exit code leaves one to guess.
fn spoken(cause: &Cause) -> &str {
    if cause.says_more() { &cause.message } else { "" }
}

fn waits(reason: &str, message: Option<String>) -> core::ContainerState {
    let waiting = core::ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    core::ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn unknown() -> core::ContainerState {
    let terminated = core::ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        ..Default::default()
    };
    core::ContainerState { terminated: Some(terminated), ..Default::default() }
}

/// As upstream prints a duration: `40s`, `1m20s`, `5m0s`.
fn duration(wait: Duration) -> String {
    match wait.as_secs() {
        seconds if seconds < 60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
