//! Brings claims and volumes together, and lets go what nobody uses.
//!
//! ```text
//!   claims, volumes, classes ─▶ shelf ─┐                             ┌─▶ claim: a volume is found, given, asked for
//!   pods ─▶ users: who has what ───────┴─▶ queue ─▶ reconcile ───────┼─▶ volume: Available, Bound, Released
//!                                                                     └─▶ ephemeral: the claims that pods bring along
//! ```
//!
//! Pure but for `run`. Each reconciliation takes one step, written against what was seen, and is followed by another until there is
//! nothing to do: so there is nothing that a restart between two writes could lose. Volumes are made and their data taken away by
//! whoever a class names; podbox's own is `node::provisioner`. On which node a volume is to be, where its class waits for that, the
//! scheduler decides.

mod claim;
mod ephemeral;
pub mod provision;
pub mod run;
pub mod shelf;
mod users;
mod volume;

use super::action::Actions;
use super::key::Key;
use super::queue::Queue;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use shelf::{Claim, Class, Shelf, Volume};
use std::time::Duration;
use users::Users;

pub use claim::reserve;

#[cfg(test)]
mod tests;

/// What is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A claim.
    Claim(Key),
    /// A volume, by its name.
    Volume(String),
    /// A pod's own claims.
    Pod(Key),
}

/// Claims, volumes, and who uses them.
#[derive(Debug, Default)]
pub struct Storage {
    shelf: Shelf,
    users: Users,
    queue: Queue<Work>,
}

fn read<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| {
            tracing::error!("{key} in the store cannot be read, and is neither bound nor let go: {error}")
        })
        .ok()
}

impl Storage {
    /// A claim is like this now.
    pub fn note_claim(&mut self, key: &Key, revision: u64, bytes: &[u8]) {
        let Some(claim) = read::<PersistentVolumeClaim>(key, bytes) else {
            return self.shelf.put_unread(key);
        };
        self.shelf.put_claim(Claim::of(key, revision, claim));
        self.touch(key);
    }

    /// A claim is gone.
    pub fn forget_claim(&mut self, key: &Key) {
        self.touch(key);
        self.shelf.take_claim(key);
        // Its pod's own claim is made again.
        for (pod, _) in self.users.of(key) {
            self.queue.add(Work::Pod(pod.clone()));
        }
    }

    /// A claim, its volume, and those that are kept for it, are to be looked at.
    fn touch(&mut self, key: &Key) {
        self.queue.add(Work::Claim(key.clone()));
        let own = self.shelf.claim(key).map(|claim| claim.volume.clone());
        let kept = self.shelf.kept(key).map(|volume| volume.name.clone());
        for name in kept.chain(own.filter(|name| !name.is_empty())) {
            self.queue.add(Work::Volume(name));
        }
    }

    /// A volume is like this now.
    pub fn note_volume(&mut self, key: &Key, revision: u64, bytes: &[u8]) {
        let Some(volume) = read::<PersistentVolume>(key, bytes) else {
            return self.shelf.put_unread(key);
        };
        self.wake_claims(key.name());
        self.shelf.put_volume(Volume::of(revision, volume));
        self.queue.add(Work::Volume(key.name().to_owned()));
        self.wake_claims(key.name());
    }

    /// A volume is gone.
    pub fn forget_volume(&mut self, key: &Key) {
        self.wake_claims(key.name());
        self.shelf.take_volume(key.name());
        let lost = self.shelf.all().0.filter(|claim| claim.volume == key.name());
        lost.for_each(|claim| self.queue.add(Work::Claim(claim.key.clone())));
    }

    /// The claim that has a volume; or, of a free one, those that could have it, or want it by its name.
    fn wake_claims(&mut self, name: &str) {
        let Some(volume) = self.shelf.volume(name) else { return };
        if let Some((key, _)) = &volume.claim {
            return self.queue.add(Work::Claim(key.clone()));
        }
        let could = self.shelf.unbound().filter_map(|key| self.shelf.claim(key));
        let could = could.filter(|claim| claim.class == volume.class);
        let wants = self.shelf.all().0.filter(|claim| claim.volume == name);
        could.chain(wants).for_each(|claim| self.queue.add(Work::Claim(claim.key.clone())));
    }

    /// A class is like this now.
    pub fn note_class(&mut self, key: &Key, bytes: &[u8]) {
        let Some(class) = read::<StorageClass>(key, bytes) else { return };
        self.shelf.classes.insert(key.name().to_owned(), Class::from(class));
        let own = |claim: &&Claim| claim.class == key.name() || claim.classless;
        let waiting = self.shelf.all().0.filter(|claim| !claim.completed).filter(own);
        waiting.for_each(|claim| self.queue.add(Work::Claim(claim.key.clone())));
    }

    /// A class is gone.
    pub fn forget_class(&mut self, key: &Key) {
        self.shelf.classes.remove(key.name());
    }

    /// A node is there.
    pub fn note_node(&mut self, key: &Key) {
        if !self.shelf.nodes.contains(key.name()) {
            self.shelf.nodes.insert(key.name().to_owned());
        }
    }

    /// A node is gone: claims whose volumes were to be there may be elsewhere.
    pub fn forget_node(&mut self, key: &Key) {
        self.shelf.nodes.remove(key.name());
        let meant = self.shelf.all().0.filter(|claim| claim.node.as_deref() == Some(key.name()));
        meant.for_each(|claim| self.queue.add(Work::Claim(claim.key.clone())));
    }

    /// A pod is like this now.
    pub fn note_pod(&mut self, key: &Key, bytes: &[u8]) {
        let touched = self.users.note(key, bytes);
        self.wake_for_pod(key, touched);
    }

    /// A pod is gone.
    pub fn forget_pod(&mut self, key: &Key) {
        let touched = self.users.forget(key);
        self.wake_for_pod(key, touched);
    }

    fn wake_for_pod(&mut self, pod: &Key, claims: Vec<Key>) {
        if !claims.is_empty() {
            self.queue.add(Work::Pod(pod.clone()));
        }
        claims.into_iter().for_each(|claim| self.queue.add(Work::Claim(claim)));
    }

    /// The keys of all claims, volumes, classes, nodes and pods that are known, after changes were missed.
    pub fn known(&self) -> [Vec<Key>; 5] {
        let named = |name: &String| Key::new("", name);
        let (claims, volumes) = self.shelf.all();
        [
            claims.map(|claim| claim.key.clone()).collect(),
            volumes.map(|volume| named(&volume.name)).collect(),
            self.shelf.classes.keys().map(named).collect(),
            self.shelf.nodes.iter().map(named).collect(),
            self.users.keys().cloned().collect(),
        ]
    }

    /// What is to be done next.
    pub fn next(&mut self, now: (Timestamp, Duration), patience: usize) -> Option<(Work, Actions)> {
        for _ in 0..patience {
            let work = self.queue.take(now.1)?;
            let actions = match self.queue.pauses(&work, now.1) {
                // What failed is not tried again yet.
                true => {
                    self.queue.paused(&work);
                    continue;
                }
                false => self.reconcile(&work, now.0),
            };
            if !actions.actions.is_empty() || !actions.said.is_empty() {
                return Some((work, actions));
            }
            self.queue.done(&work);
        }
        None
    }

    fn reconcile(&self, work: &Work, now: Timestamp) -> Actions {
        let (shelf, users) = (&self.shelf, &self.users);
        let actions = match work {
            Work::Claim(key) => shelf.claim(key).map(|one| claim::reconcile(one, shelf, users)),
            Work::Volume(name) => shelf.volume(name).map(|one| volume::reconcile(one, shelf, now)),
            Work::Pod(key) => users.get(key).map(|pod| ephemeral::reconcile(key, pod, shelf)),
        };
        actions.unwrap_or_default()
    }

    /// What was to be done is done, or failed. What was written is a change, and wakes by itself.
    pub fn ended(&mut self, work: &Work, failed: bool, now: Duration) {
        match failed {
            true => self.queue.failed(work, now),
            false => self.queue.done(work),
        }
    }

    /// When something is to be looked at although nothing changes.
    pub fn next_time(&self) -> Option<Duration> {
        self.queue.next_time()
    }

    /// Whether something is to be looked at now.
    pub fn is_ready(&self) -> bool {
        self.queue.waiting() > 0
    }
}
