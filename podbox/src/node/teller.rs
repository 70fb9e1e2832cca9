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

    /// Takes a pod out of the API, of which nothing is left here. One that is `lost`, of which nobody has told that it is over,
    /// is told to have failed before: somebody may hold it in the API, and wait for that.
    pub fn remove(&mut self, at: ObjectRef, uid: String, lost: bool) {
        let objects = Arc::clone(&self.objects);
        self.writes.spawn(async move {
            let fail = |pod: &mut Value| {
                if object::uid(pod) == uid {
                    pod["status"]["phase"] = "Failed".into();
                }
            };
            if lost && let Err(error) = objects.update_status(&at, fail).await {
                tracing::warn!("telling of pod {}/{} failed: {error}", at.namespace, at.name);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::objects::{Token, TokenWanted};
    use crate::api::status::ApiError;
    use serde_json::json;
    use std::sync::Mutex;

    /// One pod, and how often it was written.
    struct Api(Mutex<(Value, usize)>);

    impl Api {
        fn new() -> Arc<Api> {
            Arc::new(Api(Mutex::new((json!({"metadata": {"uid": "u"}, "status": {}}), 0))))
        }

        fn phase(&self) -> String {
            self.0.lock().unwrap().0["status"]["phase"].as_str().unwrap_or_default().to_owned()
        }

        fn writes(&self) -> usize {
            self.0.lock().unwrap().1
        }
    }

    impl Objects for Api {
        async fn ensure(&self, _: Value) -> Result<(), ApiError> {
            unreachable!("nothing is created")
        }
        async fn update(
            &self,
            _: &ObjectRef,
            _: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<Value, ApiError> {
            unreachable!("only statuses are written")
        }
        async fn update_status(
            &self,
            object: &ObjectRef,
            change: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<Value, ApiError> {
            tokio::task::yield_now().await;
            let mut kept = self.0.lock().unwrap();
            if object.name != "p" {
                return Err(ApiError::not_found("", "pods", &object.name));
            }
            change(&mut kept.0);
            kept.1 += 1;
            Ok(kept.0.clone())
        }
        async fn bind(&self, _: &ObjectRef, _: &str, _: &str) -> Result<(), ApiError> {
            unreachable!("nothing is bound")
        }
        async fn token(&self, _: &ObjectRef, _: &str, _: &str, _: &TokenWanted) -> Result<Token, ApiError> {
            unreachable!("no token is asked for")
        }
        async fn remove(&self, _: &ObjectRef, _: &str) -> Result<(), ApiError> {
            self.0.lock().unwrap().0 = Value::Null;
            Ok(())
        }
    }

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "default".into(), name: name.into(), uid: "u".into() }
    }

    fn status(phase: &str) -> PodStatus {
        PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() }
    }

    #[tokio::test]
    async fn statuses_come_in_order_and_those_in_between_are_skipped() {
        let api = Api::new();
        let (mut teller, pod) = (Teller::new(Arc::clone(&api)), pod("p"));
        for phase in ["Pending", "Running", "Succeeded"] {
            teller.set(&pod, &status(phase));
        }
        assert!(teller.is_busy(&pod) && !teller.has(&pod, &status("Pending")), "nothing is told yet");
        let written = teller.next().await.unwrap();
        assert_eq!((&written.pod, &*written.status), (&pod, &status("Pending")));
        assert!(teller.has(&pod, &status("Pending")));
        teller.set(&pod, &status("Succeeded"));
        assert_eq!(teller.latest(&pod), Some(&status("Succeeded")));
        teller.next().await.unwrap();
        assert_eq!((api.phase().as_str(), api.writes()), ("Succeeded", 2));
        teller.set(&pod, &status("Succeeded"));
        assert!(teller.next().await.is_none(), "what is told is not told again");
    }

    #[tokio::test]
    async fn what_somebody_has_written_over_is_told_again() {
        let api = Api::new();
        let (mut teller, pod) = (Teller::new(Arc::clone(&api)), pod("p"));
        teller.set(&pod, &status("Running"));
        teller.look(&pod, &Value::Null);
        assert!(teller.next().await.unwrap().changed, "it is to be looked at now that nothing is on its way");
        let own = api.0.lock().unwrap().0.clone();
        teller.look(&pod, &own);
        assert!(!teller.is_busy(&pod), "that was its own word");
        let theirs = json!({"metadata": {"uid": "u"}, "status": {"phase": "Pending"}});
        api.0.lock().unwrap().0 = theirs.clone();
        teller.look(&pod, &theirs);
        assert!(!teller.next().await.unwrap().changed);
        assert_eq!(api.phase(), "Running");
    }

    #[tokio::test]
    async fn a_pod_that_the_api_does_not_have_is_told_of_no_more() {
        let (mut teller, gone) = (Teller::new(Api::new()), pod("gone"));
        teller.set(&gone, &status("Failed"));
        teller.next().await.unwrap();
        assert!(teller.has(&gone, &status("Failed")));
        teller.remove(ObjectRef::pod("default", "gone"), "u".into(), false);
        assert!(teller.next().await.is_none(), "a removal is nobody's status");
        teller.retain(|_| false);
        assert_eq!(teller.latest(&gone), None);
    }
}
