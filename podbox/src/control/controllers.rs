//! All controllers together: what changes wakes keys, keys are reconciled, and what came of their actions is booked. Pure;
//! who drives it gives the time, the store and the changes.

use super::action::{Actions, Attempt, Failure};
use super::catalog::Catalog;
use super::key::{Key, KindId, Work};
use super::queue::Queue;
use super::source::Source;
use super::world::World;
use super::{garbage, gather, pod_garbage};
use crate::{limits, metrics as table};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what is written and compared with what was written.
    pub wall: Timestamp,
    /// Since some start, for pauses: it does not jump.
    pub since: Duration,
}

/// What the queue is called in metrics.
pub const QUEUE: &str = "controllers";

/// How the actions of a reconciliation went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything is different now.
    pub changed: bool,
    /// Whether an object was not as it was seen.
    pub conflict: bool,
    /// What failed.
    pub failure: Option<Failure>,
}

/// The controllers.
#[derive(Debug)]
pub struct Controllers {
    world: World,
    queue: Queue<Work>,
    /// What failed last, of those whose pause is not over or that have not been tried again; and of which generation the object was.
    failures: BTreeMap<Work, (Option<Failure>, Option<i64>)>,
    /// How often looking at an object broke its controller.
    broken: usize,
}

impl Work {
    /// The controller, as Events name it: upstream's words.
    pub fn component(&self) -> &'static str {
        match self {
            Work::Deployment(_) => "deployment-controller",
            Work::ReplicaSet(_) => "replicaset-controller",
            Work::ReplicationController(_) => "replication-controller",
            Work::StatefulSet(_) => "statefulset-controller",
            Work::DaemonSet(_) => "daemonset-controller",
            Work::CronJob(_) => "cronjob-controller",
            Work::Job(_) | Work::Held(_) => "job-controller",
            Work::Endpoints(_) => "endpoint-slice-controller",
            Work::Budget(_) | Work::Disrupted(_) => "controllermanager",
            Work::Node(_) | Work::Beat(_) | Work::Unready(_) => "node-controller",
            Work::TaintEviction(_) => "taint-eviction-controller",
            Work::PodGarbage(_) | Work::EndedPods => "pod-garbage-collector",
            Work::Garbage(_) => "garbage-collector-controller",
        }
    }
}

impl Controllers {
    /// Of these kinds; nothing is known yet.
    pub fn new(catalog: Catalog) -> Controllers {
        let (queue, failures) = Default::default();
        Controllers { world: World::new(catalog), queue, failures, broken: 0 }
    }

    /// The kinds that are to be followed.
    pub fn catalog(&self) -> &Catalog {
        &self.world.catalog
    }

    /// An object is like this now.
    pub fn note(&mut self, kind: KindId, key: &Key, bytes: &[u8]) {
        let queue = &mut self.queue;
        self.world.note(kind, key, bytes, &mut |work| queue.add(work));
    }

    /// An object is gone; this is what it was last.
    pub fn forget(&mut self, kind: KindId, key: &Key, last: &[u8]) {
        let queue = &mut self.queue;
        self.world.forget(kind, key, last, &mut |work| queue.add(work));
    }

    /// These are all objects of a kind, after changes were missed.
    pub fn resume(&mut self, kind: KindId, there: &BTreeSet<Key>) {
        for key in self.world.missing(kind, there) {
            self.forget(kind, &key, b"{}");
        }
        // Who went without a word may have had dependents.
        let dependents: Vec<_> = self.world.graph.places().cloned().collect();
        dependents.into_iter().for_each(|place| self.queue.add(Work::Garbage(place)));
    }

    /// Reconciles until a key wants something done, or `patience` of them want nothing.
    pub fn next(&mut self, now: Now, source: &impl Source, patience: usize) -> Option<(Work, Actions)> {
        for _ in 0..patience {
            let work = self.queue.take(now.since)?;
            ::metrics::histogram!(table::QUEUE_SECONDS, "name" => QUEUE).record(self.queue.waited());
            if self.failures.get(&work).is_some_and(|(_, of)| *of != self.world.generation(&work)) {
                // Something else is asked for: it may well be possible.
                self.failures.remove(&work);
                self.queue.forgive(&work);
            }
            let pausing = self.queue.pauses(&work, now.since);
            if pausing && matches!(work, Work::Garbage(_)) {
                // It has nothing to tell meanwhile.
                self.queue.paused(&work);
                continue;
            }
            self.world.look(&work, source, now);
            let failure = self.failures.get(&work).and_then(|(failure, _)| failure.as_ref());
            let attempt = Attempt { failure, pausing };
            let looked = AssertUnwindSafe(|| self.reconcile(&work, source, attempt, now));
            let Ok(actions) = panic::catch_unwind(looked) else {
                // A bug, told where it is. One object that nobody thought of is not to stop all others.
                tracing::error!("reconciling {work:?} broke; it is tried again later");
                self.broken += 1;
                self.queue.failed(&work, now.since);
                continue;
            };
            self.world.heed(&work, &actions);
            if let Some(at) = actions.wake_at {
                let wait = Duration::try_from(at.duration_since(now.wall).max(SignedDuration::ZERO));
                self.queue.add_at(work.clone(), now.since + wait.unwrap_or_default());
            }
            if !actions.actions.is_empty() || !actions.said.is_empty() {
                return Some((work, actions));
            }
            self.settle(&work, actions.paused);
        }
        None
    }

    fn settle(&mut self, work: &Work, paused: bool) {
        match paused {
            true => self.queue.paused(work),
            false => {
                self.failures.remove(work);
                self.queue.done(work);
            }
        }
    }

    /// The actions of a key are done, or failed.
    pub fn ended(&mut self, work: &Work, paused: bool, outcome: Outcome, now: Now) {
        let Outcome { changed, conflict, failure } = outcome;
        // A failure is told at once, but not what fails while it is: that would never end.
        let new = failure.is_some() && !self.queue.pauses(work, now.since);
        let failed = conflict || failure.is_some();
        if failed {
            let known = self.failures.remove(work).and_then(|(known, _)| known);
            self.failures.insert(work.clone(), (failure.or(known), self.world.generation(work)));
            self.queue.failed(work, now.since);
        } else {
            self.settle(work, paused);
        }
        // What comes next is decided by what the world is then.
        if (changed && !failed) || new {
            self.queue.add(work.clone());
        }
    }

    /// When something is to be looked at although nothing changes.
    pub fn next_time(&self) -> Option<Duration> {
        self.queue.next_time()
    }

    /// The same, of some of them.
    pub fn next_time_of(&self, wanted: impl Fn(&Work) -> bool) -> Option<Duration> {
        self.queue.next_time_of(wanted)
    }

    /// How often looking at an object broke its controller: a bug each time.
    pub fn broken(&self) -> usize {
        self.broken
    }

    /// What comes to be looked at from now on came then.
    pub fn at(&mut self, now: Now) {
        self.queue.at(now.since);
    }

    /// How often a key came to wait.
    pub fn added(&self) -> u64 {
        self.queue.added()
    }

    /// How many keys wait.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn reconcile(&self, work: &Work, source: &impl Source, attempt: Attempt<'_>, now: Now) -> Actions {
        let (world, wall) = (&self.world, now.wall);
        match work {
            Work::Deployment(key) => gather::deployment(world, source, key, (attempt, wall)),
            Work::ReplicaSet(key) => {
                let sets = (gather::REPLICA_SETS, &world.replica_sets);
                gather::replicas(world, source, sets, key, (attempt, wall))
            }
            Work::ReplicationController(key) => {
                let sets = (gather::REPLICATION_CONTROLLERS, &world.replication_controllers);
                gather::replicas(world, source, sets, key, (attempt, wall))
            }
            Work::StatefulSet(key) => gather::stateful_set(world, source, key, (attempt, wall)),
            Work::DaemonSet(key) => gather::daemon_set(world, source, key, (attempt, wall)),
            Work::CronJob(key) => gather::cronjob(world, source, key, wall),
            Work::Job(key) => gather::job(world, source, key, (attempt, wall)),
            Work::Held(key) => gather::held(world, source, key),
            Work::Endpoints(key) => gather::endpoints(world, source, key),
            Work::Budget(key) => gather::budget(world, source, key, wall),
            Work::Node(key) => gather::nodes::node(world, source, key, now),
            Work::Unready(key) => gather::nodes::unready(world, source, key, wall),
            // It was heard of when it was looked at.
            Work::Beat(_) => Actions::none(),
            Work::Disrupted(key) => gather::disrupted(world, source, key, wall),
            Work::TaintEviction(key) => gather::nodes::eviction(world, source, key, now),
            Work::PodGarbage(key) => gather::nodes::garbage(world, source, key, now),
            Work::EndedPods => pod_garbage::superfluous(&world.pods, limits::ENDED_PODS),
            Work::Garbage(place) => garbage::look(place, &world.graph, &world.catalog, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::control::action::Write;
    use crate::control::source::Found;

    /// One in which Deployments cannot be looked at without breaking something.
    struct Cursed;

    impl Source for Cursed {
        fn get(&self, collection: &str, _key: &Key) -> Option<Found> {
            assert_ne!(collection, gather::DEPLOYMENTS, "as it was meant to");
            let object =
                r#"{"metadata": {"name": "a", "namespace": "n", "uid": "b"}, "spec": {"replicas": 1}}"#;
            Some(Found { bytes: object.as_bytes().into(), revision: 1 })
        }

        fn named(&self, _collection: &str, _name: &str) -> Vec<Found> {
            Vec::new()
        }
    }

    #[test]
    fn an_object_that_breaks_its_controller_stops_no_other_and_is_tried_again() {
        let mut controllers = Controllers::new(Catalog::new(&Kinds::new()));
        let key = Key::new("n", "a");
        for collection in [gather::DEPLOYMENTS, gather::REPLICA_SETS] {
            let kind = controllers.catalog().collection(collection).unwrap();
            controllers.note(kind, &key, br#"{"metadata": {"name": "a", "namespace": "n", "uid": "b"}}"#);
        }
        let now = Now { wall: Timestamp::UNIX_EPOCH, since: Duration::from_secs(1) };
        let mut looked = Vec::new();
        while let Some((work, _)) = controllers.next(now, &Cursed, 10) {
            looked.push(work);
        }
        assert!(looked.contains(&Work::ReplicaSet(key)), "{looked:?}");
        assert!(controllers.next_time().is_some_and(|at| at > now.since), "the other one is tried again");
    }

    /// One ReplicaSet that lacks its only pod.
    struct Wanting;

    impl Source for Wanting {
        fn get(&self, _collection: &str, _key: &Key) -> Option<Found> {
            let object = r#"{"metadata": {"name": "a", "namespace": "n", "uid": "b"},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {}}}"#;
            Some(Found { bytes: object.as_bytes().into(), revision: 1 })
        }

        fn named(&self, _collection: &str, _name: &str) -> Vec<Found> {
            Vec::new()
        }
    }

    #[test]
    fn what_failed_waits_unless_something_else_is_asked_for() {
        let mut controllers = Controllers::new(Catalog::new(&Kinds::new()));
        let (key, kind) =
            (Key::new("n", "a"), controllers.catalog().collection(gather::REPLICA_SETS).unwrap());
        let set = |generation: i64| {
            let object = serde_json::json!({"metadata": {"name": "a", "namespace": "n", "uid": "b", "generation": generation}});
            serde_json::to_vec(&object).unwrap()
        };
        let now = |millis: u64| Now { wall: Timestamp::UNIX_EPOCH, since: Duration::from_millis(millis) };
        let creates = |controllers: &mut Controllers, millis: u64| {
            let (work, actions) = controllers.next(now(millis), &Wanting, 10)?;
            let creates = actions.actions.iter().any(|action| matches!(action.write, Write::Create(_)));
            let failure = creates.then(|| Failure { creating: true, message: "refused".to_owned() });
            controllers.ended(&work, actions.paused, Outcome { failure, ..Outcome::default() }, now(millis));
            Some(creates)
        };
        controllers.note(kind, &key, &set(1));
        assert_eq!(creates(&mut controllers, 0), Some(true));
        assert_eq!(creates(&mut controllers, 1), Some(false), "the failure is told, and nothing tried");
        controllers.note(kind, &key, &set(1));
        assert_eq!(creates(&mut controllers, 2), Some(false));
        controllers.note(kind, &key, &set(2));
        assert_eq!(creates(&mut controllers, 3), Some(true));
        assert_eq!(creates(&mut controllers, 4), Some(false));
        assert_eq!(creates(&mut controllers, 8), Some(true), "its pause is over");
    }
}
