//! Whom a change wakes, as far as that is more than the object itself. Pure.
//!
//! Waking too often costs a look; waking too seldom is a bug.

mod nodes;

use super::key::{Key, Work};
use super::meta::Labels;
use super::pods::{Member, Phase};
use super::sets::Selecting;
use super::statefulset;
use super::world::World;
use crate::limits;
use std::sync::Arc;

/// What is new of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is over, or gone.
    Over,
    /// It has got a node, and nothing else is different.
    Bound,
    /// Anything else.
    Other,
}

impl News {
    /// Of a pod that is so now, and was so before if it was there.
    pub(super) fn of(before: Option<&Member>, now: &Member) -> News {
        let bound = |before: &Member| {
            before.node.is_none() && Member { node: now.node.clone(), ..before.clone() } == *now
        };
        match now.phase {
            Phase::Ended => News::Over,
            _ if before.is_some_and(bound) => News::Bound,
            _ => News::Other,
        }
    }
}

impl World {
    pub(super) fn wake_for_pod<'a>(
        &self,
        key: &Key,
        states: impl IntoIterator<Item = &'a Member>,
        news: News,
        wake: &mut impl FnMut(Work),
    ) {
        for pod in states {
            let held = pod.batch.as_ref().is_some_and(|batch| batch.tracked);
            if held && pod.controller.as_deref().is_none_or(|uid| self.jobs.of_uid(uid).is_none()) {
                wake(Work::Held(key.clone()));
            }
            match &pod.controller {
                Some(uid) => self.wake_controller(uid, news, wake),
                None if pod.is_active() => self.wake_selecting(key.namespace(), &pod.labels, wake),
                None => {}
            }
        }
    }

    /// Services are woken by what their endpoints say of a pod, and by nothing else of it.
    pub(super) fn wake_for_endpoints(
        &self,
        key: &Key,
        before: Option<&Member>,
        now: Option<&Arc<Member>>,
        wake: &mut impl FnMut(Work),
    ) {
        let said = |pod: &Member| {
            let reached = pod.address.clone().filter(|_| pod.phase != Phase::Ended);
            (
                reached,
                pod.ready.is_some(),
                pod.deleting,
                pod.node.clone(),
                Arc::clone(&pod.labels),
                Arc::clone(&pod.uid),
            )
        };
        let now = now.map(|now| &**now);
        if before.map(said) == now.map(said) {
            return;
        }
        for pod in [before, now].into_iter().flatten() {
            let selecting = self.services.selecting(key.namespace(), &pod.labels);
            selecting.for_each(|service| wake(Work::Endpoints(service.clone())));
        }
    }

    /// Budgets are woken by what counts a pod as healthy or not, and by whose it is.
    pub(super) fn wake_for_budgets(
        &self,
        key: &Key,
        before: Option<&Member>,
        now: Option<&Arc<Member>>,
        wake: &mut impl FnMut(Work),
    ) {
        let counted = |pod: &Member| {
            (
                pod.ready.is_some(),
                pod.deleting,
                Arc::clone(&pod.labels),
                pod.controller.clone(),
                Arc::clone(&pod.uid),
            )
        };
        let now = now.map(|now| &**now);
        if before.map(counted) == now.map(counted) {
            return;
        }
        for pod in [before, now].into_iter().flatten() {
            // One that asks for nothing is about all pods.
            let all = self.budgets.of_namespace(key.namespace());
            let about = all.filter(|(_, budget)| budget.selector.is_empty() || budget.selects(&pod.labels));
            about.for_each(|(budget, _)| wake(Work::Budget(budget.clone())));
        }
    }

    fn wake_controller(&self, uid: &str, news: News, wake: &mut impl FnMut(Work)) {
        // To who only counts pods it is all the same where they are; unless so many have no node that he waits for that.
        let counts = news != News::Bound || self.pods.count_controlled_by(uid) >= limits::PODS_WITHOUT_NODE;
        if let Some(key) = self.replica_sets.of_uid(uid) {
            if counts {
                wake(Work::ReplicaSet(key.clone()));
            }
            let deployment = self.replica_sets.get(key).and_then(|set| set.controller.as_ref());
            // A Deployment that replaces all pods at once waits until the last of the old ones has ended.
            if let Some(deployment) = deployment.filter(|_| news == News::Over) {
                self.wake_deployment(deployment, wake);
            }
        }
        if let Some(key) = self.replication_controllers.of_uid(uid).filter(|_| counts) {
            wake(Work::ReplicationController(key.clone()));
        }
        if let Some(key) = self.stateful_sets.of_uid(uid) {
            wake(Work::StatefulSet(key.clone()));
        }
        if let Some(key) = self.daemon_sets.of_uid(uid) {
            wake(Work::DaemonSet(key.clone()));
        }
        if let Some(key) = self.jobs.of_uid(uid) {
            wake(Work::Job(key.clone()));
        }
    }

    pub(super) fn wake_cron_jobs<'a>(
        &self,
        jobs: impl IntoIterator<Item = &'a Selecting>,
        wake: &mut impl FnMut(Work),
    ) {
        let controllers = jobs.into_iter().filter_map(|job| job.controller.as_ref());
        let keys = controllers.filter_map(|uid| self.cron_jobs.of_uid(uid));
        keys.for_each(|key| wake(Work::CronJob(key.clone())));
    }

    /// Pods of a Job that goes are not to be held by it.
    pub(super) fn wake_held(&self, job: &str, wake: &mut impl FnMut(Work)) {
        self.pods.controlled_by(job).for_each(|pod| wake(Work::Held(pod.key.clone())));
    }

    fn wake_selecting(&self, namespace: &str, labels: &Labels, wake: &mut impl FnMut(Work)) {
        self.replica_sets.selecting(namespace, labels).for_each(|key| wake(Work::ReplicaSet(key.clone())));
        let controllers = self.replication_controllers.selecting(namespace, labels);
        controllers.for_each(|key| wake(Work::ReplicationController(key.clone())));
        self.stateful_sets.selecting(namespace, labels).for_each(|key| wake(Work::StatefulSet(key.clone())));
        self.daemon_sets.selecting(namespace, labels).for_each(|key| wake(Work::DaemonSet(key.clone())));
        self.jobs.selecting(namespace, labels).for_each(|key| wake(Work::Job(key.clone())));
    }

    pub(super) fn wake_for_set<'a>(
        &self,
        key: &Key,
        states: impl IntoIterator<Item = &'a Selecting>,
        wake: &mut impl FnMut(Work),
    ) {
        for set in states {
            match &set.controller {
                Some(uid) => self.wake_deployment(uid, wake),
                None => {
                    let selecting = self.deployments.selecting(key.namespace(), &set.labels);
                    selecting.for_each(|key| wake(Work::Deployment(key.clone())));
                }
            }
        }
    }

    fn wake_deployment(&self, uid: &str, wake: &mut impl FnMut(Work)) {
        if let Some(key) = self.deployments.of_uid(uid) {
            wake(Work::Deployment(key.clone()));
        }
    }
    pub(super) fn wake_for_revision<'a>(
        &self,
        key: &Key,
        states: impl IntoIterator<Item = &'a Selecting>,
        wake: &mut impl FnMut(Work),
    ) {
        for revision in states {
            match &revision.controller {
                Some(uid) => {
                    let set = self.stateful_sets.of_uid(uid);
                    set.into_iter().for_each(|key| wake(Work::StatefulSet(key.clone())));
                    let set = self.daemon_sets.of_uid(uid);
                    set.into_iter().for_each(|key| wake(Work::DaemonSet(key.clone())));
                }
                None => {
                    let sets = self.stateful_sets.selecting(key.namespace(), &revision.labels);
                    sets.for_each(|key| wake(Work::StatefulSet(key.clone())));
                    let sets = self.daemon_sets.selecting(key.namespace(), &revision.labels);
                    sets.for_each(|key| wake(Work::DaemonSet(key.clone())));
                }
            }
        }
    }

    /// A name is free that a StatefulSet may wait for.
    pub(super) fn wake_for_name(&self, pod: &Key, wake: &mut impl FnMut(Work)) {
        let set = statefulset::parent(pod.name()).map(|(set, _)| Key::new(pod.namespace(), set));
        if let Some(set) = set.filter(|set| self.stateful_sets.get(set).is_some()) {
            wake(Work::StatefulSet(set));
        }
    }

    /// StatefulSets make claims anew that are gone, and wait for those that go.
    pub(super) fn wake_for_claim(&self, claim: &Key, wake: &mut impl FnMut(Work)) {
        let sets = statefulset::claim_owners(claim.name()).map(|set| Key::new(claim.namespace(), set));
        let sets = sets.filter(|set| self.stateful_sets.get(set).is_some());
        sets.for_each(|set| wake(Work::StatefulSet(set)));
    }
}
