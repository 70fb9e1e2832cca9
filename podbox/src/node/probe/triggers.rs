//! Brings triggers to the workers of the pods they are about. Nobody ever waits: what a worker has no room for is dropped,
//! since it is a hint among many; and what it has no interest in does not wake it. A flood of processes that end leaves
//! room for kills and servers, and one of kills leaves room for servers.

use crate::api::identity::PodRef;
use crate::api::trigger::{Interest, Trigger};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Who wants to know what happens in which pod, by its uid.
#[derive(Debug, Default)]
pub struct Triggers(Mutex<HashMap<String, Listener>>);

#[derive(Debug)]
struct Listener {
    sender: mpsc::Sender<Trigger>,
    /// An [`Interest`].
    interest: Arc<AtomicU8>,
}

/// What happens in a pod, as far as it is of interest.
#[derive(Debug)]
pub struct Heard {
    triggers: mpsc::Receiver<Trigger>,
    interest: Arc<AtomicU8>,
}

impl Heard {
    /// The next one; none once somebody else hears of the pod.
    pub async fn recv(&mut self) -> Option<Trigger> {
        self.triggers.recv().await
    }

    /// What is of interest from now on.
    pub fn wants(&self, interest: Interest) {
        self.interest.store(interest as u8, Ordering::Relaxed);
    }
}

impl Triggers {
    /// What happens in a pod from now on, if it is of interest: nothing is at first. Whoever asked before hears no more.
    pub fn subscribe(&self, pod: &PodRef) -> Heard {
        let (sender, triggers) = mpsc::channel(crate::limits::TRIGGERS);
        let interest = Arc::new(AtomicU8::new(Interest::Nothing as u8));
        self.pods().insert(pod.uid.clone(), Listener { sender, interest: Arc::clone(&interest) });
        Heard { triggers, interest }
    }

    /// Something happened. Cheap where nobody wants to know.
    pub fn tell(&self, trigger: Trigger) {
        let mut pods = self.pods();
        let uid = &trigger.container.pod.uid;
        let Some(Listener { sender, interest }) = pods.get(uid) else { return };
        let asked = trigger.cause.interest();
        let kept = match asked {
            Interest::Ends | Interest::Nothing => sender.max_capacity() / 2,
            Interest::Kills => sender.max_capacity() / 4,
            Interest::Servers => 0,
        };
        if sender.is_closed() {
            pods.remove(uid);
        } else if interest.load(Ordering::Relaxed) >= asked as u8 && sender.capacity() > kept {
            // A full one is awake already.
            let _ = sender.try_send(trigger);
        }
    }

    /// Nobody wants to know of this pod any more.
    pub fn forget(&self, pod: &PodRef) {
        self.pods().remove(&pod.uid);
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Listener>> {
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
        triggers.tell(happened("a", 1));
        own.wants(Interest::Servers);
        triggers.tell(happened("b", 1));
        for port in 0..1000 {
            triggers.tell(happened("a", port));
        }
        assert_eq!(own.recv().await, Some(happened("a", 0)));
        drop(own);
        triggers.tell(happened("a", 1));
        assert!(triggers.pods().is_empty());
    }

    #[tokio::test]
    async fn processes_that_end_or_are_killed_are_heard_of_and_crowd_out_no_server() {
        let triggers = Triggers::default();
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let container = ContainerRef { pod: pod.clone(), name: "c".into(), attempt: 0 };
        let happened = |cause| Trigger { container: container.clone(), cgroup: 1, cause };
        let mut own = triggers.subscribe(&pod);
        own.wants(Interest::Servers);
        triggers.tell(happened(Cause::Exited));
        own.wants(Interest::Ends);
        for cause in [Cause::Exited, Cause::OomKilled] {
            (0..1000).for_each(|_| triggers.tell(happened(cause)));
        }
        let listening = happened(Cause::Listening { port: 80 });
        triggers.tell(listening.clone());
        let mut heard = 0;
        while own.recv().await != Some(listening.clone()) {
            heard += 1;
        }
        assert_eq!(heard, crate::limits::TRIGGERS / 4 * 3);
    }
}
