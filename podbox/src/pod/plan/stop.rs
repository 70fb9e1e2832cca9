//! How containers end: who is asked when, and who is killed.
//!
//! ```text
//!   since ──▶ preStop hook ──▶ its turn ──▶ stop signal ─────────────▶ kill
//!    └──────────────── the grace period ───────────────▶ deadline ───────┘
//! ```
//!
//! The grace period counts from the beginning: what a hook takes is gone from it, and so is what a sidecar waits for
//! its turn. Whoever is asked to end has 2 s to do so, even past the deadline, as under every kubelet.

use super::{ContainerShape, Plan, PodStep, Shape};
use crate::pod::observed::{ContainerState, HookState, Observed, Run, SandboxState, Termination};
use std::time::{Duration, Instant};

/// What a process has at least between the stop signal and the kill.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(2);

/// Stops in the reverse of the order of starting: the main containers together, then the sidecars, the
/// last one first; an init container has nobody after it. Hooks do not wait for turns.
pub(super) fn all(pod: &Shape, seen: &Observed, end: Termination, now: Instant, plan: &mut Plan) {
    let stop = |shape: &ContainerShape, turn: bool, plan: &mut Plan| {
        let container = seen.container(&shape.name);
        if let ContainerState::Running(run) = &container.state {
            let end = container.order.as_ref().map_or(end, |order| end.sooner(order.end));
            one(shape, run, end, turn, now, plan);
        }
        container.is_active()
    };
    let mut active = false;
    for main in pod.main.iter().chain(&pod.ephemeral) {
        active |= stop(main, true, plan);
    }
    for init in pod.init.iter().rev() {
        active |= stop(init, !active, plan);
    }
    if active {
        return;
    }
    match &seen.sandbox {
        SandboxState::Stuck { until, .. } if *until > now => plan.wake(*until),
        // Of a try that failed, something may be left.
        SandboxState::Ready
        | SandboxState::Stuck { .. }
        | SandboxState::Failed { .. }
        | SandboxState::Unmounted { .. } => plan.step(PodStep::RemoveSandbox),
        SandboxState::Absent | SandboxState::Removed { .. } => plan.finished = true,
        SandboxState::Creating | SandboxState::Removing => {}
    }
}

/// The next step of one container's end; `turn` says that nobody is left that it has to outlive.
pub(super) fn one(
    shape: &ContainerShape,
    run: &Run,
    end: Termination,
    turn: bool,
    now: Instant,
    plan: &mut Plan,
) {
    let container = || shape.name.clone();
    let deadline = end.deadline();
    let in_time = now < deadline;
    match run.signalled {
        // There is nothing to wait for but the report.
        _ if run.killed => {}
        _ if end.at_once => plan.step(PodStep::Kill { container: container() }),
        Some(at) => match deadline.max(at + SHORTEST_GRACE) {
            kill if now < kill => plan.wake(kill),
            _ => plan.step(PodStep::Kill { container: container() }),
        },
        None if in_time && shape.pre_stop && run.pre_stop == HookState::Due => {
            plan.step(PodStep::PreStop { container: container() });
            plan.wake(deadline);
        }
        None if in_time && (run.pre_stop == HookState::Running || !turn) => plan.wake(deadline),
        None => {
            plan.step(PodStep::Stop { container: container() });
            plan.wake(deadline.max(now + SHORTEST_GRACE));
        }
    }
}
