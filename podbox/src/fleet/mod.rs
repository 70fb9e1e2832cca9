//! Simulated nodes beside the real one, for `podbox node --simulated-nodes`: the API, the store, the scheduler and the controllers are
//! those of any other day, and only the kubelets are played.
//!
//! ```text
//!   nodes, pods ─▶ cast: who is there, what is due ─▶ hand: statuses, removals, leases ─▶ the API
//!                     ▲ in one task; nobody polls                                           │
//!                     └──────────────────────────── changes ◀───────────────────────────────┘
//! ```
//!
//! Every node with the label [`LABEL`](crate::pod::pretend::LABEL) is played, also those that people made. What such a node knows of its pods is what the
//! API says of them, for nothing runs: so a restart forgets nothing. How nodes and pods fare, people say by an annotation
//! (`api::simulate`); what is said of them, `pod::pretend` words.
//!
//! **Invariant: a silent node does nothing**: it renews no lease, tells nothing of its pods and confirms no deletion.

mod cast;
mod hand;
mod part;
mod roster;

#[cfg(test)]
mod tests;

use crate::api::objects::Objects;
use crate::api::simulate::Span;
use crate::control::follow::Follow;
use crate::store::Store;
use crate::{clock, limits};
use cast::{Cast, KINDS, Now, Work};
use hand::Hand;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

pub use roster::RANGE;

/// What is asked of them.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many there are to be, beside those that people made.
    pub nodes: u32,
    /// How long a pod takes to start that does not say it.
    pub start: Span,
}

/// All of them.
pub struct Fleet<O> {
    options: Options,
    store: Store,
    hand: Hand<O>,
    cast: Cast,
    /// Writes under way, and whether they were done.
    writes: JoinSet<(Work, bool)>,
    /// Leases that are being renewed.
    beat: JoinSet<()>,
    start: Instant,
}

enum Event {
    Changes,
    Ended(Work, bool),
    Beat,
    Time,
}

impl<O: Objects> Fleet<O> {
    /// Sees to it that so many nodes are there as are asked for. Those of an earlier podbox that are beyond that go.
    pub async fn muster(store: Store, objects: O, options: Options) -> Fleet<O> {
        let hand = Hand::new(objects);
        hand.muster(&store, options.nodes).await;
        let (cast, start) = (Cast::new(options.start), clock::instant());
        let (writes, beat) = Default::default();
        Fleet { options, store, hand, cast, writes, beat, start }
    }

    /// Runs until it is dropped; ends at once where no node is asked for.
    pub async fn run(mut self) {
        if self.options.nodes == 0 {
            return;
        }
        let mut follow = Follow::begin(self.store.clone(), &KINDS, &mut self.cast);
        let mut lease = tokio::time::interval(limits::LEASE_RENEWAL);
        lease.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            follow.take_in(&mut self.cast);
            let more = self.work();
            match self.select(&follow, &mut lease, more).await {
                Event::Changes | Event::Time => {}
                Event::Ended(work, done) => self.ended(&work, done),
                Event::Beat => self.renew(),
            }
        }
    }

    async fn select(&mut self, follow: &Follow<cast::Kind>, lease: &mut Interval, more: bool) -> Event {
        let time = match (more, self.cast.next_time()) {
            (true, _) => Duration::ZERO,
            (false, Some(at)) => at.saturating_sub(self.now().since),
            (false, None) => limits::CONTROL_IDLE,
        };
        tokio::select! {
            biased;
            Some(ended) = self.writes.join_next() => match ended {
                Ok((work, done)) => Event::Ended(work, done),
                // A panic, which was told where it happened: it stays as it is.
                Err(_) => Event::Time,
            },
            _ = lease.tick() => Event::Beat,
            () = follow.changed() => Event::Changes,
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    /// Has begun what is due, as much as may be under way; tells whether more could be at once.
    fn work(&mut self) -> bool {
        for _ in 0..limits::SIMULATED_AT_ONCE {
            if self.writes.len() >= limits::SIMULATED_AT_ONCE {
                return false;
            }
            let Some((work, write)) = self.cast.next(self.now(), &self.store) else { return false };
            let hand = self.hand.clone();
            self.writes.spawn(async move { (work, hand.write(write).await) });
        }
        true
    }

    fn ended(&mut self, work: &Work, done: bool) {
        let now = self.now().since;
        self.cast.ended(work, done, now);
        while let Some(Ok((work, done))) = self.writes.try_join_next() {
            self.cast.ended(&work, done, now);
        }
    }

    /// All nodes that are not silent say that they live: in one go, so that the store makes it durable together.
    fn renew(&mut self) {
        while self.beat.try_join_next().is_some() {}
        // Whoever takes so long is not helped by more of it.
        if self.beat.is_empty() {
            let (hand, alive) = (self.hand.clone(), self.cast.alive());
            self.beat.spawn(async move { hand.renew(alive).await });
        }
    }

    fn now(&self) -> Now {
        Now { wall: clock::wall(), since: clock::instant().saturating_duration_since(self.start) }
    }
}
