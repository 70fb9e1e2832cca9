//! What a pod's manifest says about the order of its life: the shape that `pod::plan` works on, grace
//! period, stop signals, pull policies. Expects a pod that is defaulted and valid; of another, words that are not
//! known read as the defaults.

use super::plan::{ContainerShape, Shape};
use super::restart::RestartPolicy;
use crate::api::images::PullPolicy;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::time::Duration;

/// The part of a pod that decides its steps.
pub fn shape(pod: &Pod) -> Shape {
    let Some(spec) = &pod.spec else {
        let (restart_policy, grace) = (RestartPolicy::Always, grace(pod));
        return Shape { init: Vec::new(), main: Vec::new(), restart_policy, grace };
    };
    let container = |container: &Container, sidecar| ContainerShape { name: container.name.clone(), sidecar };
    let is_sidecar = |init: &Container| init.restart_policy.as_deref() == Some("Always");
    let init = spec.init_containers.iter().flatten();
    Shape {
        init: init.map(|init| container(init, is_sidecar(init))).collect(),
        main: spec.containers.iter().map(|main| container(main, false)).collect(),
        restart_policy: match spec.restart_policy.as_deref() {
            Some("OnFailure") => RestartPolicy::OnFailure,
            Some("Never") => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        },
        grace: grace(pod),
    }
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
