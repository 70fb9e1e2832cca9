//! Pods of whose containers one has ended that the API was not told of yet. To clear away after such a one can wait: it is much work,
//! and would compete with the word of the end for the processor and the disk.
//!
//! It only puts off, and not for long: an API that takes nothing keeps nobody's remains.

use crate::api::identity::PodRef;
use crate::limits;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Those pods.
#[derive(Debug, Default)]
pub struct Untold(Mutex<BTreeMap<PodRef, watch::Sender<()>>>);

impl Untold {
    /// There is an end to be told of a pod.
    pub fn note(&self, pod: &PodRef) {
        self.pods().entry(pod.clone()).or_default();
    }

    /// What a pod is at was told, or could not be.
    pub fn told(&self, pod: &PodRef) {
        // Whoever waits sees its sender go.
        self.pods().remove(pod);
    }

    /// Forgets pods, but for some.
    pub fn retain(&self, keep: impl Fn(&PodRef) -> bool) {
        self.pods().retain(|pod, _| keep(pod));
    }

    /// Waits until nothing is to be told of a pod any more, or for as long as that may take.
    pub async fn wait(&self, pod: &PodRef) {
        let told = self.pods().get(pod).map(watch::Sender::subscribe);
        if let Some(mut told) = told {
            let _ = tokio::time::timeout(limits::TOLD_FIRST, told.changed()).await;
        }
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<PodRef, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn remains_wait_for_the_word() {
        let untold = Untold::default();
        let [pod, other] =
            ["p", "q"].map(|name| PodRef { namespace: "d".into(), name: name.into(), uid: name.into() });
        untold.wait(&pod).now_or_never().expect("nothing is to be told");
        untold.note(&pod);
        untold.wait(&other).now_or_never().expect("of another one");
        let mut waiting = Box::pin(untold.wait(&pod));
        assert!(waiting.as_mut().now_or_never().is_none());
        untold.told(&pod);
        waiting.now_or_never().expect("it was told");
        untold.note(&pod);
        let mut waiting = Box::pin(untold.wait(&pod));
        assert!(waiting.as_mut().now_or_never().is_none());
        untold.retain(|pod| *pod == other);
        waiting.now_or_never().expect("it is forgotten");
    }
}
