//! A pod's status as the API words it, from what is known of it.
//!
//! Pure. `OOMKilled` appears only where the kernel marked a victim; never because of exit code 137.

use super::observed::{ContainerSeen, ContainerState, Ended, ImageState, Observed, SandboxState};
use super::plan::{Outcome, Shape, outcome};
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::runtime::ExitStatus;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Instant, SystemTime};

/// What the node knows beside [`Observed`].
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose status it is.
    pub pod: PodRef,
    /// The node's address.
    pub host: IpAddr,
    /// The pod's address, once it has one.
    pub ip: Option<Ipv4Addr>,
    /// When the pod was accepted.
    pub accepted: SystemTime,
    /// The image reference of each container, by its name.
    pub images: Vec<(String, String)>,
}

/// The status now.
pub fn status(pod: &Shape, seen: &Observed, facts: &Facts, now: Instant) -> core::PodStatus {
    let initialized = initialized(pod, seen);
    let containers = |shapes: &[super::plan::ContainerShape], waiting: &str| -> Vec<core::ContainerStatus> {
        shapes.iter().map(|shape| container(&shape.name, pod, seen, facts, waiting, now)).collect()
    };
    let waiting = match (&seen.sandbox, initialized) {
        (SandboxState::Ready, false) => "PodInitializing",
        _ if !pod.init.is_empty() && !initialized => "PodInitializing",
        _ => "ContainerCreating",
    };
    let main = containers(&pod.main, waiting);
    let ready = !main.is_empty() && main.iter().all(|container| container.ready);
    let ip = facts.ip.map(|ip| ip.to_string());
    let init = containers(&pod.init, "PodInitializing");
    core::PodStatus {
        phase: Some(phase(pod, seen).to_owned()),
        conditions: Some(conditions(&seen.sandbox, initialized, ready)),
        start_time: Some(time(facts.accepted)),
        host_ip: Some(facts.host.to_string()),
        host_ips: Some(vec![core::HostIP { ip: facts.host.to_string() }]),
        pod_ips: ip.clone().map(|ip| vec![core::PodIP { ip }]),
        pod_ip: ip,
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        message: match &seen.sandbox {
            SandboxState::Failed { message, .. } => Some(message.clone()),
            _ => None,
        },
        ..Default::default()
    }
}

fn phase(pod: &Shape, seen: &Observed) -> &'static str {
    match outcome(pod, seen) {
        Some(Outcome::Succeeded) => "Succeeded",
        Some(Outcome::Failed) => "Failed",
        // Ended by request: containers that did not get to their own end make it Failed, as upstream counts it.
        None if matches!(seen.sandbox, SandboxState::Removed { .. }) => ended_by_request(pod, seen),
        None if pod.main.iter().all(|main| ran(seen.container(&main.name))) => "Running",
        None => "Pending",
    }
}

/// Whether it has run at all: a pod is Pending until each of its containers has.
fn ran(seen: &ContainerSeen) -> bool {
    seen.last.is_some() || !matches!(seen.state, ContainerState::Waiting | ContainerState::Starting)
}

fn ended_by_request(pod: &Shape, seen: &Observed) -> &'static str {
    let code = |name: &str| match &seen.container(name).state {
        ContainerState::Ended(ended) => ended.exited.status.code(),
        _ => 128,
    };
    if pod.main.iter().all(|main| code(&main.name) == 0) { "Succeeded" } else { "Failed" }
}

/// Every init container succeeded, and every sidecar runs.
fn initialized(pod: &Shape, seen: &Observed) -> bool {
    pod.init.iter().all(|init| match &seen.container(&init.name).state {
        ContainerState::Ended(ended) => !init.sidecar && ended.exited.status.code() == 0,
        ContainerState::Running { .. } => init.sidecar,
        _ => false,
    })
}

fn conditions(sandbox: &SandboxState, initialized: bool, ready: bool) -> Vec<core::PodCondition> {
    let condition = |type_: &str, holds: bool| core::PodCondition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        ..Default::default()
    };
    vec![
        condition("PodReadyToStartContainers", *sandbox == SandboxState::Ready),
        condition("Initialized", initialized),
        condition("Ready", ready),
        condition("ContainersReady", ready),
        condition("PodScheduled", true),
    ]
}

fn container(
    name: &str,
    pod: &Shape,
    observed: &Observed,
    facts: &Facts,
    waiting: &str,
    now: Instant,
) -> core::ContainerStatus {
    let seen = observed.container(name);
    let ends = observed.termination.is_some() || outcome(pod, observed).is_some();
    // The end of a run that another one follows is the last state, not the state.
    let followed = |ended: &Ended| !ends && pod.policy(name).restarts(ended.exited.status.code());
    let (restarts, last) = match &seen.state {
        ContainerState::Ended(ended) if followed(ended) => (true, Some(ended)),
        _ => (false, seen.last.as_ref()),
    };
    let image = facts.images.iter().find(|(container, _)| container == name);
    let running = matches!(seen.state, ContainerState::Running { .. });
    core::ContainerStatus {
        name: name.to_owned(),
        image: image.map(|(_, reference)| reference.clone()).unwrap_or_default(),
        image_id: match &seen.image {
            ImageState::Ready { id } => id.clone(),
            _ => String::new(),
        },
        container_id: ran(seen).then(|| id(facts, name, seen.attempt)),
        ready: running,
        started: Some(running),
        restart_count: i32::try_from(seen.restarts()).unwrap_or(i32::MAX),
        state: Some(state(name, seen, restarts, facts, waiting, now)),
        last_state: last.map(|ended| core::ContainerState {
            terminated: Some(terminated(name, ended, facts)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn id(facts: &Facts, name: &str, attempt: u32) -> String {
    let container = ContainerRef { pod: facts.pod.clone(), name: name.to_owned(), attempt };
    format!("podbox://{}/{}", container.pod.uid, container.key())
}

fn backing_off(name: &str, seen: &ContainerSeen, facts: &Facts) -> String {
    let (wait, PodRef { namespace, name: pod, uid }) = (seen.backoff.wait().as_secs(), &facts.pod);
    format!("back-off {wait}s restarting failed container={name} pod={pod}_{namespace}({uid})")
}

fn state(
    name: &str,
    seen: &ContainerSeen,
    restarts: bool,
    facts: &Facts,
    waiting: &str,
    now: Instant,
) -> core::ContainerState {
    let waits = |reason: &str, message: Option<String>| core::ContainerState {
        waiting: Some(core::ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    };
    match &seen.state {
        ContainerState::Waiting | ContainerState::Starting => match &seen.image {
            ImageState::Failed { reason, message, at } => {
                let backing_off = seen.pull_backoff.until(*at, now).is_some() && reason == "ErrImagePull";
                waits(if backing_off { "ImagePullBackOff" } else { reason }, Some(message.clone()))
            }
            _ => waits(waiting, None),
        },
        ContainerState::Running { started, .. } => core::ContainerState {
            running: Some(core::ContainerStateRunning { started_at: Some(time(started.at)) }),
            ..Default::default()
        },
        ContainerState::Ended(ended) if restarts => {
            let until = seen.backoff.until(ended.at, now);
            match (&ended.failure, until) {
                (Some(failure), None) => waits(&failure.reason, Some(failure.message.clone())),
                _ => waits("CrashLoopBackOff", Some(backing_off(name, seen, facts))),
            }
        }
        ContainerState::Ended(ended) => {
            core::ContainerState { terminated: Some(terminated(name, ended, facts)), ..Default::default() }
        }
    }
}

fn terminated(name: &str, ended: &Ended, facts: &Facts) -> core::ContainerStateTerminated {
    let code = ended.exited.status.code();
    let reason = match &ended.failure {
        Some(failure) => failure.reason.as_str(),
        None if ended.oom_killed => "OOMKilled",
        None if code == 0 => "Completed",
        None => "Error",
    };
    core::ContainerStateTerminated {
        exit_code: code,
        signal: match ended.exited.status {
            ExitStatus::Signal(signal) => Some(signal),
            ExitStatus::Code(_) => None,
        },
        reason: Some(reason.to_owned()),
        message: ended.failure.as_ref().map(|failure| failure.message.clone()),
        started_at: ended.started.map(time),
        finished_at: Some(time(ended.exited.at)),
        container_id: Some(id(facts, name, ended.attempt)),
    }
}

/// The API's time: seconds since the epoch; what is before or after all calendars becomes the epoch.
fn time(at: SystemTime) -> Time {
    Time(Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::pod::plan::ContainerShape;
    use crate::pod::restart::RestartPolicy;
    use crate::sandbox::runtime::{Exited, Started};
    use std::time::Duration;

    fn hog(policy: RestartPolicy) -> (Shape, Observed, Facts, Instant) {
        let main = vec![ContainerShape { name: "hog".into(), sidecar: false }];
        let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let facts = Facts {
            pod,
            host: [192, 0, 2, 1].into(),
            ip: Some([10, 85, 0, 2].into()),
            accepted: clock::wall(),
            images: vec![("hog".into(), "docker.io/library/hog:1".into())],
        };
        let mut seen = Observed { sandbox: SandboxState::Ready, ..Default::default() };
        let now = clock::instant();
        let hog = seen.container_mut("hog");
        hog.starting(now);
        hog.started(Started { pid: 7, cgroup_id: 9, at: clock::wall() });
        (Shape { init: Vec::new(), main, restart_policy: policy, grace: Duration::ZERO }, seen, facts, now)
    }

    fn killed(seen: &mut Observed, oom: bool, now: Instant) {
        let exited = Exited { status: ExitStatus::Signal(9), at: clock::wall() };
        seen.container_mut("hog").exited(exited, oom, now);
    }

    fn only(status: core::PodStatus) -> core::ContainerStatus {
        status.container_statuses.and_then(|mut all| all.pop()).expect("one container")
    }

    #[test]
    fn oomkilled_is_the_kernels_word_not_a_guess_from_137() {
        for (oom, reason) in [(true, "OOMKilled"), (false, "Error")] {
            let (pod, mut seen, facts, now) = hog(RestartPolicy::Never);
            killed(&mut seen, oom, now);
            let status = status(&pod, &seen, &facts, now);
            assert_eq!(status.phase.as_deref(), Some("Failed"));
            let ended = only(status).state.and_then(|state| state.terminated).expect("it ended");
            assert_eq!(
                (ended.exit_code, ended.signal, ended.reason.as_deref()),
                (137, Some(9), Some(reason))
            );
        }
    }

    #[test]
    fn a_pod_is_pending_until_each_container_has_run_and_running_while_one_waits_to_run_again() {
        let (mut pod, mut seen, facts, now) = hog(RestartPolicy::Always);
        pod.main.push(ContainerShape { name: "late".into(), sidecar: false });
        let phase = |seen: &Observed| status(&pod, seen, &facts, now).phase;
        seen.container_mut("late").starting(now);
        assert_eq!(phase(&seen).as_deref(), Some("Pending"));
        seen.container_mut("late").started(Started { pid: 8, cgroup_id: 10, at: clock::wall() });
        killed(&mut seen, false, now);
        seen.container_mut("hog").starting(now);
        assert_eq!(phase(&seen).as_deref(), Some("Running"));
    }

    #[test]
    fn a_second_crash_waits_in_crashloopbackoff_with_its_last_state() {
        let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
        killed(&mut seen, false, now);
        seen.container_mut("hog").starting(now);
        seen.container_mut("hog").started(Started { pid: 8, cgroup_id: 10, at: clock::wall() });
        killed(&mut seen, true, now + Duration::from_secs(1));
        let status = status(&pod, &seen, &facts, now + Duration::from_secs(2));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let hog = only(status);
        let waiting = hog.state.and_then(|state| state.waiting).expect("it waits");
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        let message = "back-off 10s restarting failed container=hog pod=p_default(u)";
        assert_eq!(waiting.message.as_deref(), Some(message));
        let last = hog.last_state.and_then(|state| state.terminated).expect("its end is told");
        assert_eq!(last.reason.as_deref(), Some("OOMKilled"));
        assert_eq!(hog.restart_count, 1);
    }
}
