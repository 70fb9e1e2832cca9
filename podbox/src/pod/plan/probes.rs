//! Which probes are due: of containers that are up, as long as they are.

use super::{Plan, PodStep, Shape, outcome};
use crate::api::probe::ProbeType;
use crate::pod::observed::Observed;
use std::time::Instant;

pub(super) fn run(pod: &Shape, seen: &Observed, now: Instant, plan: &mut Plan) {
    let ends = seen.termination.is_some() || outcome(pod, seen).is_some();
    for shape in pod.init.iter().chain(&pod.main) {
        let container = seen.container(&shape.name);
        let Some(run) = container.run().filter(|_| container.is_up()) else { continue };
        let ends = ends || container.order.is_some() || run.is_stopping();
        for probe in ProbeType::ALL {
            // Nothing is to be restarted any more; whether it is still good for others is of interest to the last.
            if shape.probes.get(probe).is_none() || ends && probe != ProbeType::Readiness {
                continue;
            }
            match run.probes.due(probe) {
                None => {}
                Some(at) if at <= now => plan.step(PodStep::Probe { container: shape.name.clone(), probe }),
                Some(at) => plan.probe_at = Some(plan.probe_at.map_or(at, |other| other.min(at))),
            }
        }
    }
}
