//! The control plane of a simulated cluster: the production controllers and scheduler, and of the loops around them what could go
//! wrong in them.
//!
//! ```text
//!   store ──look──▶ controllers, scheduler ──next, decide──▶ under way: one write at a time, of any of them ──▶ store
//!     ▲                    ▲ ends are booked when it looks, not when they come                                     │
//!     └────────────────────┴───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What is under way goes on while nobody looks, as tasks do beside a loop that is late. Who looks books all ends first, and takes
//! in all that the store shows before anything is decided: the loops' own order, on which the controllers rely.

use super::api::Api;
use super::writes::{Held, place};
use crate::control::action::{Action, Actions, Subject, Write};
use crate::control::controllers::{Controllers, Now, Outcome};
use crate::control::follow::{Follower, changes, show_all};
use crate::control::intake;
use crate::control::key::{KindId, Work};
use crate::control::scheduler::run::{self, KINDS};
use crate::control::scheduler::{Decision, Scheduler};
use crate::control::volumes::{self, Storage};
use crate::limits;
use std::time::Duration;

/// The control plane.
pub struct Plane {
    controllers: Controllers,
    scheduler: Scheduler,
    /// Up to which revision the controllers have seen each collection.
    watches: Vec<(KindId, String, u64)>,
    /// Binds claims.
    storage: Storage,
    /// The same of the scheduler, and of who binds claims.
    follows: Follows<run::Kind>,
    storage_follows: Follows<volumes::run::Kind>,
    /// What is under way.
    pub under_way: Vec<Running>,
    /// Decisions of the scheduler that are.
    pub deciding: Vec<Decision>,
    ended: Vec<(Task, bool, Outcome)>,
    decided: Vec<(Decision, bool)>,
    /// How often changes were lost.
    pub lost: usize,
}

/// Kinds that are followed, where they are, and up to which revision they were seen.
type Follows<K> = Vec<(K, &'static str, u64)>;

/// Whose reconciliation it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// A controller's.
    Control(Work),
    /// That of who binds claims.
    Storage(volumes::Work),
}

impl Task {
    /// The controller, as Events name it.
    pub fn component(&self) -> &'static str {
        match self {
            Task::Control(work) => work.component(),
            Task::Storage(_) => volumes::run::COMPONENT,
        }
    }
}

/// A write that is to be done.
#[derive(Debug)]
pub struct Due {
    /// It.
    pub action: Action,
    /// What it is to, as that was when it was decided.
    pub meant: Option<Held>,
}

/// A reconciliation whose writes are being done.
#[derive(Debug)]
pub struct Running {
    /// Whose it is.
    pub task: Task,
    /// Whom it is about.
    pub about: Option<Subject>,
    paused: bool,
    /// Done first, in any order.
    others: Vec<Due>,
    /// Done then; the first that fails is the last.
    creations: Vec<Due>,
    outcome: Outcome,
    /// Whether some of its writes are done.
    begun: bool,
}

impl Running {
    /// One of the writes that may be next, by chance.
    pub fn take(&mut self, which: usize) -> Option<Due> {
        let from = if self.others.is_empty() { &mut self.creations } else { &mut self.others };
        (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
    }

    /// Whether nothing is left to write.
    pub fn is_over(&self) -> bool {
        self.others.is_empty() && self.creations.is_empty()
    }

    /// Adds what came of one of its writes.
    pub fn came(&mut self, of: Outcome) {
        self.begun = true;
        self.outcome.changed |= of.changed;
        self.outcome.conflict |= of.conflict;
        if of.failure.is_some() {
            self.outcome.failure = of.failure;
            self.creations.clear();
        }
    }
}

impl Plane {
    /// One that has just started, and has looked at all that there is.
    pub fn begin(api: &Api) -> Plane {
        let mut controllers = Controllers::new(api.catalog().clone());
        let revision = api.store().revision();
        let mut watches = Vec::new();
        for (kind, collection) in api.catalog().collections() {
            intake::all(&mut controllers, kind, &api.store().list(collection));
            watches.push((kind, collection.to_owned(), revision));
        }
        let (mut scheduler, mut storage) = (Scheduler::default(), Storage::default());
        let follows = begin(&KINDS, api, &mut scheduler);
        let storage_follows = begin(&volumes::run::KINDS, api, &mut storage);
        let (under_way, deciding, ended, decided, lost) = Default::default();
        Plane {
            controllers,
            scheduler,
            watches,
            storage,
            follows,
            storage_follows,
            under_way,
            deciding,
            ended,
            decided,
            lost,
        }
    }

    /// Books what has ended, then takes in all that the store shows.
    pub fn look(&mut self, api: &Api, now: Now) {
        for (task, paused, outcome) in self.ended.drain(..) {
            match task {
                Task::Control(work) => self.controllers.ended(&work, paused, outcome, now),
                Task::Storage(work) => {
                    let failed = outcome.conflict || outcome.failure.is_some();
                    self.storage.ended(&work, failed, now.since);
                }
            }
        }
        for (kind, collection, seen) in &mut self.watches {
            loop {
                match api.store().changes(collection, *seen) {
                    Ok(batch) if batch.changes.is_empty() => {
                        *seen = batch.revision;
                        break;
                    }
                    Ok(batch) => {
                        intake::changes(&mut self.controllers, *kind, &batch.changes);
                        *seen = batch.revision;
                    }
                    Err(_) => {
                        self.lost += 1;
                        intake::all(&mut self.controllers, *kind, &api.store().list(collection));
                        *seen = api.store().revision();
                    }
                }
            }
        }
        for (decision, written) in self.decided.drain(..) {
            run::book(&mut self.scheduler, &decision, written, now.since, |key| {
                api.store().get("/pods", key).cloned()
            });
        }
        follow(&mut self.follows, api, &mut self.scheduler);
        follow(&mut self.storage_follows, api, &mut self.storage);
    }

    /// What a controller wants done next.
    pub fn next(&mut self, api: &Api, now: Now) -> Option<(Task, Actions)> {
        if let Some((work, actions)) = self.controllers.next(now, api.store(), limits::RECONCILED_AT_ONCE) {
            return Some((Task::Control(work), actions));
        }
        let next = self.storage.next((now.wall, now.since), limits::RECONCILED_AT_ONCE);
        next.map(|(work, actions)| (Task::Storage(work), actions))
    }

    /// Has it begun.
    pub fn start(&mut self, api: &Api, task: Task, actions: Actions) {
        let due = |action: Action| {
            let there = place(&action.write).and_then(|at| api.find(at));
            Due { meant: there.map(Held::new), action }
        };
        let create = |due: &Due| matches!(due.action.write, Write::Create(_));
        let (creations, others) = actions.actions.into_iter().map(due).partition(create);
        let (paused, about, outcome) = (actions.paused, actions.about, Outcome::default());
        let begun = false;
        self.under_way.push(Running { task, about, paused, others, creations, outcome, begun });
        self.settle(self.under_way.len() - 1);
    }

    /// If nothing of this one is left to write, it waits to be booked.
    pub fn settle(&mut self, index: usize) {
        if self.under_way[index].is_over() {
            let Running { task, paused, outcome, .. } = self.under_way.swap_remove(index);
            self.ended.push((task, paused, outcome));
        }
    }

    /// What the scheduler wants written next.
    pub fn decide(&mut self, now: Duration) -> Option<Decision> {
        self.scheduler.next(now, limits::PODS_LOOKED_AT)
    }

    /// A decision is written, or could not be.
    pub fn settle_decision(&mut self, decision: Decision, written: bool) {
        self.decided.push((decision, written));
    }

    /// Whether somebody has done some of the writes of a decision, and not the others.
    pub fn is_between_writes(&self) -> bool {
        self.under_way.iter().any(|running| running.begun)
    }

    /// Whether something waits to be booked.
    pub fn has_ends(&self) -> bool {
        !self.ended.is_empty() || !self.decided.is_empty()
    }

    /// When something is to be looked at although nothing changes, other than whether nodes still live: that never ends.
    pub fn next_time(&self) -> Option<Duration> {
        let controllers = self.controllers.next_time_of(|work| !matches!(work, Work::Node(_)));
        [controllers, self.scheduler.next_time(), self.storage.next_time()].into_iter().flatten().min()
    }

    /// How often looking at an object broke its controller.
    pub fn broken(&self) -> usize {
        self.controllers.broken()
    }
}

/// Shows a follower all that there is.
fn begin<K: Copy>(kinds: &[(K, &'static str)], api: &Api, follower: &mut impl Follower<K>) -> Follows<K> {
    let show = |(kind, collection): &(K, &'static str)| {
        show_all(*kind, &api.store().list(collection), follower);
        (*kind, *collection, api.store().revision())
    };
    kinds.iter().map(show).collect()
}

/// Shows a follower what has changed, or all that there is if that is not known any more.
fn follow<K: Copy>(follows: &mut Follows<K>, api: &Api, follower: &mut impl Follower<K>) {
    for (kind, collection, seen) in follows {
        loop {
            let Ok(batch) = api.store().changes(collection, *seen) else {
                show_all(*kind, &api.store().list(collection), follower);
                *seen = api.store().revision();
                break;
            };
            *seen = batch.revision;
            if batch.changes.is_empty() {
                break;
            }
            changes(*kind, &batch.changes, follower);
        }
    }
}
