//! The loop that drives the controllers: takes in what changes in the store, and has their actions carried out.
//!
//! ```text
//!   loop { take in all that the store shows ─▶ reconcile, as many as may be under way ─▶ wait: a change, an end, a time }
//! ```
//!
//! It decides nothing. Invariant: an end is booked before the store is looked at, and the store before the next
//! reconciliation: so a key never meets a world in which its own writes are missing.

use super::action::Actions;
use super::apply::{Hand, Outcomes};
use super::catalog::Catalog;
use super::controllers::{Controllers, Now, Outcome, QUEUE};
use super::events::{self, Events};
use super::intake;
use super::key::{KindId, Work};
use crate::api::objects::Writes;
use crate::store::{Batch, Expired, Store, Watch, Watches};
use crate::{clock, limits, metrics as table};
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Drives the controllers.
pub struct Manager<W> {
    store: Store,
    writes: W,
    controllers: Controllers,
    /// By the numbers of their watches.
    kinds: Vec<KindId>,
    watches: Watches,
    /// Actions under way, with whether something was left undone by them.
    running: JoinSet<(Work, bool, Outcome)>,
    outcomes: Outcomes,
    events: Events,
    start: Instant,
}

enum Event {
    Changes,
    Ended(Work, bool, Outcome),
    Time,
}

/// Runs the controllers until it is dropped.
pub async fn run(store: Store, writes: impl Writes, catalog: Catalog) {
    let (events, queue) = events::channel();
    let manager = Manager {
        store,
        controllers: Controllers::new(catalog),
        kinds: Vec::new(),
        watches: Watches::default(),
        running: JoinSet::new(),
        outcomes: Outcomes::default(),
        events,
        start: clock::instant(),
        writes: writes.clone(),
    };
    // A task of their own: they are many, and nobody waits for them.
    let mut beside = JoinSet::new();
    beside.spawn(events::record(writes, queue));
    manager.run().await;
}

impl<W: Writes> Manager<W> {
    async fn run(mut self) {
        let kinds: Vec<(KindId, String)> =
            self.controllers.catalog().collections().map(|(kind, name)| (kind, name.to_owned())).collect();
        for (kind, collection) in kinds {
            let watch = self.begin(kind, &collection);
            self.watches.add(watch);
            self.kinds.push(kind);
        }
        loop {
            self.take_in();
            let more = self.reconcile();
            self.tell();
            let event = self.select(more).await;
            self.controllers.at(self.now());
            self.apply(event);
        }
    }

    fn tell(&self) {
        let (added, waiting) = (self.controllers.added(), self.controllers.waiting() as f64);
        ::metrics::gauge!(table::RECONCILES_WAITING).set(waiting);
        ::metrics::gauge!(table::QUEUE_DEPTH, "name" => QUEUE).set(waiting);
        ::metrics::counter!(table::QUEUE_ADDS, "name" => QUEUE).absolute(added);
    }

    /// What happens next; `more` if there is more to do at once.
    async fn select(&mut self, more: bool) -> Event {
        let room = self.running.len() < limits::RECONCILED_AT_ONCE;
        let time = match (more, self.controllers.next_time()) {
            // An end makes room.
            _ if !room => limits::CONTROL_IDLE,
            (true, _) => Duration::ZERO,
            (false, Some(at)) => at.saturating_sub(self.now().since),
            (false, None) => limits::CONTROL_IDLE,
        };
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => match ended {
                Ok((work, paused, outcome)) => Event::Ended(work, paused, outcome),
                // Each action's own panic is its failure already.
                Err(_) => Event::Time,
            },
            () = self.watches.changed() => Event::Changes,
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ended(work, paused, outcome) => {
                self.ended(&work, paused, outcome);
                while let Some(Ok((work, paused, outcome))) = self.running.try_join_next() {
                    self.ended(&work, paused, outcome);
                }
            }
            Event::Changes | Event::Time => {}
        }
    }

    fn ended(&mut self, work: &Work, paused: bool, outcome: Outcome) {
        self.outcomes.count(work.component(), &outcome);
        self.controllers.ended(work, paused, outcome, self.now());
    }

    /// Everything that the store shows.
    fn take_in(&mut self) {
        for number in self.watches.marked() {
            loop {
                let batch = self.watches.read(number);
                if !self.note(number, batch) {
                    break;
                }
            }
        }
    }

    /// Takes changes in; tells whether there were any.
    fn note(&mut self, number: usize, batch: Result<Batch, Expired>) -> bool {
        let kind = self.kinds[number];
        let Ok(batch) = batch else {
            let collection = self.controllers.catalog().row(kind).collection.clone();
            tracing::warn!(
                "controllers fell behind the changes of {collection}, and look at all of it again"
            );
            let watch = self.begin(kind, &collection);
            self.watches.replace(number, watch);
            return true;
        };
        intake::changes(&mut self.controllers, kind, &batch.changes);
        !batch.changes.is_empty()
    }

    /// Looks at all objects of a kind; the watch goes on from there.
    fn begin(&mut self, kind: KindId, collection: &str) -> Watch {
        loop {
            // From the newest revision, history is always there.
            let Ok((page, watch)) = self.store.list_and_watch(collection, None) else { continue };
            intake::all(&mut self.controllers, kind, &page.entries);
            return watch;
        }
    }

    /// Has what is to be done begun; tells whether more could be.
    fn reconcile(&mut self) -> bool {
        for _ in 0..limits::RECONCILED_AT_ONCE {
            if self.running.len() >= limits::RECONCILED_AT_ONCE {
                return false;
            }
            let next = self.controllers.next(self.now(), &self.store, limits::RECONCILED_AT_ONCE);
            let Some((work, actions)) = next else { return self.controllers.waiting() > 0 };
            self.begin_actions(work, actions);
        }
        true
    }

    fn begin_actions(&mut self, work: Work, actions: Actions) {
        let (writes, events) = (self.writes.clone(), self.events.clone());
        let hand = Hand { writes, events, component: work.component() };
        let paused = actions.paused;
        self.running.spawn(async move {
            let began = clock::instant();
            let outcome = hand.apply(actions).await;
            ::metrics::histogram!(table::QUEUE_WORK_SECONDS, "name" => QUEUE)
                .record(clock::instant() - began);
            (work, paused, outcome)
        });
    }

    fn now(&self) -> Now {
        let wall = Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::UNIX_EPOCH);
        Now { wall, since: clock::instant().saturating_duration_since(self.start) }
    }
}
