//! What is left of a pod after a reboot: its status in the API.

use super::{Container, End, Memory, State};
use crate::api::cause::{By, Cause, Ending};
use crate::api::identity::PodRef;
use crate::api::startup::Startup;
use crate::pod::observed::StartFailure;
use crate::sandbox::runtime::{ExitStatus, Exited, ProcessUser, Started};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, LinuxContainerUser, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::{Duration, SystemTime};

/// Reasons that follow from an exit code, or are the kernel's word.
const USUAL: [&str; 3] = ["Completed", "Error", "OOMKilled"];

impl Memory {
    /// Of a pod that ran before its host restarted: restarts are counted on, and what ran has ended, nobody knows how.
    /// Nothing, of a pod that was never begun.
    pub fn of_status(pod: &PodRef, status: &PodStatus, wall: SystemTime, boot: Duration) -> Option<Memory> {
        let accepted = at(status.start_time.as_ref()?);
        let init = status.init_container_statuses.iter().flatten();
        let all = init.chain(status.container_statuses.iter().flatten());
        let all = all.chain(status.ephemeral_container_statuses.iter().flatten());
        let containers = all.map(|status| (status.name.clone(), container(status, boot))).collect();
        let pod = pod.clone();
        let verdict = None;
        let mut memory = Memory {
            pod,
            accepted,
            address: None,
            sandbox: false,
            containers,
            termination: None,
            at_once: false,
            verdict,
            startup: Startup::default(),
        };
        memory.lose(wall, boot);
        Some(memory)
    }
}

fn at(time: &Time) -> SystemTime {
    SystemTime::from(time.0)
}

fn container(status: &ContainerStatus, boot: Duration) -> Container {
    let attempt = u32::try_from(status.restart_count).unwrap_or_default();
    let now = status.state.clone().unwrap_or_default();
    let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ends = before.into_iter().chain(now.terminated.as_ref()).map(|terminated| {
        let End { attempt, started, exited, oom_killed, .. } = end(terminated, attempt, boot);
        let by = if oom_killed { By::Oom } else { By::Unknown };
        let words = [terminated.reason.as_deref(), terminated.message.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        let message = format!("before this host restarted; its status says: {}", words.join(": "));
        let cause = Cause { by, message, sender: None, telling: false };
        Ending { attempt, started, ended: exited.at, code: exited.status.code(), cause }
    });
    let ends = ends.collect();
    let before = before.map(|terminated| end(terminated, attempt, boot));
    let (state, last) = match (now.running, now.terminated) {
        (Some(running), _) => {
            let at = running.started_at.as_ref().map_or(SystemTime::UNIX_EPOCH, at);
            (State::Running(Started { pid: 0, cgroup_id: 0, at, user: None, laps: Vec::new() }), before)
        }
        (None, Some(terminated)) => (State::Ended(Box::new(end(&terminated, attempt, boot))), before),
        (None, None) => match before {
            // It waited to be started again.
            Some(end) if end.attempt == attempt => (State::Ended(Box::new(end)), None),
            before => (State::Waiting, before),
        },
    };
    let user = status.user.as_ref().and_then(|told| user(told.linux.as_ref()?));
    Container { state, last, attempt, user, ends, ..Container::default() }
}

fn user(told: &LinuxContainerUser) -> Option<ProcessUser> {
    let groups = told.supplemental_groups.iter().flatten().map(|group| u32::try_from(*group).ok());
    let (uid, gid) = (u32::try_from(told.uid).ok()?, u32::try_from(told.gid).ok()?);
    Some(ProcessUser { uid, gid, groups: groups.collect::<Option<_>>()? })
}

fn end(terminated: &ContainerStateTerminated, current: u32, boot: Duration) -> End {
    let run = terminated.container_id.as_deref().and_then(|id| id.rsplit('-').next()?.parse().ok());
    let reason = terminated.reason.clone().unwrap_or_default();
    let message = terminated.message.clone().unwrap_or_default();
    let usual = USUAL.contains(&reason.as_str());
    let oom_killed = reason == "OOMKilled";
    End {
        attempt: run.unwrap_or(current),
        started: terminated.started_at.as_ref().map(at).filter(|at| *at != SystemTime::UNIX_EPOCH),
        exited: Exited {
            status: match terminated.signal {
                Some(signal) if signal != 0 => ExitStatus::Signal(signal),
                _ => ExitStatus::Code(terminated.exit_code),
            },
            at: terminated.finished_at.as_ref().map_or(SystemTime::UNIX_EPOCH, at),
        },
        at: boot,
        oom_killed,
        message: if usual { message.clone() } else { String::new() },
        failure: (!usual).then_some(StartFailure { reason, message }),
        hook: None,
        cause: None,
    }
}
