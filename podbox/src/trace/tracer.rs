//! The tracer: loaded programs, their maps, and who is who. Answers questions from the maps; the rings
//! are read by `ring`.

use super::attribute::{self, Facts, Register};
use super::capability::{CapabilityReport, Signal};
use super::decode::Gaps;
use super::load::{self, Loaded, TraceConfig, TraceError};
use super::map::{Maps, Plain, Rings, Sockets};
use super::snapshot::{ContainerKey, Ledger, ProgramCost, Snapshot, Totals};
use super::timeline::Follower;
use crate::api::attribution::{Attribution, OomVictim};
use crate::api::error::chain;
use crate::api::event::KernelEvent;
use crate::api::identity::ContainerRef;
use crate::{clock, limits};
use aya::Ebpf;
use aya::programs::ProgramInfo;
use podbox_common::{ContainerStats, Dead, Kind, Loss, ProcessKey, VICTIMS_KEPT, VictimKey, ZOMBIE_AFTER_NS};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::broadcast;

/// Kernel instrumentation at work. The programs run as long as this lives.
pub struct Tracer {
    /// Holds the programs and their links.
    ebpf: Mutex<Ebpf>,
    /// Keeps the kernel measuring the programs' cost.
    _stats: Option<OwnedFd>,
    pub(super) state: Mutex<State>,
    /// Has probes' connections watched; none where this kernel refuses the filter.
    pub(super) follower: Option<Arc<Follower>>,
    /// Until the reader takes them.
    pub(super) rings: Mutex<Option<Rings>>,
    pub(super) events: broadcast::Sender<Arc<KernelEvent>>,
    container_level: u32,
    oom_watched: bool,
}

/// What changes: under one lock, since an event must not be attributed by half an entry.
pub(super) struct State {
    pub register: Register,
    pub ledger: Ledger,
    pub maps: Maps,
    /// What the reader missed, by kind.
    pub gaps: [Gaps; Kind::ALL.len()],
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("container_level", &self.container_level).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads the programs and attaches what this kernel allows.
    pub fn load(config: TraceConfig) -> Result<(Tracer, CapabilityReport), TraceError> {
        let loaded = load::load(&config);
        give_back_memory();
        let Loaded { mut ebpf, report, filter, stats } = loaded?;
        let maps = Maps::take(&mut ebpf)?;
        let rings = Rings::take(&mut ebpf)?;
        let sockets = Mutex::new(Sockets::take(&mut ebpf)?);
        let sees_accepts = report.has(Signal::Accepts);
        let follower = filter.map(|filter| Arc::new(Follower { filter, sockets, sees_accepts }));
        let gaps = [Gaps::default(); Kind::ALL.len()];
        let state = State { register: Register::default(), ledger: Ledger::default(), maps, gaps };
        let tracer = Tracer {
            ebpf: Mutex::new(ebpf),
            _stats: stats,
            state: Mutex::new(state),
            follower,
            rings: Mutex::new(Some(rings)),
            events: broadcast::Sender::new(limits::EVENTS_QUEUED),
            container_level: config.container_level,
            oom_watched: report.has(Signal::OomDecision),
        };
        Ok((tracer, report))
    }

    /// Kernel events from now on. One who does not keep up loses the oldest, and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<KernelEvent>> {
        self.events.subscribe()
    }

    /// Whether roles and limits of OOM kills are known on this host.
    pub fn oom_watched(&self) -> bool {
        self.oom_watched
    }

    /// All counts as of now, read from the kernel's maps.
    pub fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        let zombies = state.zombies_per_container(clock::boot());
        let runs = state.register.iter().map(|(cgroup, container)| {
            let stats = state.maps.containers.get(&cgroup, 0).map_or(ContainerStats::ZERO, |stats| stats.0);
            (container, Totals { stats, zombies: zombies.get(&cgroup).copied().unwrap_or(0) })
        });
        let containers = state.ledger.totals(runs);
        let events = Kind::ALL.map(|kind| (kind, state.maps.sequence.get(&(kind as u32), 0).unwrap_or(0)));
        let losses = Loss::ALL.map(|loss| (loss, state.maps.lost(loss)));
        let missed = Kind::ALL.map(|kind| (kind, state.gaps[kind as usize].missing()));
        drop(state);
        Snapshot {
            containers,
            events: events.into(),
            missed: missed.into(),
            losses: losses.into(),
            programs: self.costs(),
        }
    }

    /// What each program cost since it was loaded.
    pub fn costs(&self) -> Vec<ProgramCost> {
        let ebpf = lock(&self.ebpf);
        let cost = |(name, program): (&str, &aya::programs::Program)| {
            let info: ProgramInfo = program.info().ok()?;
            Some(ProgramCost { program: name.to_owned(), runs: info.run_count(), time: info.run_time() })
        };
        let mut costs: Vec<ProgramCost> = ebpf.programs().filter_map(cost).collect();
        costs.sort_by(|a, b| a.program.cmp(&b.program));
        costs
    }

    pub(super) fn facts(&self) -> Facts {
        let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Facts {
            container_level: self.container_level,
            oom_watched: self.oom_watched,
            boot_ns: wall.as_nanos() as i128 - clock::boot().as_nanos() as i128,
        }
    }
}

/// Reading the kernel's types takes tens of megabytes for a moment, which the allocator would keep.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers; the allocator locks its own arenas.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Attribution for Tracer {
    fn register(&self, cgroup_id: u64, container: &ContainerRef) {
        let mut state = lock(&self.state);
        state.register.insert(cgroup_id, container.clone());
        if let Err(error) = state.maps.containers.insert(cgroup_id, Plain(ContainerStats::ZERO), NOEXIST)
            && state.maps.containers.get(&cgroup_id, 0).is_err()
        {
            tracing::error!(%container, error = %chain(&error), "kernel events of this container stay unseen");
        }
    }

    fn forget(&self, cgroup_id: u64) {
        lock(&self.state).register.remove(cgroup_id, clock::boot());
    }

    fn oom_victims(&self, cgroup_id: u64) -> Vec<OomVictim> {
        let facts = self.facts();
        let state = lock(&self.state);
        let Ok(stats) = state.maps.containers.get(&cgroup_id, 0) else {
            return Vec::new();
        };
        let end = stats.0.next_victim;
        let victim = |number: u64| {
            let key = VictimKey { container: cgroup_id, slot: number % VICTIMS_KEPT };
            let event = state.maps.victims.get(&Plain(key), 0).ok()?;
            Some(attribute::victim(&event.0, &facts))
        };
        (end.saturating_sub(VICTIMS_KEPT)..end).filter_map(victim).collect()
    }
}

/// BPF_NOEXIST: a container that is registered again keeps its counts.
const NOEXIST: u64 = 1;

impl State {
    /// Removes what was kept for late events long enough.
    pub fn expire(&mut self, now: Duration) {
        let expired = self.register.expire(now, limits::TOMBSTONE);
        if expired.is_empty() {
            return;
        }
        for (cgroup, container) in &expired {
            let Ok(stats) = self.maps.containers.get(cgroup, 0) else { continue };
            self.ledger.carry(container, &stats.0);
            for slot in 0..stats.0.next_victim.min(VICTIMS_KEPT) {
                let _ = self.maps.victims.remove(&Plain(VictimKey { container: *cgroup, slot }));
            }
            let _ = self.maps.containers.remove(cgroup);
        }
        let registered: BTreeSet<ContainerKey> =
            self.register.iter().map(|(_, container)| container.into()).collect();
        self.ledger.prune(&registered);
    }

    /// The dead that have lain unreaped long enough to be called zombies.
    pub fn zombies(&self, now: Duration) -> HashMap<ProcessKey, Dead> {
        let now_ns = now.as_nanos() as u64;
        // Entries come and go while the map is walked, and the walk may begin anew: hence the bound, and
        // a map to take each one once.
        let entries = self.maps.dead.iter().take(limits::ZOMBIES_READ).flatten();
        let old = entries.filter(|(_, dead)| now_ns.saturating_sub(dead.0.died_ns) > ZOMBIE_AFTER_NS);
        old.map(|(key, dead)| (key.0, dead.0)).collect()
    }

    fn zombies_per_container(&self, now: Duration) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for dead in self.zombies(now).values() {
            *counts.entry(dead.container).or_default() += 1;
        }
        counts
    }
}

impl Maps {
    fn lost(&self, loss: Loss) -> u64 {
        self.losses.get(&(loss as u32), 0).map_or(0, |per_cpu| per_cpu.iter().sum())
    }
}

/// A lock whose holder panicked still guards whole values: every change here is a single insert or remove.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
