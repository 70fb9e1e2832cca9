//! The part of the scheduler that is about pods that no node takes: others go for them, if that helps and they are more important, or
//! they wait; and both is told. Pure.
//!
//! ```text
//!   no node ──▶ preempt: a node where others go? ──▶ Preempt: it is kept for the pod, and they go ──▶ they are gone: looked at again
//!                    │ none, or somebody goes already
//!                    └──▶ Tell: why, if that is news; or Again: it is said once more, lest it be forgotten
//! ```

use super::demand::{Demand, Load};
use super::preempt::preempt;
use super::told::Told;
use super::verdict::{Cure, Spared, Unfit};
use super::waiting::News;
use super::{Decision, Scheduler, Subject};
use crate::control::key::Key;
use std::sync::Arc;
use std::time::Duration;

impl Scheduler {
    /// No node takes a pod; what is to be written for that.
    pub(super) fn refused(
        &mut self,
        subject: Subject,
        demand: &Demand,
        mut unfit: Unfit,
        now: Duration,
    ) -> Option<Decision> {
        let key = &subject.key;
        let mut nominated = self.cluster.nominations.of(key).cloned();
        let mut victims = Vec::new();
        unfit.spared = match nominated.as_deref() {
            _ if !demand.preempts => Spared::Never,
            Some(node) if self.is_awaited(demand, node, &unfit) => Spared::Awaited,
            _ => match self.preempt(key, demand, &unfit) {
                Ok((node, gone)) => {
                    (nominated, victims) = (Some(node), gone);
                    Spared::No
                }
                Err(spared) => {
                    nominated = None;
                    spared
                }
            },
        };
        self.keep(key, nominated.as_ref(), &demand.load);
        self.waiting.park(key, unfit.cure, now);
        let told = Told { message: unfit.to_string(), nominated, failed: false };
        let news = self.waiting.tell(key, &told, now);
        if unfit.spared == Spared::No {
            self.preempting.insert(key.clone(), false);
            return Some(Decision::Preempt(subject, told, victims));
        }
        match news {
            News::New => Some(Decision::Tell(subject, told)),
            News::Again => Some(Decision::Again(subject, told.message)),
            News::Old => None,
        }
    }

    /// Whether somebody less important goes already from the node that is kept for a pod.
    fn is_awaited(&self, demand: &Demand, node: &str, unfit: &Unfit) -> bool {
        let node = self.cluster.find(node).filter(|node| unfit.crowded.contains(node));
        node.is_some_and(|node| {
            self.cluster.place(node).below(demand.load.priority).any(|(_, load)| load.preempted)
        })
    }

    /// The node that is to be kept for a pod, and who has yet to be told to go from it.
    fn preempt(
        &mut self,
        key: &Key,
        demand: &Demand,
        unfit: &Unfit,
    ) -> Result<(Arc<str>, Vec<Subject>), Spared> {
        let pods = &self.pods;
        let started = |key: &Key| pods.get(key)?.seen.started;
        let found = preempt((key, demand), &mut self.cluster, &unfit.crowded, &self.budgets, &started);
        let (node, gone) = found.map_err(Spared::Vain)?;
        let known = gone.into_iter().filter_map(|key| Some((pods.get(&key)?, key)));
        let left = known.filter(|(known, _)| !known.seen.is_going());
        let left = left.map(|(known, key)| Subject { key, uid: Arc::clone(&known.uid) });
        Ok((Arc::clone(&self.cluster.place(node).name), left.collect()))
    }

    /// This node is kept for a pod from now on, or none. Who is less important, and was to have room there, looks for another.
    fn keep(&mut self, key: &Key, node: Option<&Arc<str>>, load: &Arc<Load>) {
        let nominations = &mut self.cluster.nominations;
        if nominations.of(key) == node {
            return;
        }
        if nominations.remove(key) {
            self.stirred = self.stirred.and(Cure::ROOM);
        }
        nominations.set(key, node, load);
        let Some(node) = node else { return };
        let lower = nominations.on(node).filter(|(_, other)| other.priority < load.priority);
        for other in lower.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            nominations.remove(&other);
            self.waiting.renew(&other);
        }
    }

    /// What a pod says of itself is written, or could not be; so is that others go.
    pub(super) fn was_told(&mut self, key: &Key, written: bool, now: Duration) {
        let stirred = self.preempting.remove(key) == Some(true);
        let placed = self.pods.get(key).is_some_and(|known| known.on.is_some());
        match written {
            true if stirred => self.waiting.renew(key),
            true => {}
            false => {
                self.waiting.untold(key);
                // It may be on its way to a node by now.
                if !placed {
                    self.waiting.retry(key, now);
                }
            }
        }
    }
}
