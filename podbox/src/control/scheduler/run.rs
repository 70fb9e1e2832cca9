//! The loop of the scheduler: takes in what changes in the store, and has its decisions written, many at once, since the store makes
//! durable together what comes together.
//!
//! It decides nothing, and waits for no write before the next decision. Invariant: all that the store shows is taken in
//! before something is decided.

mod write;

use super::{Decision, Scheduler};
use crate::api::objects::{Objects, Writes};
use crate::api::pressure::Condition;
use crate::control::events::{self, Events};
use crate::control::follow::{Follow, Follower};
use crate::control::key::Key;
use crate::store::{Entry, Store};
use crate::{clock, limits, metrics as table};
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use write::Writer;
pub use write::{disrupted, unscheduled};

/// A node that tells what it is short of before it can be read in the store.
pub struct Hint {
    /// Its name.
    pub node: String,
    /// What it is short of.
    pub short: watch::Receiver<BTreeSet<Condition>>,
}

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes.
    Node,
    /// Namespaces.
    Namespace,
    /// StorageClasses.
    Class,
    /// PersistentVolumes.
    Volume,
    /// PersistentVolumeClaims.
    Claim,
    /// PodDisruptionBudgets.
    Budget,
    /// Pods.
    Pod,
}

/// In the order in which they are looked at: what a claim names is there before it, and so is known once the claim is.
pub const KINDS: [(Kind, &str); 7] = [
    (Kind::Node, "/nodes"),
    (Kind::Namespace, "/namespaces"),
    (Kind::Claim, "/persistentvolumeclaims"),
    (Kind::Class, "storage.k8s.io/storageclasses"),
    (Kind::Volume, "/persistentvolumes"),
    (Kind::Budget, "policy/poddisruptionbudgets"),
    (Kind::Pod, "/pods"),
];

impl Follower<Kind> for Scheduler {
    fn look(&mut self, kind: Kind, entry: &Entry) {
        match kind {
            Kind::Pod => self.note_pod(&entry.key, &entry.bytes),
            Kind::Node => self.note_node(&entry.key, &entry.bytes),
            Kind::Namespace => self.note_namespace(&entry.key, &entry.bytes),
            Kind::Class => self.note_class(&entry.key, &entry.bytes),
            Kind::Volume => self.note_volume(&entry.key, entry.revision, &entry.bytes),
            Kind::Claim => self.note_claim(&entry.key, entry.revision, &entry.bytes),
            Kind::Budget => self.note_budget(&entry.key, &entry.bytes),
        }
    }

    fn forget(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Pod => self.forget_pod(key),
            Kind::Node => self.forget_node(key),
            Kind::Namespace => self.forget_namespace(key),
            Kind::Class => self.forget_class(key),
            Kind::Volume => self.forget_volume(key),
            Kind::Claim => self.forget_claim(key),
            Kind::Budget => self.forget_budget(key),
        }
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        match kind {
            Kind::Pod => self.pods(),
            Kind::Node => self.nodes(),
            Kind::Namespace => self.namespaces(),
            Kind::Class => self.classes(),
            Kind::Volume => self.volumes(),
            Kind::Claim => self.claims(),
            Kind::Budget => self.budgets(),
        }
    }
}

struct Loop<W> {
    store: Store,
    writes: W,
    scheduler: Scheduler,
    /// Writes under way; whether they were done.
    running: JoinSet<(Decision, bool)>,
    events: Events,
    hint: Hint,
    start: Instant,
}

enum Event {
    Changes,
    Ended(Decision, bool),
    Short,
    Time,
}

/// Gives pods nodes until it is dropped.
pub async fn run<W: Writes + Objects>(store: Store, writes: W, hint: Hint) {
    let (events, queue) = events::channel();
    let work = Loop {
        store,
        writes: writes.clone(),
        scheduler: Scheduler::default(),
        running: JoinSet::new(),
        events,
        hint,
        start: clock::instant(),
    };
    // A task of their own: they are many, and nobody waits for them.
    let mut beside = JoinSet::new();
    beside.spawn(events::record(writes, queue));
    work.run().await;
}

impl<W: Writes + Objects> Loop<W> {
    async fn run(mut self) {
        self.look_at_short();
        let mut follow = Follow::begin(self.store.clone(), &KINDS, &mut self.scheduler);
        loop {
            follow.take_in(&mut self.scheduler);
            self.decide();
            let event = self.select(&follow).await;
            self.apply(event);
        }
    }

    async fn select(&mut self, follow: &Follow<Kind>) -> Event {
        let may_decide = self.running.len() < limits::BINDINGS_AT_ONCE;
        let time = match (self.scheduler.is_ready() && may_decide, self.scheduler.next_time()) {
            (true, _) => Duration::ZERO,
            (false, Some(at)) if may_decide => at.saturating_sub(self.now()),
            _ => limits::CONTROL_IDLE,
        };
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => match ended {
                Ok((decision, written)) => Event::Ended(decision, written),
                // Writes panic within, and nobody aborts them.
                Err(_) => Event::Time,
            },
            () = follow.changed() => Event::Changes,
            Ok(()) = self.hint.short.changed() => Event::Short,
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ended(decision, written) => {
                self.ended(&decision, written);
                while let Some(Ok((decision, written))) = self.running.try_join_next() {
                    self.ended(&decision, written);
                }
            }
            Event::Short => self.look_at_short(),
            Event::Changes | Event::Time => {}
        }
    }

    fn ended(&mut self, decision: &Decision, written: bool) {
        let now = self.now();
        book(&mut self.scheduler, decision, written, now, |key| self.store.get("/pods", key));
    }

    /// What the node is short of is a taint, before it says so.
    fn look_at_short(&mut self) {
        let short = self.hint.short.borrow_and_update().clone();
        let taint = |one: &Condition| {
            let (key, effect) = (one.taint().to_owned(), "NoSchedule".to_owned());
            Taint { key, effect, ..Taint::default() }
        };
        self.scheduler.taint_ahead(&self.hint.node, short.iter().map(taint).collect());
        let key = Key::new("", &self.hint.node);
        if let Some(entry) = self.store.get("/nodes", &key) {
            self.scheduler.note_node(&key, &entry.bytes);
        }
    }

    /// Has what is decided written, as much as may be under way.
    fn decide(&mut self) {
        while self.running.len() < limits::BINDINGS_AT_ONCE {
            let began = clock::instant();
            let Some(decision) = self.scheduler.next(self.now(), limits::PODS_LOOKED_AT) else { break };
            ::metrics::histogram!(table::ALGORITHM_SECONDS).record(clock::instant() - began);
            let writer = Writer { writes: self.writes.clone(), events: self.events.clone(), began };
            self.running.spawn(write(writer, decision));
        }
        for (queue, count) in ["active", "backoff", "unschedulable"].into_iter().zip(self.scheduler.counts())
        {
            ::metrics::gauge!(table::PENDING_PODS, "queue" => queue).set(count as f64);
        }
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.start)
    }
}

/// Lets the scheduler know what came of a decision, and of one that was not written how its pod is now.
pub fn book(
    scheduler: &mut Scheduler,
    decision: &Decision,
    written: bool,
    now: Duration,
    pod: impl FnOnce(&Key) -> Option<Arc<Entry>>,
) {
    scheduler.ended(decision, written, now);
    if let (Decision::Bind(subject, _), false) = (decision, written) {
        match pod(&subject.key) {
            Some(entry) => scheduler.note_pod(&subject.key, &entry.bytes),
            None => scheduler.forget_pod(&subject.key),
        }
    }
}

/// Writes a decision; tells whether that was done. One whose writing panics, which is told where it happens, was not written.
async fn write<W: Writes + Objects>(writer: Writer<W>, decision: Decision) -> (Decision, bool) {
    let written = AssertUnwindSafe(writer.write(&decision)).catch_unwind().await;
    (decision, written.unwrap_or(false))
}
