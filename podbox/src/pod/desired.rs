//! What a pod's manifest says about the order of its life: the shape that `pod::plan` works on, grace
//! period, stop signals, pull policies. Expects a pod that is defaulted and valid; of another, words that are not
//! known read as the defaults.

use super::probe::ProbeSpecs;
use super::resize::{self, Share};
use super::restart::{Action, Codes, Restart, RestartPolicy};
use super::shape::{ContainerShape, Shape};
use crate::api::ephemeral;
use crate::api::images::PullPolicy;
use crate::api::oom::Rules;
use crate::limits;
use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, Lifecycle, LifecycleHandler, Pod, VolumeMount, VolumeMountStatus,
};
use std::time::Duration;

/// The part of a pod that decides its steps.
pub fn shape(pod: &Pod) -> Shape {
    let Some(spec) = &pod.spec else { return Shape::new(Vec::new(), grace(pod)) };
    let policy = policy(spec.restart_policy.as_deref()).unwrap_or(RestartPolicy::Always);
    // A pod that runs on and on does not initialise itself on and on.
    let of_init = match policy {
        RestartPolicy::Always => RestartPolicy::OnFailure,
        policy => policy,
    };
    let deadline = spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let probes = |container: &Container| ProbeSpecs::of(container, pod.metadata.annotations.as_ref());
    let rules = Rules::of(pod);
    let main = spec.containers.iter().map(|main| {
        let oom = rules.container(&main.name);
        ContainerShape { probes: probes(main), oom, ..container(main, policy) }
    });
    let init = spec.init_containers.iter().flatten().map(|init| {
        let sidecar = init.restart_policy.as_deref() == Some("Always");
        let shape = ContainerShape { sidecar, ..container(init, of_init) };
        // One that is to end is asked for nothing else.
        let probes = if sidecar { probes(init) } else { ProbeSpecs::default() };
        ContainerShape { probes, oom: rules.container(&init.name), ..shape }
    });
    Shape {
        init: init.collect(),
        main: main.collect(),
        ephemeral: ephemeral::of(pod).map(ephemeral_container).collect(),
        grace: grace(pod),
        active_deadline: deadline.map(|seconds| Duration::from_secs(seconds).min(limits::LONGEST)),
    }
}

fn ephemeral_container(one: &EphemeralContainer) -> ContainerShape {
    let target = ephemeral::target(one).map(str::to_owned);
    ContainerShape { target, ..container(&ephemeral::as_container(one), RestartPolicy::Never) }
}

fn container(container: &Container, of_pod: RestartPolicy) -> ContainerShape {
    let rules = container.restart_policy_rules.iter().flatten();
    let rules = rules.filter_map(|rule| {
        let action = match rule.action.as_str() {
            "Restart" => Action::Restart,
            "RestartAllContainers" => Action::RestartAll,
            _ => return None,
        };
        let codes = rule.exit_codes.as_ref()?;
        let values = codes.values.clone().unwrap_or_default();
        Some((if codes.operator == "NotIn" { Codes::NotIn(values) } else { Codes::In(values) }, action))
    });
    let own = policy(container.restart_policy.as_deref());
    ContainerShape {
        restart: Restart { policy: own.unwrap_or(of_pod), rules: rules.collect() },
        post_start: post_start(container).is_some(),
        pre_stop: pre_stop(container).is_some(),
        image: container.image.clone().unwrap_or_default(),
        always_pulled: pull_policy(container) == PullPolicy::Always,
        share: Share::of(container),
        mounts: container.volume_mounts.iter().flatten().map(told).collect(),
        restarts_for: resize::restarts_for(container),
        ..ContainerShape::new(&container.name, of_pod)
    }
}

/// A mount as a status has it. What is only wished to be read-only all the way down is: every kernel here can do it.
fn told(mount: &VolumeMount) -> VolumeMountStatus {
    let read_only = mount.read_only == Some(true);
    let deep = matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: read_only.then_some(true),
        recursive_read_only: read_only.then(|| if deep { "Enabled" } else { "Disabled" }.to_owned()),
        ..Default::default()
    }
}

fn policy(word: Option<&str>) -> Option<RestartPolicy> {
    match word? {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    }
}

/// What a container wants done once it has started.
pub fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref().and_then(|lifecycle: &Lifecycle| lifecycle.post_start.as_ref())
}

/// What it wants done before its stop signal.
pub fn pre_stop(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref().and_then(|lifecycle: &Lifecycle| lifecycle.pre_stop.as_ref())
}

/// How long a stop of the pod may take.
fn grace(pod: &Pod) -> Duration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    // Upstream takes a negative one for the shortest there is.
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
}

/// When to ask a container's registry for its image.
pub fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

/// `lifecycle.stopSignal`, which goes before the image's.
pub fn stop_signal(container: &Container) -> Option<i32> {
    signal_number(container.lifecycle.as_ref()?.stop_signal.as_deref()?)
}

/// A signal by number or by name, with or without `SIG`; also `RTMIN+n` and `RTMAX-n`, as images may say.
pub fn signal_number(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    let known = |number: &i32| (1..=RTMAX).contains(number);
    if let Ok(number) = name.parse() {
        return Some(number).filter(known);
    }
    let upper = name.to_ascii_uppercase();
    let word = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = word.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return RTMIN.checked_add(offset).filter(known);
    }
    if let Some(offset) = word.strip_prefix("RTMAX") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return RTMAX.checked_sub(offset).filter(known);
    }
    NAMES.iter().position(|known| *known == word).map(|index| index as i32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_of_mounts_how_deep_they_are_read_only() {
        let text = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, volumeMounts: [{name: v, mountPath: /a}, \
            {name: v, mountPath: /b, readOnly: true}, \
            {name: v, mountPath: /c, readOnly: true, recursiveReadOnly: IfPossible}]}]}}";
        let shape = shape(&serde_yaml::from_str(text).unwrap());
        let expected = serde_json::json!([
            {"name": "v", "mountPath": "/a"},
            {"name": "v", "mountPath": "/b", "readOnly": true, "recursiveReadOnly": "Disabled"},
            {"name": "v", "mountPath": "/c", "readOnly": true, "recursiveReadOnly": "Enabled"},
        ]);
        assert_eq!(serde_json::to_value(&shape.main[0].mounts).unwrap(), expected);
    }

    #[test]
    fn a_containers_own_policy_and_rules_go_before_the_pods() {
        let text = "{apiVersion: v1, kind: Pod, spec: {restartPolicy: Always, activeDeadlineSeconds: 7, \
            initContainers: [{name: i}, {name: s, restartPolicy: Always}, {name: n, restartPolicy: Never}], containers: \
            [{name: a}, {name: b, restartPolicy: Never, lifecycle: {preStop: {sleep: {seconds: 3}}}, restartPolicyRules: \
            [{action: Restart, exitCodes: {operator: In, values: [4]}}]}]}}";
        let shape = shape(&serde_yaml::from_str(text).unwrap());
        let restarts = |name: &str| [0, 1, 4].map(|code| shape.restarts(name, code));
        assert_eq!(restarts("i"), [false, true, true], "an init container that succeeded is done");
        assert_eq!(restarts("s"), [true; 3]);
        assert_eq!(restarts("n"), [false; 3]);
        assert_eq!(restarts("a"), [true; 3]);
        assert_eq!(restarts("b"), [false, false, true]);
        assert_eq!(shape.init.iter().map(|init| init.sidecar).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(shape.main.iter().map(|main| main.pre_stop).collect::<Vec<_>>(), [false, true]);
        assert_eq!(shape.active_deadline, Some(Duration::from_secs(7)));
    }

    #[test]
    fn signals_by_name_and_number() {
        for (name, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGSYS", Some(31)),
            ("SIGNOPE", None),
            ("0", None),
            ("65", None),
            ("SIGRTMIN+99", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
