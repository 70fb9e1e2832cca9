//! The part of the scheduler that is about claims: pods that are to be on a node as soon as their claims have volumes there. Pure.
//!
//! ```text
//!   chosen ──▶ Provide: claims say which node, volumes say whose ──▶ each claim has its volume ──▶ Bind
//!                 │ cannot be written            │ a claim or its volume goes, or the claim is nobody's node's any more; ten minutes pass
//!                 └──────────▶ looked at again ◀─┘
//! ```

use super::choose::Promise;
use super::verdict::Cure;
use super::{Decision, Scheduler, Subject, Told, unread};
use crate::control::key::Key;
use crate::control::pods::drop_from;
use crate::control::volumes::shelf::{Claim, Class, Volume};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What a pod says whose claims have not got their volumes in time.
const OVERDUE: &str = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";

impl Scheduler {
    /// A claim is like this now.
    pub fn note_claim(&mut self, key: &Key, revision: u64, bytes: &[u8]) {
        let claim = match serde_json::from_slice::<PersistentVolumeClaim>(bytes) {
            Ok(claim) => Claim::of(key, revision, claim),
            Err(error) => return unread("claim", key, &error),
        };
        self.stirred = self.stirred.and(Cure::STORAGE);
        let storage = &mut self.cluster.storage;
        let before = storage.shelf.claim(key).is_some_and(|before| before.node.is_some());
        let has = claim.completed && claim.phase == "Bound";
        let refused = before && claim.node.is_none();
        let lost = claim.going || refused;
        if has || lost || claim.node.is_some() {
            storage.forget_promise(key);
        }
        storage.shelf.put_claim(claim);
        match (has, lost) {
            (_, true) => self.give_up(key),
            (true, false) => {
                for pod in self.awaited.remove(key).unwrap_or_default() {
                    let Some(known) = self.pods.get_mut(&pod) else { continue };
                    if known.awaits.remove(key) && known.awaits.is_empty() {
                        self.deadlines.remove(&(known.deadline, pod.clone()));
                        self.provided.insert(pod);
                    }
                }
            }
            (false, false) => {}
        }
    }

    /// A claim is gone.
    pub fn forget_claim(&mut self, key: &Key) {
        self.cluster.storage.shelf.take_claim(key);
        self.cluster.storage.forget_promise(key);
        self.stirred = self.stirred.and(Cure::STORAGE);
        self.give_up(key);
    }

    /// A volume is like this now.
    pub fn note_volume(&mut self, key: &Key, revision: u64, bytes: &[u8]) {
        match serde_json::from_slice::<PersistentVolume>(bytes) {
            Ok(volume) => self.cluster.storage.shelf.put_volume(Volume::of(revision, volume)),
            Err(error) => return unread("volume", key, &error),
        }
        self.stirred = self.stirred.and(Cure::STORAGE);
    }

    /// A volume is gone.
    pub fn forget_volume(&mut self, key: &Key) {
        self.cluster.storage.shelf.take_volume(key.name());
        self.stirred = self.stirred.and(Cure::STORAGE);
        for claim in self.cluster.storage.promised_with(key.name()) {
            self.cluster.storage.forget_promise(&claim);
            self.give_up(&claim);
        }
    }

    /// A class is like this now.
    pub fn note_class(&mut self, key: &Key, bytes: &[u8]) {
        match serde_json::from_slice::<StorageClass>(bytes) {
            Ok(class) => {
                self.cluster.storage.shelf.classes.insert(key.name().to_owned(), Class::from(class));
                self.stirred = self.stirred.and(Cure::STORAGE);
            }
            Err(error) => unread("class", key, &error),
        }
    }

    /// A class is gone.
    pub fn forget_class(&mut self, key: &Key) {
        self.cluster.storage.shelf.classes.remove(key.name());
    }

    /// The keys of all claims.
    pub fn claims(&self) -> Vec<Key> {
        self.cluster.storage.shelf.all().0.map(|claim| claim.key.clone()).collect()
    }

    /// The keys of all volumes.
    pub fn volumes(&self) -> Vec<Key> {
        self.cluster.storage.shelf.all().1.map(|volume| Key::new("", &volume.name)).collect()
    }

    /// The keys of all classes.
    pub fn classes(&self) -> Vec<Key> {
        self.cluster.storage.shelf.classes.keys().map(|name| Key::new("", name)).collect()
    }

    /// A pod is to be on a node once these claims have volumes there; what is to be written for that, if something is.
    pub(super) fn provide(
        &mut self,
        subject: Subject,
        node: &Arc<str>,
        (awaits, writes): (BTreeSet<Key>, Vec<Promise>),
    ) -> Option<Decision> {
        for claim in awaits {
            self.awaited.entry(claim).or_default().insert(subject.key.clone());
        }
        self.cluster.storage.promise(node, &writes);
        (!writes.is_empty()).then_some(Decision::Provide(subject, writes))
    }

    /// The next pod that can be where it is to be.
    pub(super) fn next_provided(&mut self) -> Option<Decision> {
        while let Some(key) = self.provided.pop_first() {
            let Some(known) = self.pods.get(&key).filter(|known| known.awaits.is_empty()) else { continue };
            // Somebody else may have given it a node meanwhile.
            if let Some((node, _)) = known.on.as_ref().filter(|_| known.seen.node.is_empty()) {
                let subject = Subject { key, uid: Arc::clone(&known.uid) };
                return Some(Decision::Bind(subject, Arc::clone(&self.cluster.place(*node).name)));
            }
        }
        None
    }

    /// The next pod whose claims have not got their volumes in time: it says so, and looks for a node again.
    pub(super) fn next_overdue(&mut self, now: Duration) -> Option<Decision> {
        while let Some((_, key)) = self.deadlines.first().filter(|(at, _)| *at <= now).cloned() {
            let awaits = self.pods.get(&key).map(|known| known.awaits.clone()).unwrap_or_default();
            if self.let_go(&key)
                && let Some(known) = self.pods.get(&key)
            {
                let subject = Subject { key: key.clone(), uid: Arc::clone(&known.uid) };
                // Whoever else waits for them has a deadline, too; who comes now may choose anew.
                awaits.iter().for_each(|claim| self.cluster.storage.forget_promise(claim));
                self.waiting.retry(&key, now);
                let nominated = self.cluster.nominations.of(&key).cloned();
                let told = Told { message: OVERDUE.to_owned(), nominated, failed: true };
                self.waiting.tell(&key, &told, now);
                return Some(Decision::Tell(subject, told));
            }
            self.deadlines.pop_first();
        }
        None
    }

    /// What was promised to a pod's claims could not be written: nor is it for others that wait for them.
    pub(super) fn not_provided(&mut self, subject: &Subject, promises: &[Promise], now: Duration) {
        promises.iter().for_each(|(claim, ..)| self.cluster.storage.forget_promise(claim));
        let same = self.pods.get(&subject.key).is_some_and(|known| known.uid == subject.uid);
        if same && self.let_go(&subject.key) {
            self.waiting.retry(&subject.key, now);
        }
        promises.iter().for_each(|(claim, ..)| self.give_up(claim));
    }

    /// Who waits for a claim is looked at anew.
    fn give_up(&mut self, claim: &Key) {
        for pod in self.awaited.remove(claim).unwrap_or_default() {
            if self.let_go(&pod) {
                self.waiting.renew(&pod);
            }
        }
    }

    /// A pod that waits for claims is on no node any more; tells whether it did. The node that was kept for it is kept again.
    fn let_go(&mut self, pod: &Key) -> bool {
        let Some(known) = self.pods.get_mut(pod).filter(|known| !known.awaits.is_empty()) else {
            return false;
        };
        let awaits = std::mem::take(&mut known.awaits);
        self.deadlines.remove(&(known.deadline, pod.clone()));
        let (on, kept) = (known.on.take(), known.kept.take());
        if let Some((_, load)) = &on {
            self.cluster.nominations.set(pod, kept.as_ref(), load);
        }
        self.lift(pod, on);
        awaits.iter().for_each(|claim| drop_from(&mut self.awaited, claim, pod));
        true
    }
}
