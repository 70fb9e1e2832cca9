//! What a DaemonSet says of itself: on how many nodes it is how far. Pure.

use super::eligible::Place;
use super::look::Look;
use crate::api::object;
use crate::control::action::Write;
use crate::control::status;
use serde_json::json;

/// The write by which the status is as it should be, if it is not. Of several pods on a node, the oldest counts.
pub fn told(look: &Look<'_>) -> Option<Write> {
    let (mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0);
    for (node, place) in &look.places {
        let Some(pod) = look.on(node).first() else { continue };
        if *place != Place::Wanted {
            misplaced += 1;
            continue;
        }
        current += 1;
        ready += usize::from(pod.ready.is_some());
        available += usize::from(look.is_available(pod));
        updated += usize::from(look.is_new(pod));
    }
    let desired = look.wanted().count();
    let workload = &look.set.workload;
    let fields = json!({
        "observedGeneration": object::generation(&workload.object),
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": current,
        "numberMisscheduled": misplaced,
        "numberReady": ready,
        "updatedNumberScheduled": status::count(updated),
        "numberAvailable": status::count(available),
        "numberUnavailable": status::count(desired - available),
    });
    status::write(&workload.at, &workload.object, workload.revision, json!({"status": fields}))
}
