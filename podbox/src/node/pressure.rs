//! Watches what the node runs short of, says so, and makes room: what nobody needs goes first, then pods, one at a time.
//!
//! ```text
//!   a new look at what is used ──▶ levels ──▶ pod::evict: conditions ──▶ heartbeat, and who admits pods
//!   (every few seconds, and when                        │
//!    processes wait for memory)                         └▶ too low: images ──▶ enough? ──no──▶ a pod goes
//! ```
//!
//! Memory cannot wait: what is short is seen to before what single pods have on the disk, and only there is waited for a pod
//! to go. Who goes is decided in `pod::evict`, and what a pod may have on disk in `pod::ephemeral`; the pod's worker ends it.

mod active;
mod stall;
mod words;

pub use words::event;

pub use active::refusal;

use super::garbage::logs::{self, LogMarks};
use super::garbage::{self, Garbage};
use super::stats::Gauges;
use super::view::Rows;
use crate::api::error::chain;
use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::pressure::{Condition, Signal, Threshold};
use crate::api::stats::Snapshot;
use crate::config::Config;
use crate::pod::ephemeral;
use crate::pod::evict::{self, Pressure};
use crate::pod::glance;
use crate::store::{Expired, Store};
use crate::{clock, limits, metrics};
use active::Active;
use serde_json::Value;
use stall::Stall;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A pod that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Which.
    pub pod: PodRef,
    /// Why, for people.
    pub message: String,
    /// How long it has to go.
    pub grace: Duration,
}

/// What others have to do with it.
#[derive(Debug)]
pub struct Ends {
    /// What the node is short of, for all who want to know.
    pub short: watch::Sender<BTreeSet<Condition>>,
    /// Takes the pods that are to go.
    pub evictions: mpsc::Sender<Eviction>,
    /// What each pod is at.
    pub views: watch::Receiver<Rows>,
}

/// Looks after the node.
pub struct Warden<O> {
    name: String,
    config: Config,
    gauges: Gauges,
    store: Store,
    objects: O,
    garbage: Garbage,
    ends: Ends,
    pressure: Pressure,
    /// What something is done about already, so that it is told once.
    acting: Option<Signal>,
    /// Pods that go already since they have too much on the disk.
    excessive: BTreeSet<PodRef>,
    /// The last time that images had to go, not enough did.
    images_stay: bool,
}

impl<O: Objects> Warden<O> {
    /// For the node of this name.
    pub fn new(
        name: String,
        config: Config,
        gauges: Gauges,
        (store, objects): (Store, O),
        garbage: Garbage,
        ends: Ends,
    ) -> Self {
        Warden {
            name,
            config,
            gauges,
            store,
            objects,
            garbage,
            ends,
            pressure: Pressure::default(),
            acting: None,
            excessive: BTreeSet::new(),
            images_stay: false,
        }
    }

    /// Looks after it until it is dropped.
    pub async fn run(mut self) {
        let mut looks = self.gauges.watch();
        let mut images = tokio::time::interval(limits::IMAGES_LOOK);
        let mut logs = tokio::time::interval(limits::LOGS_LOOK);
        let mut stall = match Stall::new() {
            Ok(stall) => Some(stall),
            Err(error) => {
                tracing::info!(
                    "want of memory is noticed every few seconds only: /proc/pressure/memory: {error}"
                );
                None
            }
        };
        loop {
            let stalled = async {
                match &stall {
                    Some(stall) => stall.wait().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = looks.changed() => {
                    let latest = looks.borrow_and_update().clone();
                    if let Some(latest) = latest {
                        self.look(&latest).await;
                    }
                }
                stalled = stalled => match stalled {
                    Ok(()) => self.gauges.nudge(),
                    Err(_) => stall = None,
                },
                _ = images.tick() => self.collect_images().await,
                _ = logs.tick() => self.sweep_logs(),
            }
        }
    }

    async fn look(&mut self, latest: &Snapshot) {
        let disks = self.gauges.filesystems();
        let levels = active::levels(latest, disks.as_ref());
        let duties = &self.config.duties;
        let found = self.pressure.observe(&duties.thresholds, &levels, duties.transition, clock::instant());
        self.say(found.conditions).await;
        match found.act {
            Some(threshold) => self.relieve(&threshold, latest).await,
            None => self.acting = None,
        }
        self.end_excess().await;
    }

    /// Tells what the node is short of, if that is news.
    async fn say(&self, conditions: BTreeSet<Condition>) {
        let before = self.ends.short.send_replace(conditions.clone());
        for condition in Condition::ALL {
            let holds = conditions.contains(&condition);
            if holds != before.contains(&condition) {
                let reason = condition.event(holds);
                let message = format!("Node {} status is now: {reason}", self.name);
                self.record("Normal", reason, message).await;
            }
        }
    }

    /// Makes room, or has a pod go.
    async fn relieve(&mut self, threshold: &Threshold, latest: &Snapshot) {
        let signal = threshold.signal;
        let on_disk = signal.condition() == Condition::Disk;
        if self.acting.replace(signal) != Some(signal) {
            tracing::warn!("the node is short of {}", signal.resource());
            let message = format!("Attempting to reclaim {}", signal.resource());
            self.record("Warning", "EvictionThresholdMet", message).await;
        }
        if on_disk {
            self.free(u64::MAX, Duration::ZERO);
        }
        let levels = active::levels(latest, self.gauges.filesystems().as_ref());
        let level = levels.get(&signal);
        if on_disk && level.is_some_and(|level| level.available >= threshold.below.of(level.capacity)) {
            return;
        }
        let disk = match on_disk {
            true => self.gauges.look_at_disk(Duration::ZERO).await.ok(),
            false => None,
        };
        let Some(pods) = self.pods() else { return };
        let candidates = pods.into_iter().map(|active| {
            let on_disk = disk.as_ref().and_then(|disk| disk.pods.get(&active.pod.uid));
            active.candidate(signal, latest, on_disk)
        });
        match evict::first(signal, candidates.collect()) {
            None => tracing::debug!("no pod may go, though the node is short of {}", signal.resource()),
            Some(first) => {
                let message = evict::message(threshold, level, &first);
                let grace = self.grace(threshold, &first.pod);
                self.evict(first.pod.pod, (signal.word(), message), grace).await;
            }
        }
    }

    /// How long a pod has to go.
    fn grace(&self, threshold: &Threshold, active: &Active) -> Duration {
        match threshold.grace {
            None => limits::EVICTION_GRACE,
            Some(_) => self.config.duties.soft_grace.min(active.grace()).max(limits::EVICTION_GRACE),
        }
    }

    /// The pods here that have not ended; none, told, if they cannot be listed.
    fn pods(&self) -> Option<Vec<Active>> {
        let told = |error: &Expired| tracing::warn!("listing the node's pods failed: {error}");
        active::all(&self.store, &self.name).inspect_err(told).ok()
    }

    /// Ends pods that have more on the disk than they may, each told once. Waits for none of them.
    async fn end_excess(&mut self) {
        let Some(mut limited) = self.pods() else { return };
        limited.retain(|active| {
            ephemeral::is_limited(&active.manifest) && !evict::is_critical(active.priority())
        });
        self.excessive.retain(|pod| limited.iter().any(|active| active.pod == *pod));
        limited.retain(|active| !self.excessive.contains(&active.pod));
        if limited.is_empty() {
            return;
        }
        let disk = match self.gauges.look_at_disk(limits::DISK_LOOK).await {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!("limits of what pods have on disk are not kept: {error}");
                return;
            }
        };
        for Active { pod, manifest } in limited {
            let excess = disk.pods.get(&pod.uid).and_then(|own| ephemeral::excess(&manifest, own));
            if let Some(why) = excess {
                self.excessive.insert(pod.clone());
                self.end(pod, why, limits::EVICTION_GRACE).await;
            }
        }
    }

    /// Has a pod go, and waits a while until it has gone.
    async fn evict(&self, pod: PodRef, why: (&'static str, String), grace: Duration) {
        if !self.end(pod.clone(), why, grace).await {
            return;
        }
        let mut views = self.ends.views.clone();
        let gone = views.wait_for(|views| views.get(&pod).is_none_or(|view| view.gone));
        let _ = tokio::time::timeout(limits::EVICTION_WAIT + grace, gone).await;
        self.gauges.nudge();
    }

    /// Has a pod go, for this signal and with this message; whether there is somebody who sees to it.
    async fn end(&self, pod: PodRef, (signal, message): (&'static str, String), grace: Duration) -> bool {
        tracing::warn!(%pod, "evicted: {message}");
        ::metrics::counter!(metrics::EVICTIONS, "eviction_signal" => signal).increment(1);
        let at = ObjectRef::pod(&pod.namespace, &pod.name);
        let now = object::time(clock::wall());
        let mark = |object: &mut Value| {
            if object::uid(object) == pod.uid {
                words::disrupted(object, &message, &now);
            }
        };
        if let Err(error) = self.objects.update_status(&at, mark).await {
            tracing::warn!(%pod, "telling of its eviction failed: {error}");
        }
        self.ends.evictions.send(Eviction { pod, message, grace }).await.is_ok()
    }

    /// Removes images if their disk is too full.
    async fn collect_images(&mut self) {
        let Some((_, images)) = self.gauges.filesystems() else { return };
        let (high, low, age) = {
            let duties = &self.config.duties;
            (duties.images_high, duties.images_low, duties.image_age)
        };
        let Some(bytes) = garbage::too_many(&images, high, low) else {
            self.images_stay = false;
            let Some(wanted) = self.wanted() else { return };
            if let Err(error) = self.garbage.note_images(&wanted, clock::instant()) {
                tracing::warn!("looking at the images failed: {}", chain(&error));
            }
            return;
        };
        let freed = self.free(bytes, age);
        let failed = freed < bytes;
        let failed_before = std::mem::replace(&mut self.images_stay, failed);
        if failed {
            let message = words::too_full(&images, freed);
            self.record("Warning", "FreeDiskSpaceFailed", message.clone()).await;
            // Once may be chance.
            if failed_before {
                self.record("Warning", "ImageGCFailed", message).await;
            }
        }
    }

    /// The images that pods want; none, told, if they are not known: then no image goes.
    fn wanted(&self) -> Option<BTreeSet<String>> {
        let told =
            |error: &Expired| tracing::warn!("no images are removed: listing the pods failed: {error}");
        active::images(&self.store, &self.name).inspect_err(told).ok()
    }

    /// Removes images until so many bytes are free; how many are.
    fn free(&mut self, bytes: u64, age: Duration) -> u64 {
        let Some(wanted) = self.wanted() else { return 0 };
        // Every process' mounts are looked at, and trees are removed.
        let free = || self.garbage.free_images(bytes, &wanted, age, clock::instant());
        let freed = tokio::task::block_in_place(free);
        freed.unwrap_or_else(|error| {
            tracing::warn!("removing images failed: {}", chain(&error));
            0
        })
    }

    fn sweep_logs(&mut self) {
        let marked = tokio::task::block_in_place(|| LogMarks::of(&self.config).all());
        let Ok(page) = self.store.list("/pods", None, None, 0, None) else { return };
        let uid = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes).ok().map(|pod| object::uid(&pod).to_owned())
        };
        let own = glance::on_node(&page.entries, &self.name);
        let mut there: BTreeSet<String> = own.filter_map(|entry| uid(&entry.bytes)).collect();
        // Whoever was taken out of the API by force may still write.
        let here = self.ends.views.borrow();
        there.extend(here.iter().filter(|(_, view)| !view.gone).map(|(pod, _)| pod.uid.clone()));
        drop(here);
        tokio::task::block_in_place(|| logs::sweep(&self.config, &marked, &there));
    }

    async fn record(&self, of: &str, reason: &str, message: String) {
        if let Err(error) = self.objects.ensure(words::event(&self.name, of, reason, &message)).await {
            tracing::warn!("recording {reason} failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
