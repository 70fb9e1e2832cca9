//! What is worth an Event: the difference between two moments of a pod, in the kubelet's reasons and words. Pure.
//!
//! It is derived from what is known rather than said at each step, so that nothing is told that did not come true.

use super::observed::{ContainerSeen, ContainerState, Ended, ImageState, Observed, SandboxState};
use super::plan::Shape;
use crate::api::identity::PodRef;

/// Something that people want to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Which container it is about; none where it is about the pod.
    pub container: Option<String>,
    /// Whether something is wrong.
    pub warning: bool,
    /// Upstream's reason: Started, BackOff.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

fn normal(reason: &'static str, message: String) -> Notice {
    Notice { container: None, warning: false, reason, message }
}

fn warning(reason: &'static str, message: String) -> Notice {
    Notice { container: None, warning: true, reason, message }
}

/// What to say of the step from one moment of a pod to a later one. `image` gives a container's reference.
pub fn notices<'a>(
    pod: &PodRef,
    shape: &Shape,
    before: &Observed,
    after: &Observed,
    image: impl Fn(&str) -> &'a str,
) -> Vec<Notice> {
    let mut all = Vec::new();
    if let (SandboxState::Failed { message, .. }, true) = (&after.sandbox, before.sandbox != after.sandbox) {
        all.push(warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}")));
    }
    for (name, seen) in &after.containers {
        let past = before.container(name);
        let mut own = Vec::new();
        of_image(&past.image, &seen.image, image(name), &mut own);
        let follows = |ended: &Ended| {
            after.termination.is_none() && shape.policy(name).restarts(ended.exited.status.code())
        };
        of_run(pod, name, past, seen, follows, &mut own);
        all.extend(own.into_iter().map(|notice| Notice { container: Some(name.clone()), ..notice }));
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

fn of_run(
    pod: &PodRef,
    name: &str,
    before: &ContainerSeen,
    after: &ContainerSeen,
    follows: impl Fn(&Ended) -> bool,
    all: &mut Vec<Notice>,
) {
    let run = |seen: &ContainerSeen| {
        matches!(seen.state, ContainerState::Running { .. } | ContainerState::Ended(_))
            .then_some(seen.attempt)
    };
    let stopping =
        |seen: &ContainerSeen| matches!(seen.state, ContainerState::Running { stopping: true, .. });
    match &after.state {
        ContainerState::Running { .. } if run(before) != run(after) => {
            all.push(normal("Created", format!("Created container: {name}")));
            all.push(normal("Started", format!("Started container {name}")));
        }
        ContainerState::Running { .. } if stopping(after) && !stopping(before) => {
            all.push(normal("Killing", format!("Stopping container {name}")));
        }
        ContainerState::Ended(ended) if before.state != after.state => {
            if let Some(failure) = &ended.failure {
                all.push(warning("Failed", format!("Error: {}", failure.message)));
            }
            // The first restart does not wait.
            if after.attempt > 0 && follows(ended) {
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
    use crate::pod::plan::ContainerShape;
    use crate::pod::restart::RestartPolicy;
    use crate::sandbox::runtime::{ExitStatus, Exited, Started};
    use std::time::Duration;

    /// The notices of each change, one after the other, as `reason message`.
    fn told(policy: RestartPolicy, changes: &[&dyn Fn(&mut Observed)]) -> Vec<String> {
        let main = vec![ContainerShape { name: "web".into(), sidecar: false }];
        let shape = Shape { init: Vec::new(), main, restart_policy: policy, grace: Duration::ZERO };
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
        seen.container_mut("web").started(Started { pid: 1, cgroup_id: 1, at: clock::wall() });
    }

    fn end(seen: &mut Observed) {
        let exited = Exited { status: ExitStatus::Code(1), at: clock::wall() };
        seen.container_mut("web").exited(exited, false, clock::instant());
    }

    #[test]
    fn a_life_is_told_step_by_step_and_each_step_once() {
        let have = |seen: &mut Observed| {
            seen.container_mut("web").image = ImageState::Ready { id: "sha256:1".into() };
        };
        let stop = |seen: &mut Observed| seen.container_mut("web").stopping();
        let expected = [
            "Created Created container: web",
            "Started Started container web",
            "Killing Stopping container web",
        ];
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
            seen.sandbox = SandboxState::Failed { message: "no veth".into(), at: clock::instant() };
        };
        let expected = [
            "Failed Error: ErrImagePull",
            "BackOff Back-off pulling image \"web:1\"",
            "Failed Error: ImagePullBackOff",
            "FailedCreatePodSandBox Failed to create pod sandbox: no veth",
        ];
        assert_eq!(told(RestartPolicy::Always, &[&fail, &sandbox]), expected);
    }
}
