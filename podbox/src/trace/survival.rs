//! Going on with what was recorded while no podbox ran, and saying what was not.
//!
//! ```text
//!   load ── recall: cgroups of the journal ── register: those that still are containers ── settle ── reading
//!                    no counts in the maps?             not in the journal?                  the rest: tombstones
//!                            └──────── a gap ──────────────────┘
//! ```
//!
//! Invariant: a container of which something may have gone unrecorded is known as such for as long as it is known.

use super::map::Plain;
use super::pin::Found;
use super::tracer::{State, Tracer, lock};
use crate::clock;
use podbox_common::{ContainerStats, VICTIMS_KEPT, VictimKey};
use std::fmt;
use std::time::Duration;

/// What is known of the time in which no podbox ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How long that was; `None` if no podbox was there before.
    pub away: Option<Duration>,
    /// Containers that ran meanwhile and were watched all the time.
    pub watched: usize,
    /// Those that were not.
    pub unwatched: usize,
    /// The earlier podbox kept its records in another form.
    pub replaced: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away = self.away.unwrap_or_default().as_secs_f64();
        let (watched, unwatched) = (self.watched, self.unwatched);
        write!(
            f,
            "no podbox ran for {away:.1} s; {watched} containers were watched by the kernel all the while"
        )?;
        if unwatched > 0 {
            let why = match self.replaced {
                true => "the earlier podbox's BPF maps have another layout and were given up",
                false => "the earlier podbox had left no BPF maps",
            };
            write!(
                f,
                ", {unwatched} were not: what happened to their processes is known in part only ({why})"
            )?;
        }
        Ok(())
    }
}

impl Tracer {
    /// Whoever runs containers has registered all that are there: what an earlier podbox had registered beside them is gone.
    pub fn settle(&self) -> Gap {
        let now = clock::boot();
        let mut state = lock(&self.state);
        for cgroup in state.register.unclaimed() {
            state.retire(cgroup, now);
        }
        let live = || state.register.entries().filter(|(_, entry)| entry.removed.is_none());
        let unwatched = live().filter(|(_, entry)| entry.gap).count();
        let watched = live().count() - unwatched;
        state.settled = true;
        let away = self.seen.map(|seen| clock::wall().duration_since(seen).unwrap_or_default());
        Gap { away, watched, unwatched, replaced: self.found == Found::Other }
    }
}

impl State {
    /// Brings the maps together with what the journal says.
    pub fn recall(&mut self) {
        let lost: Vec<u64> = self
            .register
            .entries()
            .filter(|(cgroup, entry)| entry.removed.is_none() && self.maps.containers.get(cgroup, 0).is_err())
            .map(|(cgroup, _)| cgroup)
            .collect();
        for cgroup in lost {
            // An error shows when the engine registers it.
            let _ = self.maps.containers.insert(cgroup, Plain(ContainerStats::ZERO), 0);
            self.miss(cgroup);
        }
        let counted = self.maps.containers.keys().flatten();
        let nobodys: Vec<u64> = counted.filter(|cgroup| self.register.get(*cgroup).is_none()).collect();
        for cgroup in nobodys {
            self.clear(cgroup);
        }
    }

    /// Notes that not all of it was recorded.
    pub fn miss(&mut self, cgroup: u64) {
        self.register.miss(cgroup);
        if let (Some(journal), Some(container)) = (&mut self.journal, self.register.get(cgroup)) {
            journal.is(cgroup, container, true);
        }
    }

    /// Makes an entry a tombstone.
    pub fn retire(&mut self, cgroup: u64, now: Duration) {
        self.register.remove(cgroup, now);
        self.journal.iter_mut().for_each(|journal| journal.removed(cgroup, now));
    }

    /// Takes a cgroup's counts and victims out of the maps; what it had counted.
    pub fn clear(&mut self, cgroup: u64) -> Option<ContainerStats> {
        let _ = self.maps.firsts.remove(&cgroup);
        let stats = self.maps.containers.get(&cgroup, 0).ok()?.0;
        for slot in 0..stats.next_victim.min(VICTIMS_KEPT) {
            let _ = self.maps.victims.remove(&Plain(VictimKey { container: cgroup, slot }));
        }
        let _ = self.maps.containers.remove(&cgroup);
        Some(stats)
    }
}
