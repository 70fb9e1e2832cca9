//! What pods are at, on its way into the API: the newest status of each.
//!
//! ```text
//!   set ──▶ told so already? a write of it on its way? ──no──▶ a write ──▶ next: over ──▶ whoever sets looks again
//! ```
//!
//! A pod has one write on its way at most, so that its statuses come in order, and what it was at in between is skipped. Many
//! pods have theirs at the same time, and the store makes them durable together. It does not follow views, and it tries
//! nothing again by itself. Invariant: what it says was told, the API has acknowledged.

use super::merge::merge_status;
use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::{clock, limits};
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Writes pods' statuses.
pub struct Teller<O> {
    objects: Arc<O>,
    /// The status that the API has of each pod, as far as this node wrote it.
    told: BTreeMap<PodRef, Arc<PodStatus>>,
    /// The status that is on its way.
    writing: BTreeMap<PodRef, Arc<PodStatus>>,
    /// Pods that changed in the API meanwhile.
    changed: BTreeSet<PodRef>,
    /// At most one for each pod's status, and one for its removal.
    writes: JoinSet<Option<Done>>,
}

/// A write of a status that is over.
struct Done {
    pod: PodRef,
    status: Arc<PodStatus>,
    /// The API has it.
    told: bool,
}

/// A write that is over, whether the API has it or not.
#[derive(Debug)]
pub struct Written {
    /// Whose status it was.
    pub pod: PodRef,
    /// The status.
    pub status: Arc<PodStatus>,
    /// The pod changed in the API meanwhile, also by this write.
    pub changed: bool,
}

impl<O: Objects> Teller<O> {
    /// One that has told nothing.
    pub fn new(objects: Arc<O>) -> Teller<O> {
        let (told, writing, changed, writes) = Default::default();
        Teller { objects, told, writing, changed, writes }
    }

    /// Whether the API has this status of a pod.
    pub fn has(&self, pod: &PodRef, status: &PodStatus) -> bool {
        self.told.get(pod).is_some_and(|told| **told == *status)
    }

    /// What the API has of a pod, or is about to.
    pub fn latest(&self, pod: &PodRef) -> Option<&PodStatus> {
        self.writing.get(pod).or(self.told.get(pod)).map(AsRef::as_ref)
    }

    /// Whether a status of a pod is on its way.
    pub fn is_busy(&self, pod: &PodRef) -> bool {
        self.writing.contains_key(pod)
    }

    /// Tells a pod's status, unless the API has it. While another is on its way nothing is done: whoever asks looks again when
    /// that is over.
    pub fn set(&mut self, pod: &PodRef, status: &PodStatus) {
        if !self.is_busy(pod) && !self.has(pod, status) {
            self.write(pod, Arc::new(status.clone()));
        }
    }

    /// A pod is so in the API. Somebody may have written over what was told, or have said what a readiness gate waits for:
    /// then it is told again.
    pub fn look(&mut self, pod: &PodRef, stored: &Value) {
        if self.is_busy(pod) {
            self.changed.insert(pod.clone());
            return;
        }
        let Some(status) = self.told.get(pod).cloned() else { return };
        let mut judged = stored.clone();
        merge_status(&mut judged, &serde_json::to_value(&*status).unwrap_or_default(), clock::wall());
        if judged != *stored {
            self.write(pod, status);
        }
    }

    fn write(&mut self, pod: &PodRef, status: Arc<PodStatus>) {
        self.writing.insert(pod.clone(), Arc::clone(&status));
        let (objects, pod) = (Arc::clone(&self.objects), pod.clone());
        self.writes.spawn(async move {
            let told = write(&*objects, &pod, &status).await;
            Some(Done { pod, status, told })
        });
    }

    /// Takes a pod out of the API, of which nothing is left here.
    pub fn remove(&mut self, at: ObjectRef, uid: String) {
        let objects = Arc::clone(&self.objects);
        self.writes.spawn(async move {
            if let Err(error) = objects.remove(&at, &uid).await {
                tracing::warn!("removing pod {}/{} from the API failed: {error}", at.namespace, at.name);
            }
            None
        });
    }

    /// The next write of a status that is over; none if none is on its way. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Written> {
        while let Some(done) = self.writes.join_next().await {
            let done = done.expect("a write neither panics nor is aborted");
            let Some(Done { pod, status, told }) = done else { continue };
            self.writing.remove(&pod);
            if told {
                self.told.insert(pod.clone(), Arc::clone(&status));
            }
            let changed = self.changed.remove(&pod);
            return Some(Written { pod, status, changed });
        }
        None
    }

    /// Forgets what was told of pods, but for some.
    pub fn retain(&mut self, keep: impl Fn(&PodRef) -> bool) {
        self.told.retain(|pod, _| keep(pod));
    }
}

/// Whether the API has it now, or has no such pod any more. After a failure, some time has passed.
async fn write<O: Objects>(objects: &O, pod: &PodRef, status: &PodStatus) -> bool {
    let Ok(value) = serde_json::to_value(status) else { return true };
    let now = clock::wall();
    let set = |object: &mut Value| {
        if object::uid(object) == pod.uid {
            merge_status(object, &value, now);
        }
    };
    match objects.update_status(&ObjectRef::pod(&pod.namespace, &pod.name), set).await {
        Ok(_) => true,
        // It was removed without waiting for us.
        Err(error) if error.code == 404 => true,
        Err(error) => {
            tracing::warn!("telling the API of pod {pod} failed, and is tried again: {error}");
            tokio::time::sleep(limits::STATUS_RETRY).await;
            false
        }
    }
}
