//! The reader: rings → decoded, attributed events → subscribers. It also looks, twice a second, for the
//! dead that nobody reaps, removes tombstones that are old enough, and detaches programs that cost too much.
//!
//! Waking it is by far the dearest part of a process's end, and that process pays. The kernel wakes only for a record before
//! which all have been read; so the reader rests once it has read all exits, and whatever comes meanwhile costs one wake-up
//! together. What comes after a rest is read at once, and nothing lies unread for longer than one: the wake-up that the
//! first record brought is kept until then. OOM kills and sockets that listen, for which somebody waits, have rings without
//! rests.
//!
//! It decides nothing and waits for nobody: who does not keep up with the broadcast loses events and is
//! told so.

use super::attribute;
use super::budget::Budget;
use super::decode::{self, Gaps};
use super::log::Flush;
use super::map::Rings;
use super::standing;
use super::tracer::{Tracer, lock};
use super::zombie::Zombies;
use crate::{clock, limits};
use aya::maps::{MapData, RingBuf};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyMutGuard};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep_until};

/// Records taken from a ring under one hold of the lock.
const BATCH: usize = 256;
/// How many exits between two rests are a flood, in which the ring could run over during the next one.
const FLOOD: usize = 1024;
/// The rest in a flood.
const SHORT_REST: Duration = Duration::from_millis(10);

impl Tracer {
    /// Begins to read; events go to [`Tracer::subscribe`]rs. The tracer has one reader: asked again, this is
    /// an error. Must be called within a tokio runtime.
    pub fn spawn_reader(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let taken = lock(&self.rings).take();
        let Rings { events, oom, listens, log } = taken.ok_or_else(|| {
            io::Error::new(io::ErrorKind::AlreadyExists, "the rings are being read already")
        })?;
        let reader = Reader {
            events: register(events)?,
            oom: register(oom)?,
            listens: register(listens)?,
            rests_until: clock::instant(),
            read: 0,
            zombies: Zombies::default(),
            budget: Budget::new(self.allowance),
            log,
            tracer: Arc::clone(self),
        };
        match self.cgroup_root.as_ref().map(File::open).transpose() {
            Ok(root) => root.into_iter().for_each(|root| {
                tokio::spawn(standing::run(Arc::downgrade(self), root));
            }),
            Err(error) => tracing::warn!(%error, "counts are not compared with the cgroups' own"),
        }
        Ok(tokio::spawn(reader.run()))
    }
}

/// Readiness of a ring's descriptor.
fn register(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its descriptor, which stays the same and open until the ring is dropped; the
    // AsyncFd owns the ring and deregisters first.
    Ok(unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?)
}

/// Waits for a ring's descriptor, once the rest is over.
async fn rested(
    until: Instant,
    ring: &mut AsyncFd<RingBuf<MapData>>,
) -> io::Result<AsyncFdReadyMutGuard<'_, RingBuf<MapData>>> {
    sleep_until(until.into()).await;
    ring.readable_mut().await
}

struct Reader {
    tracer: Arc<Tracer>,
    events: AsyncFd<RingBuf<MapData>>,
    oom: AsyncFd<RingBuf<MapData>>,
    listens: AsyncFd<RingBuf<MapData>>,
    /// Until when exits are left in their ring.
    rests_until: Instant,
    /// How many were read since the last rest.
    read: usize,
    zombies: Zombies,
    budget: Budget,
    log: Option<Flush>,
}

impl Reader {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(limits::ZOMBIE_SCAN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // OOM first: few, and somebody waits for them.
            tokio::select! {
                biased;
                Ok(mut guard) = self.oom.readable_mut() => {
                    if drain(&self.tracer, guard.get_inner_mut()) < BATCH {
                        guard.clear_ready();
                    }
                }
                Ok(mut guard) = self.listens.readable_mut() => {
                    if drain(&self.tracer, guard.get_inner_mut()) < BATCH {
                        guard.clear_ready();
                    }
                }
                _ = ticks.tick() => self.tick(),
                Ok(mut guard) = rested(self.rests_until, &mut self.events) => {
                    let count = drain(&self.tracer, guard.get_inner_mut());
                    self.read += count;
                    if count < BATCH {
                        guard.clear_ready();
                        let is_flood = std::mem::take(&mut self.read) >= FLOOD;
                        let rest = if is_flood { SHORT_REST } else { limits::EVENTS_REST };
                        self.rests_until = clock::instant() + rest;
                    }
                }
                // The descriptors refuse to be polled: the runtime is shutting down.
                else => return,
            }
        }
    }

    fn tick(&mut self) {
        if let Some(flush) = &mut self.log {
            flush();
        }
        let now = clock::boot();
        self.tracer.rest_from_executions(now);
        if self.budget.is_due(now) {
            let over = self.budget.look(&self.tracer.costs(), now);
            over.iter().for_each(|excess| self.tracer.detach(excess));
        }
        let facts = self.tracer.facts();
        let mut state = lock(&self.tracer.state);
        state.expire(now);
        state.gaps.iter_mut().for_each(Gaps::look);
        drop(state);
        for event in self.zombies.scan(&self.tracer.state, now, &facts) {
            let _ = self.tracer.events.send(Arc::new(event));
        }
    }
}

/// Takes up to a batch of records; how many. The ring is empty if that is less than a batch.
fn drain(tracer: &Tracer, ring: &mut RingBuf<MapData>) -> usize {
    let facts = tracer.facts();
    let mut state = lock(&tracer.state);
    for count in 0..BATCH {
        let Some(record) = ring.next() else { return count };
        let Some(raw) = decode::decode(&record) else {
            tracing::warn!(bytes = record.len(), "a kernel event of unknown form");
            continue;
        };
        let head = raw.head();
        if let Some(gaps) = state.gaps.get_mut(head.kind as usize) {
            gaps.saw(head.seq);
        }
        let event = attribute::attribute(&raw, &state.register, &facts);
        // No subscriber is no error.
        let _ = tracer.events.send(Arc::new(event));
    }
    BATCH
}
