//! What a later version of a pod means for what is known of it. Pure.
//!
//! Of a running pod, a container's image makes a run another one, which `pod::plan` replaces, its share is changed where it
//! runs, and a shorter period of a probe counts at once. Everything else that may change is read where it is used, from the newest version.

use super::observed::Observed;
use super::resize::Resize;
use super::shape::Shape;

/// Forgets what is known of images, shares and periods that the pod does not ask for any more.
pub fn follow(pod: &Shape, seen: &mut Observed) {
    let pace = seen.pace;
    for shape in pod.containers() {
        let Some(container) = seen.containers.get_mut(&shape.name) else { continue };
        if container.asked.as_ref().is_some_and(|asked| *asked != shape.image) {
            container.forget_image(pace);
        }
        if let Some(run) = container.run_mut() {
            run.probes.follow(&shape.probes);
        }
        if matches!(&container.resize, Resize::Failed { wanted, .. } if *wanted != shape.share) {
            container.resize = Resize::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::pod::observed::{HookState, ImageState};
    use crate::pod::plan::{PodStep, plan};
    use crate::pod::restart::RestartPolicy;
    use crate::pod::shape::ContainerShape;
    use crate::sandbox::runtime::{ExitStatus, Exited, Started};
    use std::time::{Duration, Instant};

    fn shape(image: &str) -> Shape {
        let web = ContainerShape { image: image.into(), ..ContainerShape::new("web", RestartPolicy::Never) };
        Shape::new(vec![web], Duration::from_secs(30))
    }

    fn have(seen: &mut Observed, image: &str, now: Instant) {
        seen.container_mut("web").pulling(image, now);
        seen.container_mut("web").image = ImageState::Ready { id: image.into() };
    }

    fn run(seen: &mut Observed, now: Instant) {
        seen.container_mut("web").starting(now);
        let started = Started { pid: 1, cgroup_id: 1, at: clock::wall(), user: None, laps: Vec::new() };
        seen.container_mut("web").started(started, HookState::Done);
    }

    fn running(image: &str, now: Instant) -> Observed {
        let mut seen = Observed { sandbox: crate::pod::observed::SandboxState::Ready, ..Observed::default() };
        have(&mut seen, image, now);
        run(&mut seen, now);
        seen
    }

    fn exit(seen: &mut Observed, now: Instant) {
        let exited = Exited { status: ExitStatus::Code(0), at: clock::wall() };
        seen.container_mut("web").exited(exited, None, String::new(), now);
    }

    #[test]
    fn a_run_of_another_image_is_replaced_whatever_the_restart_policy_says() {
        let now = clock::instant();
        let web = || "web".to_owned();
        let mut seen = running("web:1", now);
        assert_eq!(plan(&shape("web:1"), &seen, now).steps, []);
        let pod = shape("web:2");
        follow(&pod, &mut seen);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::EnsureImage { container: web() }]);
        seen.container_mut("web").pulling("web:2", now);
        assert_eq!(plan(&pod, &seen, now).steps, [], "the other one runs while it is pulled");
        let replace = PodStep::Replace { container: web(), why: "definition changed, will be restarted" };
        let (reason, message) = ("ErrImagePull".to_owned(), "no".to_owned());
        seen.container_mut("web").image = ImageState::Failed { reason, message, at: now };
        let told = plan(&pod, &seen, now).steps;
        assert_eq!(told, std::slice::from_ref(&replace), "that there is none is to be seen");
        have(&mut seen, "web:2", now);
        assert_eq!(plan(&pod, &seen, now).steps, [replace]);
        let end = crate::pod::observed::Termination::new(now, pod.grace);
        seen.container_mut("web").replace(end, "it changed");
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::Stop { container: web() }]);
        seen.container_mut("web").stopping(now);
        exit(&mut seen, now);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::Start { container: web() }]);
        run(&mut seen, now);
        assert_eq!(seen.container("web").attempt, 1);
        assert_eq!(plan(&pod, &seen, now).steps, []);
        // By itself it is not run again.
        exit(&mut seen, now);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::RemoveSandbox]);
    }

    #[test]
    fn an_image_that_could_not_be_had_does_not_hold_up_another() {
        let now = clock::instant();
        let mut seen = Observed { sandbox: crate::pod::observed::SandboxState::Ready, ..Observed::default() };
        seen.container_mut("web").pulling("nowhere:1", now);
        let (reason, message) = ("ErrImagePull".to_owned(), "no".to_owned());
        seen.container_mut("web").image = ImageState::Failed { reason, message, at: now };
        let pod = shape("web:1");
        assert_eq!(plan(&pod, &seen, now).steps, []);
        follow(&pod, &mut seen);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::EnsureImage { container: "web".into() }]);
    }

    #[test]
    fn an_image_that_is_always_pulled_is_asked_for_before_each_run() {
        let now = clock::instant();
        let mut pod = shape("web:1");
        let web = ContainerShape::new("web", RestartPolicy::Always);
        pod.main = vec![ContainerShape { image: "web:1".into(), always_pulled: true, ..web }];
        let mut seen = running("web:1", now);
        let web = || "web".to_owned();
        exit(&mut seen, now);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::EnsureImage { container: web() }]);
        have(&mut seen, "web:1", now);
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::Start { container: web() }]);
        run(&mut seen, now);
        assert_eq!(plan(&pod, &seen, now).steps, []);
    }

    #[test]
    fn a_refusal_is_forgotten_with_what_was_refused() {
        let now = clock::instant();
        let mut seen = running("web:1", now);
        let mut pod = shape("web:1");
        seen.container_mut("web").share = Some(pod.main[0].share.clone());
        let mut wanted = pod.main[0].share.clone();
        wanted
            .limits
            .insert("cpu".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("9".into()));
        let given = std::mem::replace(&mut pod.main[0].share, wanted.clone());
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::Resize { container: "web".into() }]);
        seen.container_mut("web").resizing(wanted.clone());
        let (kind, message) = (crate::pod::resize::RefusalKind::Infeasible, "too much".into());
        let refusal = crate::pod::resize::Refusal { kind, message };
        seen.container_mut("web").resized(0, wanted, Err(refusal), now);
        follow(&pod, &mut seen);
        assert_ne!(seen.container("web").resize, Resize::None);
        assert_eq!(plan(&pod, &seen, now).steps, []);
        pod.main[0].share = given;
        follow(&pod, &mut seen);
        assert_eq!(seen.container("web").resize, Resize::None);
    }

    #[test]
    fn an_ephemeral_container_runs_once_beside_its_target_and_decides_nothing() {
        let now = clock::instant();
        let mut pod = shape("web:1");
        let debugger = ContainerShape::new("debugger", RestartPolicy::Never);
        pod.ephemeral = vec![ContainerShape { target: Some("web".into()), ..debugger }];
        let mut seen = running("web:1", now);
        seen.container_mut("debugger").image = ImageState::Ready { id: "x".into() };
        let start = [PodStep::Start { container: "debugger".into() }];
        assert_eq!(plan(&pod, &seen, now).steps, start);
        let started = Started { pid: 2, cgroup_id: 2, at: clock::wall(), user: None, laps: Vec::new() };
        seen.container_mut("debugger").starting(now);
        seen.container_mut("debugger").started(started, HookState::Done);
        let exited = Exited { status: ExitStatus::Code(3), at: clock::wall() };
        seen.container_mut("debugger").exited(exited, None, String::new(), now);
        assert_eq!(plan(&pod, &seen, now).steps, []);
        exit(&mut seen, now);
        assert_eq!(crate::pod::plan::outcome(&pod, &seen), Some(crate::pod::plan::Outcome::Succeeded));
        // Without its target there is nothing to look at.
        seen.container_mut("web").again();
        seen.containers.remove("debugger");
        seen.container_mut("debugger").image = ImageState::Ready { id: "x".into() };
        assert_eq!(plan(&pod, &seen, now).steps, [PodStep::Start { container: "web".into() }]);
    }
}
