//! What a StatefulSet says of itself: counts, and between which revisions it is. Pure.

use super::look::Look;
use super::{StatefulSet, identity};
use crate::api::object;
use crate::control::action::Write;
use crate::control::pods::{Member, Phase};
use crate::control::{number, status};
use jiff::Timestamp;
use serde_json::json;

/// How many pods are how far.
struct Counts {
    all: usize,
    ready: usize,
    available: usize,
    current: usize,
    updated: usize,
}

impl Counts {
    fn new<'a>(
        set: &StatefulSet,
        pods: impl Iterator<Item = &'a Member> + Clone,
        (current, update): (&str, &str),
        now: Timestamp,
    ) -> Counts {
        let is_ready = |pod: &&Member| pod.phase == Phase::Running && pod.ready.is_some();
        let least = set.workload.min_ready_seconds();
        let is_up = |pod: &&Member| pod.available_from(least).is_some_and(|from| from <= now);
        let of = |revision: &str| {
            pods.clone().filter(|pod| !pod.deleting && identity::revision(pod) == revision).count()
        };
        Counts {
            all: pods.clone().count(),
            ready: pods.clone().filter(is_ready).count(),
            available: pods.clone().filter(is_ready).filter(is_up).count(),
            current: of(current),
            updated: of(update),
        }
    }
}

/// The write by which the status is as it should be, if it is not.
pub fn told(look: &Look<'_>) -> Option<Write> {
    let (set, update) = (look.set, look.update.name());
    let mut current = look.current.name();
    let mut counts = Counts::new(set, look.pods.values().copied(), (current, update), look.now);
    let wanted = usize::try_from(set.workload.replicas()).unwrap_or(0);
    // All are of the newest revision: that is the current one from now on.
    if set.updates() && [counts.updated, counts.ready, counts.all] == [wanted; 3] {
        (current, counts.current) = (update, counts.updated);
    }
    write(set, counts, (current, update))
}

/// The same of a set that goes, whose revisions may be gone.
pub fn left(set: &StatefulSet, pods: &[&Member], now: Timestamp) -> Option<Write> {
    let known = |field: &str| set.workload.object["status"][field].as_str().unwrap_or_default();
    let revisions = (known("currentRevision"), known("updateRevision"));
    write(set, Counts::new(set, pods.iter().copied(), revisions, now), revisions)
}

fn write(set: &StatefulSet, counts: Counts, (current, update): (&str, &str)) -> Option<Write> {
    let workload = &set.workload;
    let name = |name: &str| if name.is_empty() { json!(null) } else { json!(name) };
    let fields = json!({
        "observedGeneration": object::generation(&workload.object),
        "replicas": counts.all,
        "readyReplicas": status::count(counts.ready),
        "availableReplicas": counts.available,
        "currentReplicas": status::count(counts.current),
        "updatedReplicas": status::count(counts.updated),
        "currentRevision": name(current),
        "updateRevision": name(update),
        "collisionCount": number(&workload.object["status"]["collisionCount"]),
    });
    status::write(&workload.at, &workload.object, workload.revision, json!({"status": fields}))
}
