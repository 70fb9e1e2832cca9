//! The loop that brings claims and volumes together: takes in what changes in the store, and has what is next carried out.
//!
//! It decides nothing. Invariant: all that the store shows is taken in before something is reconciled, and a key's own writes
//! are acknowledged before it is reconciled again.

use super::{Storage, Work};
use crate::api::objects::Writes;
use crate::control::apply::{Hand, Outcomes};
use crate::control::controllers::Outcome;
use crate::control::events::{self, Events};
use crate::control::follow::{Follow, Follower};
use crate::control::key::Key;
use crate::store::{Entry, Store};
use crate::{clock, limits};
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The controller, as Events name it: upstream's words.
pub const COMPONENT: &str = "persistentvolume-controller";

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PersistentVolumeClaims.
    Claim,
    /// PersistentVolumes.
    Volume,
    /// StorageClasses.
    Class,
    /// Nodes.
    Node,
    /// Pods.
    Pod,
}

/// In the order in which they are looked at: a volume's claim is there before it, and so is known once the volume is. Otherwise it
/// would seem to be gone, and the volume to be anybody's. So is a node there before a claim is to be on it.
pub const KINDS: [(Kind, &str); 5] = [
    (Kind::Class, "storage.k8s.io/storageclasses"),
    (Kind::Volume, "/persistentvolumes"),
    (Kind::Claim, "/persistentvolumeclaims"),
    (Kind::Pod, "/pods"),
    (Kind::Node, "/nodes"),
];

impl Follower<Kind> for Storage {
    fn look(&mut self, kind: Kind, entry: &Entry) {
        match kind {
            Kind::Claim => self.note_claim(&entry.key, entry.revision, &entry.bytes),
            Kind::Volume => self.note_volume(&entry.key, entry.revision, &entry.bytes),
            Kind::Class => self.note_class(&entry.key, &entry.bytes),
            Kind::Node => self.note_node(&entry.key),
            Kind::Pod => self.note_pod(&entry.key, &entry.bytes),
        }
    }

    fn forget(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Claim => self.forget_claim(key),
            Kind::Volume => self.forget_volume(key),
            Kind::Class => self.forget_class(key),
            Kind::Node => self.forget_node(key),
            Kind::Pod => self.forget_pod(key),
        }
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        let [claims, volumes, classes, nodes, pods] = Storage::known(self);
        match kind {
            Kind::Node => nodes,
            Kind::Claim => claims,
            Kind::Volume => volumes,
            Kind::Class => classes,
            Kind::Pod => pods,
        }
    }
}

struct Loop<W> {
    store: Store,
    writes: W,
    storage: Storage,
    /// Actions under way.
    running: JoinSet<(Work, Outcome)>,
    outcomes: Outcomes,
    events: Events,
    start: Instant,
}

enum Event {
    Changes,
    Ended(Work, Outcome),
    Time,
}

/// Binds claims until it is dropped.
pub async fn run(store: Store, writes: impl Writes) {
    let (events, queue) = events::channel();
    let work = Loop {
        store,
        writes: writes.clone(),
        storage: Storage::default(),
        running: JoinSet::new(),
        outcomes: Outcomes::default(),
        events,
        start: clock::instant(),
    };
    tokio::join!(work.run(), events::record(writes, queue));
}

impl<W: Writes> Loop<W> {
    async fn run(mut self) {
        let mut follow = Follow::begin(self.store.clone(), &KINDS, &mut self.storage);
        loop {
            follow.take_in(&mut self.storage);
            self.reconcile();
            match self.select(&follow).await {
                Event::Ended(work, outcome) => self.ended(&work, &outcome),
                Event::Changes | Event::Time => {}
            }
        }
    }

    async fn select(&mut self, follow: &Follow<Kind>) -> Event {
        let room = self.running.len() < limits::RECONCILED_AT_ONCE;
        let time = match (self.storage.is_ready(), self.storage.next_time()) {
            // An end makes room.
            _ if !room => limits::CONTROL_IDLE,
            (true, _) => Duration::ZERO,
            (false, Some(at)) => at.saturating_sub(self.now()),
            (false, None) => limits::CONTROL_IDLE,
        };
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => match ended {
                Ok((work, outcome)) => Event::Ended(work, outcome),
                // Each action's own panic is its failure already.
                Err(_) => Event::Time,
            },
            () = follow.changed() => Event::Changes,
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    fn ended(&mut self, work: &Work, outcome: &Outcome) {
        let failed = outcome.conflict || outcome.failure.is_some();
        self.outcomes.count(COMPONENT, outcome);
        self.storage.ended(work, failed, self.now());
    }

    fn reconcile(&mut self) {
        let wall = Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::UNIX_EPOCH);
        while self.running.len() < limits::RECONCILED_AT_ONCE {
            let next = self.storage.next((wall, self.now()), limits::RECONCILED_AT_ONCE);
            let Some((work, actions)) = next else { break };
            let hand =
                Hand { writes: self.writes.clone(), events: self.events.clone(), component: COMPONENT };
            self.running.spawn(async move { (work, hand.apply(actions).await) });
        }
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.start)
    }
}
