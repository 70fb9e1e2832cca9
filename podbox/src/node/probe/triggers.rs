//! Brings triggers to the workers of the pods they are about. Nobody ever waits: what a worker has no room for is dropped,
//! since it is a hint among many; and what it has no interest in does not wake it. A flood of processes that end leaves
//! room for kills and servers, and one of kills leaves room for servers.

use crate::api::identity::PodRef;
use crate::api::trigger::{Ends, Following, Interest, Trigger};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::mpsc;

/// Who wants to know what happens in which pod.
#[derive(Default)]
pub struct Triggers {
    /// By their pods' uids.
    listeners: Mutex<HashMap<String, Listener>>,
    /// Has ends of processes told that somebody waits for; nobody where nothing is told.
    pub ends: Arc<OnceLock<Arc<dyn Ends>>>,
}

impl std::fmt::Debug for Triggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triggers").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Listener {
    sender: mpsc::Sender<Trigger>,
    /// An [`Interest`].
    interest: Arc<AtomicU8>,
}

/// What happens in a pod, as far as it is of interest.
pub struct Heard {
    triggers: mpsc::Receiver<Trigger>,
    interest: Arc<AtomicU8>,
    ends: Arc<OnceLock<Arc<dyn Ends>>>,
    /// By cgroup.
    followed: HashMap<u64, Following>,
}

impl Heard {
    /// The next one; none once somebody else hears of the pod.
    pub async fn recv(&mut self) -> Option<Trigger> {
        self.triggers.recv().await
    }

    /// What is of interest from now on; and in which cgroups also that ordinary processes end.
    pub fn wants(&mut self, interest: Interest, ends: &BTreeSet<u64>) {
        self.interest.store(interest as u8, Ordering::Relaxed);
        self.followed.retain(|cgroup, _| ends.contains(cgroup));
        if let Some(told) = self.ends.get() {
            for cgroup in ends {
                self.followed.entry(*cgroup).or_insert_with(|| told.follow(*cgroup));
            }
        }
    }
}

impl Triggers {
    /// What happens in a pod from now on, if it is of interest: nothing is at first. Whoever asked before hears no more.
    pub fn subscribe(&self, pod: &PodRef) -> Heard {
        let (sender, triggers) = mpsc::channel(crate::limits::TRIGGERS);
        let interest = Arc::new(AtomicU8::new(Interest::Nothing as u8));
        self.pods().insert(pod.uid.clone(), Listener { sender, interest: Arc::clone(&interest) });
        Heard { triggers, interest, ends: Arc::clone(&self.ends), followed: HashMap::new() }
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
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
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
        own.wants(Interest::Servers, &BTreeSet::new());
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
        own.wants(Interest::Servers, &BTreeSet::new());
        triggers.tell(happened(Cause::Exited));
        own.wants(Interest::Ends, &BTreeSet::new());
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

    /// Counts who follows what.
    #[derive(Default)]
    struct Counted(Arc<Mutex<Vec<u64>>>);

    struct Counting(Arc<Mutex<Vec<u64>>>, u64);

    impl Ends for Counted {
        fn follow(&self, cgroup: u64) -> Following {
            self.0.lock().unwrap().push(cgroup);
            Box::new(Counting(Arc::clone(&self.0), cgroup))
        }
    }

    impl Drop for Counting {
        fn drop(&mut self) {
            let mut followed = self.0.lock().unwrap();
            let at = followed.iter().position(|cgroup| *cgroup == self.1).unwrap();
            followed.remove(at);
        }
    }

    #[tokio::test]
    async fn ends_are_followed_as_long_as_they_are_wanted() {
        let (triggers, counted) = (Triggers::default(), Counted::default());
        let followed = Arc::clone(&counted.0);
        assert!(triggers.ends.set(Arc::new(counted)).is_ok());
        let mut own =
            triggers.subscribe(&PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() });
        own.wants(Interest::Ends, &BTreeSet::from([1, 2]));
        own.wants(Interest::Ends, &BTreeSet::from([2, 3]));
        assert_eq!(*followed.lock().unwrap(), [2, 3]);
        own.wants(Interest::Servers, &BTreeSet::new());
        assert!(followed.lock().unwrap().is_empty());
        own.wants(Interest::Ends, &BTreeSet::from([4]));
        drop(own);
        assert!(followed.lock().unwrap().is_empty());
    }
}
