//! What is worth an Event: the difference between two moments of a pod, in the kubelet's reasons and words. Pure.
//!
//! It is derived from what is known rather than said at each step, so that nothing is told that did not come true.

use super::observed::{ContainerSeen, ContainerState, Ended, HookState, ImageState, Observed, SandboxState};
use super::plan::is_main_turn;
use super::probe::Outcome;
use super::resize::{Refusal, RefusalKind, Resize, Share};
use super::shape::{ContainerShape, Shape};
use crate::api::cause::{By, Cause};
use crate::api::identity::PodRef;
use crate::api::probe::ProbeType;
use crate::limits;
use serde_json::json;
use std::borrow::Cow;

/// Something that people want to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Which part of the pod's spec it is about, as `containers{web}`; none where it is about the pod.
    pub part: Option<String>,
    /// Whether something is wrong.
    pub warning: bool,
    /// Upstream's reason: Started, BackOff.
    pub reason: Cow<'static, str>,
    /// In words.
    pub message: String,
    /// What there is to add this time. The same thing with another remark is no other thing.
    pub remark: Option<String>,
}

impl Notice {
    /// All of its words.
    pub fn text(&self) -> String {
        match &self.remark {
            Some(remark) => format!("{}; {remark}", self.message),
            None => self.message.clone(),
        }
    }
}

fn normal(reason: &'static str, message: String) -> Notice {
    Notice { part: None, warning: false, reason: reason.into(), message, remark: None }
}

fn warning(reason: &'static str, message: String) -> Notice {
    Notice { part: None, warning: true, reason: reason.into(), message, remark: None }
}

/// An image is on this node, and the pod may have it.
pub fn present(image: &str) -> Notice {
    const WHY: &str = "already present on machine and can be accessed by the pod";
    normal("Pulled", format!("Container image {image:?} {WHY}"))
}

/// What came of a probe of this part of a pod, where that is worth an Event; with what the kernel knows of it.
pub fn probed(part: String, probe: ProbeType, outcome: &Outcome, remark: Option<String>) -> Option<Notice> {
    let told = |why: &str| -> String { why.chars().take(limits::PROBE_SAID).collect() };
    let notice = match outcome {
        Outcome::Success | Outcome::Starved => return None,
        Outcome::Warning(why) => warning("ProbeWarning", format!("{probe} probe warning: {}", told(why))),
        Outcome::Failure(why) => warning("Unhealthy", format!("{probe} probe failed: {}", told(why))),
        Outcome::Errored(state, why) => warning(
            "Unhealthy",
            format!("{probe} probe errored and resulted in {state} state: {}", told(why)),
        ),
    };
    Some(Notice { part: Some(part), remark, ..notice })
}

/// Why a container is ended whose probe failed; `follows`: it will run again.
pub fn failed_probe(shape: &ContainerShape, probe: ProbeType, follows: bool) -> String {
    let (name, probe) = (&shape.name, probe.name());
    match (shape.sidecar, follows) {
        (true, _) => format!("Init container {name} failed {probe} probe"),
        (false, true) => format!("Container {name} failed {probe} probe, will be restarted"),
        (false, false) => format!("Container {name} failed {probe} probe"),
    }
}

/// A volume cannot be had, or not be brought up to date.
pub fn failed_mount(message: String) -> Notice {
    warning("FailedMount", message)
}

/// One that has run once has no sandbox any more: a reboot, or somebody who killed the keeper, took it away.
const SANDBOX_CHANGED: &str = "Pod sandbox changed, it will be killed and re-created.";

/// What to say of the step from one moment of a pod to a later one. `image` gives a container's reference.
pub fn notices<'a>(
    pod: &PodRef,
    shape: &Shape,
    before: &Observed,
    after: &Observed,
    image: impl Fn(&str) -> &'a str,
) -> Vec<Notice> {
    let mut all = Vec::new();
    if before.sandbox == SandboxState::Absent
        && after.sandbox == SandboxState::Creating
        && after.containers.values().any(ContainerSeen::has_run)
    {
        all.push(normal("SandboxChanged", SANDBOX_CHANGED.to_owned()));
    }
    if let (SandboxState::Failed { message, .. }, true) = (&after.sandbox, before.sandbox != after.sandbox) {
        all.push(warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}")));
    }
    if let (SandboxState::Unmounted { message, .. }, true) = (&after.sandbox, before.sandbox != after.sandbox)
    {
        all.push(failed_mount(message.clone()));
    }
    if let (SandboxState::Stuck { message, .. }, true) = (&after.sandbox, before.sandbox != after.sandbox) {
        all.push(warning("FailedKillPod", format!("error killing pod: {message}")));
    }
    if let (Some(verdict), None) = (&after.verdict, &before.verdict)
        && !verdict.reason.is_empty()
    {
        // Upstream does not call that a warning.
        let warning = verdict.reason != "DeadlineExceeded";
        let (reason, message) = (verdict.reason.clone(), verdict.message.clone());
        all.push(Notice { part: None, warning, reason: reason.into(), message, remark: None });
    }
    let (turn_before, turn) = (is_main_turn(shape, before), is_main_turn(shape, after));
    for (name, seen) in &after.containers {
        let past = before.container(name);
        let mut own = Vec::new();
        let is_main = shape.main.iter().any(|main| main.name == *name);
        match (turn_before || !is_main, turn || !is_main) {
            (true, true) => of_image(&past.image, &seen.image, image(name), &mut own),
            (false, true) => of_image(&ImageState::Absent, &seen.image, image(name), &mut own),
            (_, false) => {}
        }
        let follows =
            |ended: &Ended| after.termination.is_none() && shape.restarts(name, ended.exited.status.code());
        of_hooks(past, seen, &mut own);
        of_resize(name, past, seen, &mut own);
        of_pile(name, past, seen, &mut own);
        of_run(pod, name, image(name), past, seen, follows, &mut own);
        all.extend(own.into_iter().map(|notice| Notice { part: Some(shape.part(name)), ..notice }));
    }
    all
}

fn of_image(before: &ImageState, after: &ImageState, reference: &str, all: &mut Vec<Notice>) {
    if before == after {
        return;
    }
    match after {
        // What was tried is told by whoever tries it.
        ImageState::Failed { reason, .. } => {
            all.push(warning("Failed", format!("Error: {reason}")));
            if reason == "ErrImagePull" {
                all.push(normal("BackOff", format!("Back-off pulling image {reference:?}")));
                all.push(warning("Failed", "Error: ImagePullBackOff".to_owned()));
            }
        }
        ImageState::Ready { .. } | ImageState::Absent | ImageState::Pulling => {}
    }
}

fn of_pile(name: &str, before: &ContainerSeen, after: &ContainerSeen, all: &mut Vec<Notice>) {
    let pile = |seen: &ContainerSeen| seen.run().map(|run| run.pile.clone()).filter(|pile| pile.told > 0);
    if let (None, Some(pile)) = (pile(before), pile(after)) {
        all.push(warning("ZombiesPileUp", pile.words(name)));
    }
}

fn of_resize(name: &str, before: &ContainerSeen, after: &ContainerSeen, all: &mut Vec<Notice>) {
    if before.resize == after.resize || before.attempt != after.attempt {
        return;
    }
    let of = |share: &Share| {
        let resources = json!(share.requirements());
        json!({"containers": [{"name": name, "resources": resources}]})
    };
    match (&after.resize, &after.share) {
        (Resize::Asked(share), _) => {
            all.push(normal("ResizeStarted", format!("Pod resize started: {}", of(share))));
        }
        (Resize::None, Some(share)) if before.resize == Resize::Asked(share.clone()) => {
            all.push(normal("ResizeCompleted", format!("Pod resize completed: {}", of(share))));
        }
        (Resize::Failed { refusal: Refusal { kind, message }, .. }, _) => {
            let (reason, what) = match kind {
                RefusalKind::Infeasible => ("ResizeInfeasible", "infeasible"),
                RefusalKind::Deferred => ("ResizeDeferred", "deferred"),
                RefusalKind::Error => ("ResizeError", "error"),
            };
            all.push(warning(reason, format!("Pod resize {what}: {message}")));
        }
        (Resize::None, _) => {}
    }
}

/// What it complained of may hold a secret: whoever may read the pod's status may read it there.
fn of_hooks(before: &ContainerSeen, after: &ContainerSeen, all: &mut Vec<Notice>) {
    let Some(run) = after.run() else { return };
    let past = before.run().filter(|_| before.attempt == after.attempt);
    let fails =
        |now: HookState, past: Option<HookState>| now == HookState::Failed && past != Some(HookState::Failed);
    if fails(run.post_start, past.map(|run| run.post_start)) {
        all.push(warning("FailedPostStartHook", "PostStartHook failed".to_owned()));
    }
    if fails(run.pre_stop, past.map(|run| run.pre_stop)) {
        all.push(warning("FailedPreStopHook", "PreStopHook failed".to_owned()));
    }
}

/// OOM kills have Events of their own, and podbox says that it ends a container before it does.
fn is_news(cause: &Cause) -> bool {
    matches!(cause.by, By::Itself | By::Process | By::Kernel)
}

fn of_run(
    pod: &PodRef,
    name: &str,
    image: &str,
    before: &ContainerSeen,
    after: &ContainerSeen,
    follows: impl Fn(&Ended) -> bool,
    all: &mut Vec<Notice>,
) {
    let run = |seen: &ContainerSeen| {
        matches!(seen.state, ContainerState::Running(_) | ContainerState::Ended(_)).then_some(seen.attempt)
    };
    let stops = |seen: &ContainerSeen| seen.run().is_some_and(|run| run.is_stopping());
    if matches!(after.state, ContainerState::Running(_)) {
        if run(before) != run(after) {
            // Whoever looked for it for this run has told of it.
            if after.asked_for.is_some_and(|run| run < after.attempt) {
                all.push(present(image));
            }
            all.push(normal("Created", "Container created".to_owned()));
            all.push(normal("Started", "Container started".to_owned()));
        }
        if stops(after) && !(stops(before) && run(before) == run(after)) {
            let why = after.order.as_ref().map(|order| order.why.clone());
            all.push(normal("Killing", why.unwrap_or_else(|| format!("Stopping container {name}"))));
        }
    }
    match &after.state {
        ContainerState::Refused { failure, .. } if before.state != after.state => {
            all.push(warning("Failed", format!("Error: {}", failure.message)));
        }
        ContainerState::Ended(ended) if before.state != after.state => {
            if let Some(cause) = ended.cause.as_ref().filter(|cause| is_news(cause)) {
                all.push(warning("ContainerDied", format!("Container {name} died: {}", cause.message)));
            }
            if let Some(failure) = &ended.failure {
                all.push(warning("Failed", format!("Error: {}", failure.message)));
            }
            // The first restart does not wait.
            if after.attempt > 0 && !ended.replaced && follows(ended) {
                let PodRef { namespace, name: pod, uid } = pod;
                let why =
                    format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({uid})");
                all.push(warning("BackOff", why));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::pod::observed::{Hook, Termination, Verdict};
    use crate::pod::restart::RestartPolicy;
    use crate::sandbox::runtime::{ExitStatus, Exited, Started};
    use std::time::Duration;

    /// The notices of each change, one after the other, as `reason message`.
    fn told(policy: RestartPolicy, changes: &[&dyn Fn(&mut Observed)]) -> Vec<String> {
        let shape = Shape::new(vec![ContainerShape::new("web", policy)], Duration::ZERO);
        let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let mut all = Vec::new();
        let mut seen = Observed::default();
        for change in changes {
            let before = seen.clone();
            change(&mut seen);
            let said = notices(&pod, &shape, &before, &seen, |_| "web:1");
            all.extend(said.into_iter().map(|one| format!("{} {}", one.reason, one.message)));
        }
        all
    }

    fn start(seen: &mut Observed) {
        seen.container_mut("web").starting(clock::instant());
        let started = Started { pid: 1, cgroup_id: 1, at: clock::wall(), user: None, laps: Vec::new() };
        seen.container_mut("web").started(started, HookState::Due);
    }

    fn end(seen: &mut Observed) {
        let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
        seen.container_mut("web").exited(exited, None, String::new(), clock::instant());
    }

    #[test]
    fn a_life_is_told_step_by_step_and_each_step_once() {
        let have = |seen: &mut Observed| {
            seen.container_mut("web").image = ImageState::Ready { id: "sha256:1".into() };
        };
        let stop = |seen: &mut Observed| seen.container_mut("web").stopping(clock::instant());
        let expected =
            ["Created Container created", "Started Container started", "Killing Stopping container web"];
        assert_eq!(told(RestartPolicy::Always, &[&have, &start, &|_| {}, &stop, &stop]), expected);
    }

    #[test]
    fn back_off_is_told_from_the_second_crash_on_and_only_where_a_run_follows() {
        let runs: [&dyn Fn(&mut Observed); 4] = [&start, &end, &start, &end];
        let back_off = "BackOff Back-off restarting failed container web in pod p_default(u)";
        assert_eq!(told(RestartPolicy::Always, &runs).last().map(String::as_str), Some(back_off));
        assert_eq!(told(RestartPolicy::Always, &runs).iter().filter(|said| *said == back_off).count(), 1);
        assert!(!told(RestartPolicy::Never, &runs[..2]).iter().any(|said| said == back_off));
    }

    #[test]
    fn what_fails_is_a_warning_in_the_kubelets_words() {
        let fail = |seen: &mut Observed| {
            let (reason, message) = ("ErrImagePull".to_owned(), "no such image".to_owned());
            seen.container_mut("web").image = ImageState::Failed { reason, message, at: clock::instant() };
        };
        let sandbox = |seen: &mut Observed| {
            seen.sandbox = SandboxState::Failed { message: "no veth".into(), until: clock::instant() };
        };
        let stuck = |seen: &mut Observed| {
            seen.sandbox = SandboxState::Stuck { message: "no umount".into(), until: clock::instant() };
        };
        let expected = [
            "Failed Error: ErrImagePull",
            "BackOff Back-off pulling image \"web:1\"",
            "Failed Error: ImagePullBackOff",
            "FailedCreatePodSandBox Failed to create pod sandbox: no veth",
            "FailedKillPod error killing pod: no umount",
        ];
        assert_eq!(told(RestartPolicy::Always, &[&fail, &sandbox, &stuck]), expected);
    }

    #[test]
    fn an_image_that_cannot_be_had_is_told_when_its_containers_turn_has_come() {
        let shape = Shape::new(vec![ContainerShape::new("web", RestartPolicy::Never)], Duration::ZERO);
        let shape = Shape { init: vec![ContainerShape::new("init", RestartPolicy::Never)], ..shape };
        let pod = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let mut seen = Observed::default();
        let mut told = Vec::new();
        let fail = |seen: &mut Observed| {
            let (reason, message) = ("InvalidImageName".to_owned(), "no name".to_owned());
            seen.container_mut("web").image = ImageState::Failed { reason, message, at: clock::instant() };
        };
        let through = |seen: &mut Observed| {
            let exited = Exited { status: ExitStatus::Code(0), at: clock::wall() };
            seen.container_mut("init").exited(exited, None, String::new(), clock::instant());
        };
        for change in [&fail as &dyn Fn(&mut Observed), &through, &|_| {}] {
            let before = seen.clone();
            change(&mut seen);
            told.push(notices(&pod, &shape, &before, &seen, |_| "web:1").len());
        }
        assert_eq!(told, [0, 1, 0]);
    }

    #[test]
    fn hooks_that_fail_are_told_without_what_they_said() {
        let failed = |hook: Hook| {
            move |seen: &mut Observed| {
                seen.container_mut("web").calling(hook);
                seen.container_mut("web").called(0, hook, Some("a secret".to_owned()));
            }
        };
        let order = |seen: &mut Observed| {
            let end = Termination::new(clock::instant(), Duration::ZERO);
            seen.container_mut("web").order(end, "FailedPostStartHook");
        };
        let (post_start, pre_stop) = (failed(Hook::PostStart), failed(Hook::PreStop));
        let told = told(RestartPolicy::Always, &[&start, &post_start, &order, &pre_stop, &|_| {}]);
        let expected = [
            "FailedPostStartHook PostStartHook failed",
            "FailedPreStopHook PreStopHook failed",
            "Killing FailedPostStartHook",
        ];
        assert_eq!(told[2..], expected);
    }

    #[test]
    fn probes_are_told_in_the_kubelets_words() {
        let said = |outcome: Outcome| {
            let part = "containers{web}".to_owned();
            let remark = Some("queue full".to_owned());
            let notice = probed(part.clone(), ProbeType::Readiness, &outcome, remark)?;
            assert_eq!(notice.text(), format!("{}; queue full", notice.message));
            assert!(notice.warning && notice.part == Some(part));
            Some(format!("{} {}", notice.reason, notice.message))
        };
        let why = || "no".to_owned();
        assert_eq!(said(Outcome::Success).or_else(|| said(Outcome::Starved)), None);
        assert_eq!(said(Outcome::Failure(why())).unwrap(), "Unhealthy Readiness probe failed: no");
        assert_eq!(said(Outcome::Warning(why())).unwrap(), "ProbeWarning Readiness probe warning: no");
        let errored = "Unhealthy Readiness probe errored and resulted in unknown state: no";
        assert_eq!(said(Outcome::Errored("unknown", why())).unwrap(), errored);
        let web = ContainerShape::new("web", RestartPolicy::Always);
        let ends = |shape: &ContainerShape, follows| failed_probe(shape, ProbeType::Liveness, follows);
        assert_eq!(ends(&web, true), "Container web failed liveness probe, will be restarted");
        assert_eq!(ends(&web, false), "Container web failed liveness probe");
        let sidecar = ContainerShape { sidecar: true, ..web };
        assert_eq!(ends(&sidecar, true), "Init container web failed liveness probe");
    }

    #[test]
    fn a_verdict_is_told_once() {
        let fail = |seen: &mut Observed| {
            let verdict = Verdict { reason: "DeadlineExceeded".into(), message: "too long".into() };
            seen.fail(verdict, Termination::new(clock::instant(), Duration::ZERO));
        };
        assert_eq!(told(RestartPolicy::Always, &[&fail, &fail]), ["DeadlineExceeded too long"]);
    }
}
