//! The agent: starts a worker for each pod that is given to this node, and ends them.
//!
//! It knows no pod's state; whoever wants it watches [`Node::views`](super::Node::views).

use super::Node;
use super::record::PodRecord;
use super::worker::Worker;
use crate::api::images::Images;
use crate::sandbox::runtime::Runtime;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs pods.
pub struct Agent<R, I> {
    node: Arc<Node<R, I>>,
    workers: JoinSet<()>,
    /// The end of every pod: none, or the grace period to use (`None` inside: each pod's own).
    orders: watch::Sender<Option<Duration>>,
}

impl<R: Runtime, I: Images> Agent<R, I> {
    /// An agent without pods.
    pub fn new(node: Arc<Node<R, I>>) -> Self {
        Agent { node, workers: JoinSet::new(), orders: watch::Sender::new(None) }
    }

    /// Runs a pod from now on.
    pub fn run(&mut self, pod: PodRecord) {
        let worker = Worker::new(Arc::clone(&self.node), Arc::new(pod), self.orders.subscribe());
        self.workers.spawn(worker.run());
    }

    /// Ends every pod: each within its own grace period, or within `grace` if that is given.
    pub fn terminate(&self, grace: Option<Duration>) {
        self.orders.send_replace(grace);
    }

    /// Waits until nothing of any pod is left. Safe to drop and call again.
    pub async fn finished(&mut self) {
        while let Some(done) = self.workers.join_next().await {
            if let Err(error) = done {
                tracing::error!(%error, "a pod's worker broke; its sandbox is swept up at the next start");
            }
        }
    }
}
