//! What is due where the manifest asks for something else by now than a run was started with.

use super::{ContainerShape, Plan, PodStep, Shape};
use crate::pod::observed::{ContainerSeen, ImageState, Observed};
use crate::pod::resize::{self, Due};
use std::time::Instant;

/// As upstream words them, after the container's name.
const OTHER_IMAGE: &str = "definition changed, will be restarted";
const OTHER_SHARE: &str = "resize requires restart";

/// Runs of another image are replaced, once that is here or cannot be had: upstream ends them first, and they are missing while
/// it is pulled. Those that have another share are given theirs.
pub(super) fn bring_up_to_date(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    // An init container has the image that it began with: it is not there to stay.
    for shape in pod.init.iter().filter(|init| init.sidecar).chain(&pod.main) {
        let container = seen.container(&shape.name);
        // One that is on its way out is of no interest; the next run has what is asked for.
        if container.run().is_none() || container.replaced {
            continue;
        }
        if container.definition.as_ref().is_some_and(|image| *image != shape.image) {
            if matches!(container.image, ImageState::Ready { .. } | ImageState::Failed { .. }) {
                replace(shape, OTHER_IMAGE, now, plan);
            }
        } else if container.order.is_none() {
            share(shape, container, now, plan);
        }
    }
}

fn share(shape: &ContainerShape, seen: &ContainerSeen, now: Instant, plan: &mut Plan) {
    let Some(given) = &seen.share else { return };
    match resize::due(given, &shape.share, &seen.resize, &shape.restarts_for, now) {
        None => {}
        Some(Due::Now) => plan.step(PodStep::Resize { container: shape.name.clone() }),
        Some(Due::ByRestart) => replace(shape, OTHER_SHARE, now, plan),
        Some(Due::At(at)) => plan.wake(at),
    }
}

fn replace(shape: &ContainerShape, why: &'static str, now: Instant, plan: &mut Plan) {
    plan.step(PodStep::Replace { container: shape.name.clone(), why });
    // Its end begins with the next plan.
    plan.wake(now);
}
