//! A pod that begins anew in its sandbox, since one of its containers exited with a code that asks for that:
//! `RestartAllContainers`. Address and volumes stay; init containers run again, and so do those that had succeeded.
//!
//! As upstream has it, nobody is asked: no hooks, no grace period. Ephemeral containers go on.

use super::{Plan, PodStep, Shape};
use crate::pod::observed::{ContainerSeen, ContainerState, Observed};
use std::time::Instant;

/// Whether some container has asked for it.
pub fn is_due(pod: &Shape, seen: &Observed) -> bool {
    asking(pod, seen).next().is_some()
}

fn asking<'a>(pod: &'a Shape, seen: &'a Observed) -> impl Iterator<Item = (&'a ContainerSeen, Instant)> {
    pod.init.iter().chain(&pod.main).filter_map(|shape| {
        let container = seen.container(&shape.name);
        match &container.state {
            ContainerState::Ended(ended) => {
                let asks = shape.restart.restarts_all(ended.exited.status.code());
                asks.then_some((container, ended.at))
            }
            _ => None,
        }
    })
}

/// Ends the others, and begins anew once they have, and whoever asked has waited as before any other restart.
pub(super) fn begin(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    let mut active = false;
    for shape in pod.init.iter().chain(&pod.main) {
        let container = seen.container(&shape.name);
        active |= container.is_active();
        if container.run().is_some_and(|run| !run.killed) {
            plan.step(PodStep::Kill { container: shape.name.clone() });
        }
    }
    if active {
        return;
    }
    let waits = asking(pod, seen).filter_map(|(container, ended)| container.backoff.until(ended, now));
    match waits.max() {
        Some(until) => plan.wake(until),
        None => {
            plan.step(PodStep::BeginAnew);
            plan.wake(now);
        }
    }
}
