//! What a pod goes on from, by what its worker remembered and what the keeper holds; without files and without a keeper.

use super::*;
use crate::clock;
use crate::pod::observed::Hook;
use crate::pod::plan::{Outcome, PodStep, plan};
use crate::pod::restart::RestartPolicy;
use crate::pod::shape::ContainerShape;
use crate::pod::status::{Facts, status};
use k8s_openapi::api::core::v1::PodStatus;

const MAIN: &str = "main";

fn shape(policy: RestartPolicy) -> Shape {
    let of_init = if policy == RestartPolicy::Always { RestartPolicy::OnFailure } else { policy };
    let init = vec![ContainerShape::new("first", of_init)];
    Shape { init, ..Shape::new(vec![ContainerShape::new(MAIN, policy)], Duration::from_secs(30)) }
}

fn pod() -> PodRef {
    PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() }
}

fn image(id: &str) -> Option<Image> {
    let (reference, layers) = (id.to_owned(), Vec::new());
    Some(Image { id: id.into(), digest: None, reference, layers, config: Default::default() })
}

fn moment() -> Moment {
    Moment { instant: clock::instant(), boot: clock::boot(), wall: clock::wall() }
}

/// A pod whose init container succeeded, and whose other one runs for the second time after a crash.
fn running(now: Moment) -> Observed {
    let mut seen = Observed { sandbox: SandboxState::Ready, ..Default::default() };
    for (name, codes) in [("first", &[0][..]), (MAIN, &[3])] {
        let container = seen.container_mut(name);
        container.image = ImageState::Ready { id: "sha256:1".into() };
        for code in codes {
            container.starting(now.instant);
            container.started(started(), HookState::Done);
            let exited = Exited { status: ExitStatus::Code(*code), at: clock::wall() };
            container.exited(exited, None, String::new(), now.instant);
        }
    }
    let main = seen.container_mut(MAIN);
    main.starting(now.instant);
    main.started(started(), HookState::Done);
    seen
}

fn remembered(seen: &Observed, now: Moment) -> Memory {
    let memory =
        Memory::of((&pod(), clock::wall()), seen, |_| image("sha256:1"), Some([10, 85, 0, 2].into()), now);
    // As it comes back from its file.
    serde_json::from_slice(&serde_json::to_vec(&memory).unwrap()).unwrap()
}

fn held(attempt: u32) -> ContainerStatus {
    let container = ContainerRef { pod: pod(), name: MAIN.into(), attempt };
    ContainerStatus { container, started: started(), exited: None }
}

fn started() -> Started {
    Started {
        pid: 7,
        cgroup_id: 9,
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
        user: None,
        laps: Vec::new(),
    }
}

fn told(shape: &Shape, seen: &Observed, accepted: SystemTime, now: Moment) -> PodStatus {
    let facts = Facts { pod: pod(), host: [192, 0, 2, 1].into(), ip: None, accepted, images: Vec::new() };
    status(shape, seen, &facts, now.instant)
}

#[test]
fn a_pod_that_runs_is_told_of_in_the_same_words_by_the_next_daemon_and_left_alone() {
    let now = moment();
    let (shape, seen) = (shape(RestartPolicy::Always), running(now));
    let mut memory = remembered(&seen, now);
    assert_eq!(memory.meet(&[held(1)], clock::wall(), now.boot), []);
    let later = Moment {
        instant: now.instant + Duration::from_secs(5),
        boot: now.boot + Duration::from_secs(5),
        ..now
    };
    let again = memory.recall(&shape, Pace::default(), later);
    let accepted = memory.accepted;
    assert_eq!(told(&shape, &again, accepted, later), told(&shape, &seen, accepted, later));
    assert_eq!(plan(&shape, &again, later.instant).steps, []);
    assert_eq!(again.container(MAIN).backoff, seen.container(MAIN).backoff);
}

#[test]
fn a_start_that_was_under_way_is_taken_over_or_made_again_under_its_number() {
    let now = moment();
    let mut seen = running(now);
    let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
    seen.container_mut(MAIN).exited(exited, None, String::new(), now.instant);
    seen.container_mut(MAIN).starting(now.instant);
    for (held, runs) in [(vec![held(2)], true), (vec![], false)] {
        let mut memory = remembered(&seen, now);
        assert_eq!(memory.meet(&held, clock::wall(), now.boot), []);
        let shape = shape(RestartPolicy::Always);
        let again = memory.recall(&shape, Pace::default(), now);
        let main = again.container(MAIN);
        assert_eq!((main.is_active(), main.attempt), (runs, 2));
        assert_eq!(main.last.as_ref().map(|last| last.attempt), Some(1));
        let start = PodStep::Start { container: MAIN.into() };
        assert_eq!(plan(&shape, &again, now.instant).steps, if runs { vec![] } else { vec![start] });
    }
}

#[test]
fn what_the_keeper_still_holds_of_an_end_that_is_remembered_is_held_in_vain() {
    let now = moment();
    let mut seen = running(now);
    let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
    seen.container_mut(MAIN).exited(exited, None, String::new(), now.instant);
    let mut memory = remembered(&seen, now);
    assert_eq!(memory.meet(&[held(1)], clock::wall(), now.boot), [held(1).container]);
    assert_eq!(memory.recall(&shape(RestartPolicy::Always), Pace::default(), now).container(MAIN).attempt, 1);
}

#[test]
fn a_pod_whose_keeper_died_begins_anew_and_its_end_is_told_as_unknown() {
    let now = moment();
    for (policy, steps, phase) in [
        (RestartPolicy::Always, vec![PodStep::CreateSandbox], "Running"),
        (RestartPolicy::Never, vec![], "Failed"),
    ] {
        let mut memory = remembered(&running(now), now);
        memory.meet(&[], clock::wall(), now.boot);
        let shape = shape(policy);
        let again = memory.recall(&shape, Pace::default(), now);
        assert_eq!(plan(&shape, &again, now.instant).steps, steps);
        let told = told(&shape, &again, memory.accepted, now);
        assert_eq!(told.phase.as_deref(), Some(phase));
        let main = told.container_statuses.and_then(|mut all| all.pop()).expect("one container");
        let states = [main.state, main.last_state].into_iter().flatten().filter_map(|state| state.terminated);
        let unknown = states.into_iter().find(|end| end.reason.as_deref() == Some("ContainerStatusUnknown"));
        assert_eq!(unknown.map(|end| end.exit_code), Some(137));
        // It runs again where everything does.
        let first = again.container("first");
        assert_eq!(first.attempt, if phase == "Running" { 1 } else { 0 });
    }
}

#[test]
fn a_termination_keeps_its_deadline() {
    let now = moment();
    let mut seen = running(now);
    seen.terminate(Termination::new(now.instant, Duration::from_secs(30)));
    seen.container_mut(MAIN).stopping(now.instant);
    let memory = remembered(&seen, now);
    let shape = shape(RestartPolicy::Always);
    let step = |seconds| {
        let passed = Duration::from_secs(seconds);
        let later = Moment { instant: now.instant + passed, boot: now.boot + passed, ..now };
        plan(&shape, &memory.recall(&shape, Pace::default(), later), later.instant).steps
    };
    assert_eq!(step(29), [PodStep::Stop { container: MAIN.into() }], "whether it was sent is unknown");
    // Whoever it reaches only now is not killed unasked.
    assert_eq!(step(32), [PodStep::Stop { container: MAIN.into() }]);
}

#[test]
fn after_a_reboot_the_status_in_the_api_is_gone_on_from() {
    let now = moment();
    let shape_of = shape(RestartPolicy::Always);
    let accepted = clock::wall();
    let status = told(&shape_of, &running(now), accepted, now);
    let memory = Memory::of_status(&pod(), &status, clock::wall(), now.boot).expect("it was begun");
    let again = memory.recall(&shape_of, Pace::default(), now);
    assert_eq!(again.container(MAIN).restarts(), 1);
    assert!(matches!(&again.container(MAIN).state, ContainerState::Ended(ended) if ended.attempt == 1));
    let last = again.container(MAIN).last.as_ref().expect("it crashed before");
    assert_eq!((last.attempt, last.exited.status), (0, ExitStatus::Code(3)));
    assert_eq!(plan(&shape_of, &again, now.instant).steps.last(), Some(&PodStep::CreateSandbox));
    let once = shape(RestartPolicy::Never);
    assert_eq!(outcome(&once, &memory.recall(&once, Pace::default(), now)), Some(Outcome::Failed));
    assert_eq!(Memory::of_status(&pod(), &PodStatus::default(), clock::wall(), now.boot), None);
}

#[test]
fn a_hook_is_called_again_unless_its_answer_is_remembered() {
    let now = moment();
    let mut shape = shape(RestartPolicy::Always);
    shape.main[0].post_start = true;
    shape.main[0].pre_stop = true;
    let main = |seen: &Observed| {
        let mut memory = remembered(seen, now);
        memory.meet(&[held(1)], clock::wall(), now.boot);
        let again = memory.recall(&shape, Pace::default(), now);
        (again.container(MAIN).is_started(), plan(&shape, &again, now.instant).steps)
    };
    let step = |step: fn(String) -> PodStep| vec![step(MAIN.to_owned())];
    let post_start = || step(|container| PodStep::PostStart { container });
    let mut seen = running(now);
    seen.container_mut(MAIN).started(started(), HookState::Due);
    seen.container_mut(MAIN).calling(Hook::PostStart);
    assert_eq!(main(&seen), (false, post_start()));
    seen.container_mut(MAIN).called(1, Hook::PostStart, None);
    assert_eq!(main(&seen), (true, vec![]));
    seen.terminate(Termination::new(now.instant, Duration::from_secs(30)));
    assert_eq!(main(&seen).1, step(|container| PodStep::PreStop { container }));
    seen.container_mut(MAIN).calling(Hook::PreStop);
    seen.container_mut(MAIN).called(1, Hook::PreStop, Some("exit 1".into()));
    assert_eq!(main(&seen).1, step(|container| PodStep::Stop { container }));
    // Nobody saw whether the start came to it, so the hook is due.
    let mut seen = running(now);
    let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
    seen.container_mut(MAIN).exited(exited, None, String::new(), now.instant);
    seen.container_mut(MAIN).starting(now.instant);
    let mut memory = remembered(&seen, now);
    memory.meet(&[held(2)], clock::wall(), now.boot);
    let again = memory.recall(&shape, Pace::default(), now);
    assert_eq!(plan(&shape, &again, now.instant).steps, post_start());
}

#[test]
fn what_a_pod_was_given_up_for_and_its_last_words_are_remembered() {
    let now = moment();
    let mut seen = running(now);
    let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
    seen.container_mut(MAIN).exited(exited, None, "farewell".to_owned(), now.instant);
    let verdict = Verdict { reason: "DeadlineExceeded".into(), message: "too long".into() };
    seen.fail(verdict, Termination::at_once(now.instant));
    let shape = shape(RestartPolicy::Always);
    let again = remembered(&seen, now).recall(&shape, Pace::default(), now);
    assert_eq!((&again.verdict, again.termination.map(|end| end.at_once)), (&seen.verdict, Some(true)));
    assert_eq!(again.container(MAIN).state, seen.container(MAIN).state);
}

#[test]
fn a_file_of_a_podbox_without_hooks_is_read_as_what_it_meant() {
    let now = moment();
    let mut file = serde_json::to_value(remembered(&running(now), now)).unwrap();
    for field in ["at_once", "verdict"] {
        file.as_object_mut().unwrap().remove(field).expect("it is written");
    }
    for name in ["first", MAIN] {
        for field in ["hooks", "order"] {
            file["containers"][name].as_object_mut().unwrap().remove(field).expect("it is written");
        }
    }
    let memory: Memory = serde_json::from_value(file).unwrap();
    let mut shape = shape(RestartPolicy::Always);
    shape.main[0].post_start = true;
    let again = memory.recall(&shape, Pace::default(), now);
    assert!(again.container(MAIN).is_started());
    assert_eq!(plan(&shape, &again, now.instant).steps, []);
}
