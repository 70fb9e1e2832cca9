//! What people are told of a pod, word by word.

use super::*;
use crate::api::cause::{By, Cause};
use crate::clock;
use crate::pod::observed::{Hook, HookState, ImageState, StartFailure, Termination, Verdict};
use crate::pod::restart::RestartPolicy;
use crate::pod::shape::ContainerShape;
use crate::sandbox::runtime::{ExitStatus, Exited, Started};
use serde_json::{Value, json};
use std::time::Duration;

fn started() -> Started {
    Started { pid: 7, cgroup_id: 9, at: clock::wall(), user: None, laps: Vec::new() }
}

fn hog(policy: RestartPolicy) -> (Shape, Observed, Facts, Instant) {
    let main = vec![ContainerShape::new("hog", policy)];
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
    hog.started(started(), HookState::Done);
    (Shape::new(main, Duration::ZERO), seen, facts, now)
}

fn killed(seen: &mut Observed, oom: bool, now: Instant) {
    let exited = Exited { status: ExitStatus::Signal(9), at: clock::wall() };
    let by = if oom { By::Oom } else { By::Process };
    let cause = Cause { by, message: "the kernel's word".into(), sender: None, telling: false };
    seen.container_mut("hog").exited(exited, Some(cause), String::new(), now);
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
        assert_eq!((ended.exit_code, ended.signal, ended.reason.as_deref()), (137, Some(9), Some(reason)));
        assert_eq!(ended.message.as_deref(), Some("the kernel's word"));
    }
}

#[test]
fn a_pod_is_pending_until_each_container_has_run_and_running_while_one_waits_to_run_again() {
    let (mut pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    pod.main.push(ContainerShape::new("late", RestartPolicy::Always));
    let phase = |seen: &Observed| status(&pod, seen, &facts, now).phase;
    seen.container_mut("late").starting(now);
    assert_eq!(phase(&seen).as_deref(), Some("Pending"));
    seen.container_mut("late").started(started(), HookState::Done);
    killed(&mut seen, false, now);
    seen.container_mut("hog").starting(now);
    assert_eq!(phase(&seen).as_deref(), Some("Running"));
}

#[test]
fn a_pod_that_was_asked_to_end_is_over_as_soon_as_nothing_of_it_runs() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    let phase = |seen: &Observed| status(&pod, seen, &facts, now).phase.unwrap_or_default();
    seen.terminate(Termination::new(now, Duration::from_secs(30)));
    assert_eq!(phase(&seen), "Running");
    let mut ended = seen.clone();
    killed(&mut ended, false, now);
    // Some never had a sandbox, for want of a volume.
    let never = Observed { containers: Default::default(), ..seen };
    let states = [
        SandboxState::Absent,
        SandboxState::Creating,
        SandboxState::Ready,
        SandboxState::Failed { message: String::new(), until: now },
        SandboxState::Unmounted { message: String::new(), until: now },
        SandboxState::Removing,
        SandboxState::Removed { problem: None },
    ];
    for sandbox in states {
        for seen in [&ended, &never] {
            let seen = Observed { sandbox: sandbox.clone(), ..seen.clone() };
            assert_eq!(phase(&seen), "Failed", "{sandbox:?}");
        }
    }
    let exited = Exited { status: ExitStatus::Code(0), at: clock::wall() };
    let mut well = Observed { sandbox: SandboxState::Removing, ..never };
    well.container_mut("hog").starting(now);
    well.container_mut("hog").started(started(), HookState::Done);
    well.container_mut("hog").exited(exited, None, String::new(), now);
    assert_eq!(phase(&well), "Succeeded");
}

#[test]
fn a_second_crash_waits_in_crashloopbackoff_with_its_last_state() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    killed(&mut seen, false, now);
    seen.container_mut("hog").starting(now);
    seen.container_mut("hog").started(started(), HookState::Done);
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

fn ended(seen: &mut Observed, name: &str, code: i32, message: &str, now: Instant) {
    let exited = Exited { status: ExitStatus::Code(code), at: clock::wall() };
    seen.container_mut(name).exited(exited, None, message.to_owned(), now);
}

/// `type=status reason: message` of the conditions that have something to say.
fn said(status: &core::PodStatus) -> Vec<String> {
    let conditions = status.conditions.iter().flatten();
    let said = conditions.filter(|condition| condition.status != "True" || condition.reason.is_some());
    let word = |condition: &core::PodCondition| {
        let (reason, message) = (condition.reason.clone(), condition.message.clone());
        let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        format!("{}={}{reason}{message}", condition.type_, condition.status)
    };
    said.map(word).collect()
}

/// Reason and message of what the only container waits for.
fn waits(status: core::PodStatus) -> (String, String) {
    let waiting = only(status).state.and_then(|state| state.waiting).expect("it waits");
    (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
}

#[test]
fn conditions_name_who_is_not_ready_and_who_has_not_run() {
    let (mut pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    pod.main.push(ContainerShape::new("late", RestartPolicy::Always));
    let unready = |names: &str| {
        ["Ready", "ContainersReady"]
            .map(|of| format!("{of}=False ContainersNotReady: containers with unready status: {names}"))
    };
    assert_eq!(said(&status(&pod, &seen, &facts, now)), unready("[late]"));
    pod.init = vec![ContainerShape::new("one", RestartPolicy::OnFailure)];
    pod.init.push(ContainerShape { sidecar: true, ..ContainerShape::new("two", RestartPolicy::Always) });
    seen.containers.clear();
    seen.sandbox = SandboxState::Absent;
    let told = status(&pod, &seen, &facts, now);
    assert_eq!(
        said(&told)[..2],
        [
            "PodReadyToStartContainers=False".to_owned(),
            "Initialized=False ContainersNotInitialized: containers with incomplete status: [one two]"
                .to_owned(),
        ]
    );
    assert_eq!(said(&told)[2..], unready("[two hog late]"));
}

#[test]
fn a_pod_that_is_over_says_so_in_its_conditions() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Never);
    ended(&mut seen, "hog", 0, "", now);
    let over =
        ["Initialized=True PodCompleted", "Ready=False PodCompleted", "ContainersReady=False PodCompleted"];
    assert_eq!(said(&status(&pod, &seen, &facts, now)), over);
    ended(&mut seen, "hog", 1, "", now);
    let over = ["Ready=False PodFailed", "ContainersReady=False PodFailed"];
    assert_eq!(said(&status(&pod, &seen, &facts, now)), over);
}

#[test]
fn a_pod_is_over_when_its_sidecars_are_too() {
    let (mut pod, mut seen, facts, now) = hog(RestartPolicy::Never);
    pod.init.push(ContainerShape { sidecar: true, ..ContainerShape::new("side", RestartPolicy::Always) });
    seen.container_mut("side").started(started(), HookState::Done);
    ended(&mut seen, "hog", 0, "", now);
    assert_eq!(status(&pod, &seen, &facts, now).phase.as_deref(), Some("Running"));
    ended(&mut seen, "side", 143, "", now);
    assert_eq!(status(&pod, &seen, &facts, now).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_pod_that_was_given_up_says_why_once_nothing_of_it_runs() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    let verdict = Verdict { reason: "DeadlineExceeded".into(), message: "too long".into() };
    seen.fail(verdict, Termination::new(now, Duration::ZERO));
    let told = status(&pod, &seen, &facts, now);
    assert_eq!((told.phase.as_deref(), told.reason), (Some("Running"), None));
    ended(&mut seen, "hog", 0, "", now);
    let told = status(&pod, &seen, &facts, now);
    let words =
        [told.phase.clone(), told.reason.clone(), told.message.clone()].map(Option::unwrap_or_default);
    assert_eq!(words, ["Failed", "DeadlineExceeded", "too long"]);
}

#[test]
fn a_container_waits_for_its_hook_and_says_what_that_complained_of() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    let hog = seen.container_mut("hog");
    hog.started(started(), HookState::Due);
    hog.calling(Hook::PostStart);
    let told = status(&pod, &seen, &facts, now);
    assert_eq!(told.phase.as_deref(), Some("Pending"));
    assert_eq!(waits(told), ("ContainerCreating".into(), "".into()));
    seen.container_mut("hog").called(0, Hook::PostStart, Some("no such file".into()));
    let complains = ("PostStartHookError".to_owned(), "no such file".to_owned());
    assert_eq!(waits(status(&pod, &seen, &facts, now)), complains);
    ended(&mut seen, "hog", 143, "", now);
    assert_eq!(waits(status(&pod, &seen, &facts, now)), complains);
}

#[test]
fn what_keeps_a_container_from_starting_is_told_in_upstreams_words() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    let failure = |reason: &str| StartFailure { reason: reason.into(), message: "why".into() };
    seen.container_mut("hog").refused(failure("CreateContainerConfigError"), now);
    assert_eq!(waits(status(&pod, &seen, &facts, now)).0, "CreateContainerConfigError");
    seen.container_mut("hog").start_failed(failure("StartError"), clock::wall(), now);
    let told = status(&pod, &seen, &facts, now);
    let last = only(told.clone()).last_state.and_then(|state| state.terminated).expect("it counts as an end");
    assert_eq!((last.reason.as_deref(), last.exit_code), (Some("StartError"), 128));
    assert_eq!(waits(told), ("RunContainerError".into(), "why".into()));
}

#[test]
fn an_images_failure_is_told_and_then_the_wait_for_the_next_try() {
    let (pod, mut seen, facts, now) = hog(RestartPolicy::Always);
    let hog = seen.container_mut("hog");
    hog.state = ContainerState::Waiting;
    hog.image =
        ImageState::Failed { reason: "ErrImagePull".into(), message: "no such image".into(), at: now };
    assert_eq!(waits(status(&pod, &seen, &facts, now)), ("ErrImagePull".into(), "no such image".into()));
    let why = "Back-off pulling image \"docker.io/library/hog:1\": ErrImagePull: no such image";
    let later = now + Duration::from_secs(1);
    assert_eq!(waits(status(&pod, &seen, &facts, later)), ("ImagePullBackOff".into(), why.into()));
}

#[test]
fn last_words_are_told_and_a_pods_containers_share_the_room() {
    let (mut pod, mut seen, facts, now) = hog(RestartPolicy::Never);
    for number in 0..5 {
        pod.main.push(ContainerShape::new(&number.to_string(), RestartPolicy::Never));
    }
    for (words, told) in [("DONE", 4), (&*"\u{e9}".repeat(1500), 2048)] {
        ended(&mut seen, "hog", 0, words, now);
        let status = status(&pod, &seen, &facts, now);
        let hog = status.container_statuses.into_iter().flatten().next().and_then(|hog| hog.state);
        let message = hog.and_then(|state| state.terminated).and_then(|ended| ended.message);
        assert_eq!(message.map(|message| message.len()), Some(told));
    }
}

#[test]
fn waits_are_worded_as_upstream_words_them() {
    let (pod, mut seen, facts, mut now) = hog(RestartPolicy::Always);
    let mut words = Vec::new();
    for _ in 0..6 {
        ended(&mut seen, "hog", 1, "", now);
        seen.container_mut("hog").starting(now);
        seen.container_mut("hog").started(started(), HookState::Done);
        ended(&mut seen, "hog", 1, "", now);
        let (_, message) = waits(status(&pod, &seen, &facts, now));
        words.push(message.split(' ').nth(1).map(str::to_owned).unwrap_or_default());
        now += seen.container("hog").backoff.wait();
    }
    assert_eq!(words, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s"]);
}

#[test]
fn readiness_gates_wait_for_the_word_of_others() {
    let gates = json!([{"conditionType": "a"}, {"conditionType": "b"}]);
    let check = |all: Value, status: &str, message: &str| {
        let mut condition = json!({"type": "Ready", "status": "True"});
        ready(&mut condition, &gates, all.as_array().expect("a list"));
        assert_eq!(
            (condition["status"].as_str(), condition["message"].as_str()),
            (Some(status), Some(message))
        );
    };
    check(
        json!([{"type": "a", "status": "Unknown"}]),
        "False",
        "the status of pod readiness gate \"a\" is not \"True\", but Unknown, corresponding condition of pod \
         readiness gate \"b\" does not exist.",
    );
    let mut condition = json!({"type": "Ready", "status": "True"});
    ready(
        &mut condition,
        &gates,
        &[json!({"type": "a", "status": "True"}), json!({"type": "b", "status": "True"})],
    );
    assert_eq!(condition, json!({"type": "Ready", "status": "True"}));
}
