//! The next steps of a pod: from what it should be and what is known of it to what to do now.
//!
//! Pure and total. It deliberately knows nothing of manifests (a [`Shape`] is what is left of one), of
//! images' content or of how steps are done. Invariants, which its tests hold: at most one run of a container at a
//! time; init containers in order, each after the one before succeeded; nothing starts once the end was
//! asked for or reached; a step is not issued while its like is in flight; a run's postStart hook is called once it has
//! started, and its preStop hook before its stop signal, each once; nothing starts before the sidecars before it have
//! started; whoever is asked to end is killed at its deadline, or 2 s after it was asked, if that is later; probes are run of
//! containers that are up only, each one at a time, and liveness and startup not once the end was asked for.

mod anew;
mod change;
mod probes;
mod stop;

#[cfg(test)]
mod tests;

use super::observed::{
    ContainerSeen, ContainerState, HookState, ImageState, Observed, SandboxState, Termination, Verdict,
};
pub use super::shape::{ContainerShape, Shape};
use crate::api::probe::ProbeType;
pub use anew::is_due as begins_anew;
use std::time::{Duration, Instant};

/// For so long an image's failure is told as itself; then as the wait that follows from it.
pub const PULL_FAILURE_TOLD: Duration = Duration::from_secs(1);

/// A step of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodStep {
    /// Have a container's image on this node.
    EnsureImage {
        /// Whose.
        container: String,
    },
    /// Make the sandbox.
    CreateSandbox,
    /// Start a container's next run.
    Start {
        /// Which.
        container: String,
    },
    /// Call a container's postStart hook.
    PostStart {
        /// Whose.
        container: String,
    },
    /// Call a container's preStop hook.
    PreStop {
        /// Whose.
        container: String,
    },
    /// End a container's run, so that another one follows with what the manifest asks for now.
    Replace {
        /// Which.
        container: String,
        /// Why, as the Event that tells of it has it.
        why: &'static str,
    },
    /// Run a probe of a container.
    Probe {
        /// Whose.
        container: String,
        /// Which.
        probe: ProbeType,
    },
    /// Give a container's run the share that the manifest asks for now.
    Resize {
        /// Which.
        container: String,
    },
    /// Send a container its stop signal.
    Stop {
        /// Which.
        container: String,
    },
    /// Kill every process of a container.
    Kill {
        /// Which.
        container: String,
    },
    /// Say that the pod has failed, and end it.
    Fail(Verdict),
    /// Let everything begin anew in the sandbox that there is.
    BeginAnew,
    /// Take the sandbox away.
    RemoveSandbox,
}

/// How a pod came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every container exited with 0 and none is to run again.
    Succeeded,
    /// Some container did not.
    Failed,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to issue; independent of each other.
    pub steps: Vec<PodStep>,
    /// When to ask again even if nothing is reported.
    pub wake_at: Option<Instant>,
    /// When the next probe is due. Apart from the other, since most probes change nothing that others could see.
    pub probe_at: Option<Instant>,
    /// Nothing of the pod is left, and nothing is to be done.
    pub finished: bool,
}

impl Plan {
    fn step(&mut self, step: PodStep) {
        self.steps.push(step);
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }
}

/// The next steps.
pub fn plan(pod: &Shape, seen: &Observed, now: Instant) -> Plan {
    let mut plan = Plan::default();
    if let Some(termination) = seen.termination {
        stop::all(pod, seen, termination, now, &mut plan);
    } else if outcome(pod, seen).is_some() {
        // Only sidecars may still run; they have had their use.
        let end = Termination::new(ended_at(pod, seen).unwrap_or(now), pod.grace);
        stop::all(pod, seen, end, now, &mut plan);
    } else if let Some(verdict) = overdue(pod, seen, now, &mut plan) {
        plan.step(PodStep::Fail(verdict));
        plan.wake(now);
    } else if anew::is_due(pod, seen) {
        anew::begin(pod, seen, now, &mut plan);
    } else {
        go_on(pod, seen, now, &mut plan);
    }
    probes::run(pod, seen, now, &mut plan);
    plan
}

/// How the pod ended, once its containers will not run again.
pub fn outcome(pod: &Shape, seen: &Observed) -> Option<Outcome> {
    for init in pod.init.iter().filter(|init| !init.sidecar) {
        match final_code(init, seen) {
            Some(0) => {}
            Some(_) => return Some(Outcome::Failed),
            None => return None,
        }
    }
    let codes: Option<Vec<i32>> = pod.main.iter().map(|main| final_code(main, seen)).collect();
    Some(if codes?.iter().all(|code| *code == 0) { Outcome::Succeeded } else { Outcome::Failed })
}

/// The exit code of a container that will not run again.
fn final_code(container: &ContainerShape, seen: &Observed) -> Option<i32> {
    let ContainerState::Ended(ended) = &seen.containers.get(&container.name)?.state else { return None };
    let code = ended.exited.status.code();
    (!ended.replaced && !container.restart.restarts(code)).then_some(code)
}

/// When the last of the containers that decide the outcome ended.
fn ended_at(pod: &Shape, seen: &Observed) -> Option<Instant> {
    let deciding = pod.init.iter().chain(&pod.main).filter(|shape| !shape.sidecar);
    let ends = deciding.filter_map(|shape| match &seen.container(&shape.name).state {
        ContainerState::Ended(ended) => Some(ended.at),
        _ => None,
    });
    ends.max()
}

/// What is to be said of a pod that was at it for longer than it may be.
fn overdue(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) -> Option<Verdict> {
    let deadline = seen.accepted? + pod.active_deadline?;
    if now < deadline {
        plan.wake(deadline);
        return None;
    }
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    Some(Verdict { reason: "DeadlineExceeded".to_owned(), message })
}

/// Whether the pod has been initialised in this sandbox: what init containers are for is there, and the others have
/// their own life. A sidecar that crashes then holds nobody up.
pub fn initialized(pod: &Shape, seen: &Observed) -> bool {
    let through = |init: &ContainerShape| match init.sidecar {
        true => seen.container(&init.name).state != ContainerState::Waiting,
        false => final_code(init, seen) == Some(0),
    };
    pod.init.iter().all(through) && pod.main.iter().any(|main| seen.container(&main.name).has_run())
}

/// Whether the main containers' turn has come. Before, they are not waited for: what is found out about their images early
/// is told then.
pub fn is_main_turn(pod: &Shape, seen: &Observed) -> bool {
    initialized(pod, seen) || pod.init.iter().all(|init| is_through(init, seen))
}

/// Whether an init container lets those after it begin.
fn is_through(init: &ContainerShape, seen: &Observed) -> bool {
    match init.sidecar {
        true => seen.container(&init.name).is_started(),
        false => final_code(init, seen) == Some(0),
    }
}

fn go_on(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    for shape in pod.containers() {
        ensure_image(shape, seen.container(&shape.name), now, plan);
    }
    match &seen.sandbox {
        SandboxState::Absent => plan.step(PodStep::CreateSandbox),
        SandboxState::Failed { until, .. } | SandboxState::Unmounted { until, .. } if *until > now => {
            plan.wake(*until);
        }
        SandboxState::Failed { .. } | SandboxState::Unmounted { .. } => plan.step(PodStep::CreateSandbox),
        SandboxState::Ready => {
            change::bring_up_to_date(pod, seen, now, plan);
            stop_ordered(pod, seen, now, plan);
            run_containers(pod, seen, now, plan);
        }
        SandboxState::Creating
        | SandboxState::Removing
        | SandboxState::Stuck { .. }
        | SandboxState::Removed { .. } => {}
    }
}

fn ensure_image(shape: &ContainerShape, seen: &ContainerSeen, now: Instant, plan: &mut Plan) {
    let ensure = PodStep::EnsureImage { container: shape.name.clone() };
    match &seen.image {
        ImageState::Absent => plan.step(ensure),
        ImageState::Failed { at, .. } => match seen.pull_backoff.until(*at, now) {
            Some(until) => {
                let told = *at + PULL_FAILURE_TOLD;
                plan.wake(if now < told { until.min(told) } else { until });
            }
            None => plan.step(ensure),
        },
        ImageState::Pulling | ImageState::Ready { .. } => {}
    }
}

/// Ends those that are to end for themselves.
fn stop_ordered(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    for shape in pod.containers() {
        let container = seen.container(&shape.name);
        if let (ContainerState::Running(run), Some(order)) = (&container.state, &container.order) {
            stop::one(shape, run, order.end, true, now, plan);
        }
    }
}

fn run_containers(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    for ephemeral in &pod.ephemeral {
        let target = ephemeral.target.as_ref();
        if target.is_none_or(|target| seen.container(target).run().is_some()) {
            run(ephemeral, seen, now, plan);
        }
    }
    let initialized = initialized(pod, seen);
    for init in &pod.init {
        let through = is_through(init, seen);
        if init.sidecar || !through {
            run(init, seen, now, plan);
        }
        if !through && !initialized {
            return;
        }
    }
    for main in &pod.main {
        run(main, seen, now, plan);
        if holds_up(main, seen.container(&main.name)) {
            return;
        }
    }
}

/// Whether those after a main container wait for it: as long as it is on its way to the end of its postStart hook.
fn holds_up(main: &ContainerShape, seen: &ContainerSeen) -> bool {
    let on_its_way = match (&seen.state, &seen.image) {
        (ContainerState::Waiting, image) => !matches!(image, ImageState::Failed { .. }),
        (ContainerState::Starting, _) => true,
        (ContainerState::Running(run), _) => matches!(run.post_start, HookState::Due | HookState::Running),
        (ContainerState::Refused { .. } | ContainerState::Ended(_), _) => false,
    };
    main.post_start && on_its_way
}

/// Starts a container when it is time, and calls its hook once it runs.
fn run(shape: &ContainerShape, observed: &Observed, now: Instant, plan: &mut Plan) {
    let seen = observed.container(&shape.name);
    match &seen.state {
        ContainerState::Running(run) if run.post_start == HookState::Due && seen.order.is_none() => {
            plan.step(PodStep::PostStart { container: shape.name.clone() });
        }
        ContainerState::Running(_) | ContainerState::Starting => {}
        _ if !matches!(seen.image, ImageState::Ready { .. }) => {}
        ContainerState::Waiting => start(shape, seen, plan),
        ContainerState::Refused { at, .. } => {
            let until = *at + seen.backoff.first();
            match now < until {
                true => plan.wake(until),
                false => start(shape, seen, plan),
            }
        }
        ContainerState::Ended(ended) if ended.replaced => start(shape, seen, plan),
        ContainerState::Ended(ended) if shape.restart.restarts(ended.exited.status.code()) => {
            match seen.backoff.until(ended.at, now) {
                Some(until) => plan.wake(until),
                None => start(shape, seen, plan),
            }
        }
        ContainerState::Ended(_) => {}
    }
}

/// Where each run is to have what the registry has by then, that is asked first.
fn start(shape: &ContainerShape, seen: &ContainerSeen, plan: &mut Plan) {
    let container = shape.name.clone();
    plan.step(match shape.always_pulled && seen.asked_for != Some(seen.next()) {
        true => PodStep::EnsureImage { container },
        false => PodStep::Start { container },
    });
}
