//! The agent: starts a worker for each pod that is given to this node, and ends them.
//!
//! It knows no pod's state; whoever wants it watches [`Node::views`](super::Node::views). Invariant: a pod that was not
//! finished with has a worker, or will have one in a moment: one that breaks is followed by another, which goes on from what is on file.

use super::Node;
use super::change::{Publisher, Versions};
use super::record::PodRecord;
use super::recover;
use super::worker::{Ending, Grace, Worker};
use crate::api::identity::PodRef;
use crate::api::images::Images;
use crate::limits;
use crate::pod::memory::Memory;
use crate::pod::observed::Verdict;
use crate::sandbox::runtime::Runtime;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

/// Runs pods.
pub struct Agent<R, I> {
    node: Arc<Node<R, I>>,
    workers: JoinSet<()>,
    /// Whose each of them is, by the pod's uid.
    owners: BTreeMap<Id, String>,
    /// What each pod's worker is told, by the pod's uid.
    orders: BTreeMap<String, Orders>,
}

/// What a worker is told.
struct Orders {
    /// The pod's end.
    end: watch::Sender<Ending>,
    /// What the pod has become.
    versions: Publisher,
}

impl<R: Runtime, I: Images> Agent<R, I> {
    /// An agent without pods.
    pub fn new(node: Arc<Node<R, I>>) -> Self {
        Agent { node, workers: JoinSet::new(), owners: BTreeMap::new(), orders: BTreeMap::new() }
    }

    /// Runs a pod from now on, unless it does already.
    pub fn run(&mut self, pod: PodRecord) {
        self.resume(pod, None);
    }

    /// The same, from where `memory` says if it ran under an earlier daemon.
    pub fn resume(&mut self, pod: PodRecord, memory: Option<Memory>) {
        let uid = pod.pod.uid.clone();
        if self.orders.contains_key(&uid) {
            return;
        }
        let orders = Orders { end: watch::Sender::default(), versions: Publisher::new(pod) };
        let (versions, end) = (orders.versions.watch(), orders.end.subscribe());
        let worker = Worker::new(Arc::clone(&self.node), versions, end, memory);
        self.orders.insert(uid.clone(), orders);
        self.spawn(uid, worker.run());
    }

    fn spawn(&mut self, uid: String, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.workers.spawn(work).id();
        self.owners.insert(task, uid);
    }

    /// Has a pod whose worker broke go on, but not at once: what broke that one may break the next.
    fn again(&mut self, uid: String) {
        let Some(orders) = self.orders.get(&uid) else { return };
        let (versions, mut end) = (orders.versions.watch(), orders.end.subscribe());
        // What was said of its end counts for whoever comes now, too.
        end.mark_changed();
        let node = Arc::clone(&self.node);
        self.spawn(uid, async move {
            tokio::time::sleep(limits::WORKER_AGAIN).await;
            let pod = versions.borrow().pod.clone();
            let memory = recover::again(&node, &pod).await;
            Worker::new(node, versions, end, memory).run().await;
        });
    }

    /// Tells a pod's worker of what the API has of it now.
    pub fn change(&self, uid: &str, stored: &Value) {
        if let Some(orders) = self.orders.get(uid) {
            orders.versions.offer(stored);
        }
    }

    /// What a pod that runs here becomes.
    pub fn versions(&self, uid: &str) -> Option<Versions> {
        self.orders.get(uid).map(|orders| orders.versions.watch())
    }

    /// Whether a pod runs here.
    pub fn has(&self, uid: &str) -> bool {
        self.orders.contains_key(uid)
    }

    /// The pods that run here.
    pub fn pods(&self) -> impl Iterator<Item = Arc<PodRecord>> {
        self.orders.values().map(|orders| Arc::clone(&orders.versions.watch().borrow()))
    }

    /// Forgets a pod of which nothing is left, once whoever wants to know does.
    pub fn forget(&self, pod: &PodRef) {
        self.node.views.remove(pod);
        self.node.checkpoints.iter().for_each(|checkpoints| checkpoints.remove(&pod.uid));
        self.node.probing.forget(pod);
    }

    /// Takes away what is left of a pod of an earlier daemon that has no worker.
    pub fn discard(&mut self, memory: Memory) {
        let node = Arc::clone(&self.node);
        node.views.leaves(&memory);
        let pod = memory.pod;
        self.spawn(pod.uid.clone(), async move {
            match node.discard(&pod).await {
                Ok(()) => node.checkpoints.iter().for_each(|checkpoints| checkpoints.remove(&pod.uid)),
                Err(problem) => tracing::error!(%pod, "removing the sandbox failed: {problem}"),
            }
        });
    }

    /// Ends every pod: each within its own grace period, or within `grace` if that is given; in no time at all, nobody is
    /// asked.
    pub fn terminate(&self, grace: Option<Duration>) {
        let grace = match grace {
            None => Grace::Own,
            Some(Duration::ZERO) => Grace::AtOnce,
            Some(grace) => Grace::Within(grace),
        };
        self.orders.values().for_each(|orders| {
            orders.end.send_modify(|end| end.grace = Some(grace));
        });
    }

    /// Ends one pod within `grace`. A later order can only hasten it.
    pub fn terminate_pod(&self, uid: &str, grace: Duration) {
        if let Some(orders) = self.orders.get(uid) {
            orders.end.send_modify(|end| end.grace = Some(Grace::Within(grace)));
        }
    }

    /// Fails one pod, whatever its containers do, and ends it within `grace`, or else within its own.
    pub fn fail(&self, uid: &str, verdict: Verdict, grace: Option<Duration>) {
        if let Some(orders) = self.orders.get(uid) {
            orders.end.send_modify(|end| {
                end.verdict.get_or_insert(verdict);
                end.grace = grace.map(Grace::Within).or(end.grace);
            });
        }
    }

    /// Waits until nothing of some pod is left; its uid. `None` if there are no pods. Safe to drop and call again.
    pub async fn next_finished(&mut self) -> Option<String> {
        loop {
            let ended = self.workers.join_next_with_id().await?;
            let task = ended.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
            let Some(uid) = self.owners.remove(&task) else { continue };
            match ended {
                Ok(_) => {
                    self.orders.remove(&uid);
                    return Some(uid);
                }
                Err(error) => {
                    tracing::error!(%error, uid, "a pod's worker broke; another one goes on with it");
                    self.again(uid);
                }
            }
        }
    }

    /// Waits until nothing of any pod is left. Safe to drop and call again.
    pub async fn finished(&mut self) {
        while self.next_finished().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
