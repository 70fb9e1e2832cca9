//! How workloads are deleted: by their user, in one of the three ways, and then what that leaves on purpose.

use crate::api::lifecycle::{Deletion, Propagation};
use crate::api::object;
use crate::api::objects::Target;
use crate::sim::world::{World, target};

const WAYS: [Propagation; 4] =
    [Propagation::Background, Propagation::Foreground, Propagation::Orphan, Propagation::Background];

/// Where in it a workload is.
#[derive(Debug, Default)]
pub struct Ending {
    begun: bool,
    orphaned: bool,
}

/// What is kept on purpose when its owner goes: collection, apiVersion, kind.
const KEPT: [(&str, &str, &str); 3] = [
    ("/persistentvolumeclaims", "v1", "PersistentVolumeClaim"),
    ("/services", "v1", "Service"),
    ("/pods", "v1", "Pod"),
];
/// What is kept besides by who asks for it.
const ORPHANS: [(&str, &str, &str); 3] = [
    ("apps/replicasets", "apps/v1", "ReplicaSet"),
    ("apps/controllerrevisions", "apps/v1", "ControllerRevision"),
    ("batch/jobs", "batch/v1", "Job"),
];

impl Ending {
    /// Whether its user has begun to delete it.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Deletes a workload; when asked again, what that left on purpose. Tells whether it is to be asked again.
    pub fn next(&mut self, world: &mut World, at: &Target) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            let way = world.random.pick(&WAYS).copied().unwrap_or(Propagation::Background);
            self.orphaned = way == Propagation::Orphan;
            world.delete("user", at, Deletion { grace_seconds: None, propagation: Some(way) });
            return true;
        }
        let orphans = ORPHANS.iter().filter(|_| self.orphaned);
        let mut left = Vec::new();
        for (collection, api_version, kind) in KEPT.iter().chain(orphans) {
            let here = world.api.list(collection).filter(|object| object::namespace(object) == at.namespace);
            let free = here.filter(|object| {
                object["metadata"]["ownerReferences"].is_null() && !object::deleting(object)
            });
            left.extend(free.map(|object| target(api_version, kind, &at.namespace, object::name(object))));
        }
        for at in &left {
            world.delete(
                "user",
                at,
                Deletion { grace_seconds: None, propagation: Some(Propagation::Background) },
            );
        }
        !left.is_empty()
    }
}
