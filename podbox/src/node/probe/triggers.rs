//! Brings triggers to the workers of the pods they are about. Nobody ever waits: what a worker has no room for is dropped,
//! since it is a hint among many.

use crate::api::identity::PodRef;
use crate::api::trigger::Trigger;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Who wants to know what happens in which pod.
#[derive(Debug, Default)]
pub struct Triggers(Mutex<HashMap<String, mpsc::Sender<Trigger>>>);

impl Triggers {
    /// What happens in a pod from now on. Whoever asked before hears no more.
    pub fn subscribe(&self, pod: &PodRef) -> mpsc::Receiver<Trigger> {
        let (sender, receiver) = mpsc::channel(crate::limits::TRIGGERS);
        self.pods().insert(pod.uid.clone(), sender);
        receiver
    }

    /// Something happened. Cheap where nobody wants to know.
    pub fn tell(&self, trigger: Trigger) {
        let mut pods = self.pods();
        let uid = &trigger.container.pod.uid;
        let Some(worker) = pods.get(uid) else { return };
        if worker.is_closed() {
            pods.remove(uid);
        } else {
            // A full one is awake already.
            let _ = worker.try_send(trigger);
        }
    }

    /// Nobody wants to know of this pod any more.
    pub fn forget(&self, pod: &PodRef) {
        self.pods().remove(&pod.uid);
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Trigger>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::ContainerRef;
    use crate::api::trigger::Cause;

    #[tokio::test]
    async fn a_pods_worker_hears_of_its_pod_alone_and_nobody_waits_for_it() {
        let triggers = Triggers::default();
        let pod = |uid: &str| PodRef { namespace: "n".into(), name: "p".into(), uid: uid.into() };
        let happened = |uid, port| Trigger {
            container: ContainerRef { pod: pod(uid), name: "c".into(), attempt: 0 },
            cgroup: 1,
            cause: Cause::Listening { port },
        };
        let mut own = triggers.subscribe(&pod("a"));
        triggers.tell(happened("b", 1));
        for port in 0..1000 {
            triggers.tell(happened("a", port));
        }
        assert_eq!(own.recv().await, Some(happened("a", 0)));
        drop(own);
        triggers.tell(happened("a", 1));
        assert!(triggers.pods().is_empty());
    }
}
