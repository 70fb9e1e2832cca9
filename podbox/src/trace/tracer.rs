//! The tracer: loaded programs, their maps, and who is who. Answers questions from the maps; the rings
//! are read by `ring`.

use super::attribute::{self, Facts, Register};
use super::budget::{Allowance, Excess};
use super::capability::{CapabilityReport, Signal};
use super::decode::Gaps;
use super::follow::Followers;
use super::journal::{Journal, Recalled};
use super::load::{self, Loaded, TraceConfig, TraceError};
use super::map::{self, Maps, Plain, Rings, Sockets};
use super::pin::{Found, Pins};
use super::snapshot::{ContainerKey, Ledger, Snapshot, Totals};
use super::standing::Skew;
use super::start::{Beginnings, Watch};
use super::timeline::Follower;
use super::zombie::Zombie;
use crate::api::attribution::{Attribution, OomVictim, OwnRole, Witnessed};
use crate::api::error::chain;
use crate::api::event::KernelEvent;
use crate::api::identity::ContainerRef;
use crate::api::process::Stat;
use crate::api::startup::Firsts;
use crate::api::zombie::{Unreaped, ZombieCause};
use crate::{clock, limits};
use aya::Ebpf;
use aya::programs::Program;
use podbox_common::{
    ContainerStats, EndKey, Kind, Loss, OomEvent, Origin, OwnProcess, ProcessKey, RawRole, VICTIMS_KEPT,
    VictimKey,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// Kernel instrumentation at work. The programs run as long as this lives.
pub struct Tracer {
    /// Holds the programs and their links.
    pub(super) ebpf: Mutex<Ebpf>,
    /// Keeps the kernel measuring the programs' cost.
    _stats: Option<OwnedFd>,
    pub(super) state: Mutex<State>,
    /// Has probes' connections watched; none where this kernel refuses the filter.
    pub(super) follower: Option<Arc<Follower>>,
    /// Who follows ordinary ends.
    pub(super) followers: Arc<Mutex<Followers>>,
    /// Until the reader takes them.
    pub(super) rings: Mutex<Option<Rings>>,
    pub(super) events: broadcast::Sender<Arc<KernelEvent>>,
    container_level: u32,
    /// Where cgroup v2 is mounted, for the standing comparison.
    pub(super) cgroup_root: Option<PathBuf>,
    /// Locked before `report`, `state` and `ebpf`.
    pub(super) executions: Mutex<Watch>,
    /// Which signals are live; what is detached later is not.
    pub(super) report: Mutex<CapabilityReport>,
    /// Programs that were detached for what they cost.
    detached: Mutex<BTreeSet<String>>,
    pub(super) allowance: Allowance,
    /// Where links are pinned, if they are.
    pins: Option<Pins>,
    /// Victims are told at all.
    oom_told: bool,
    oom_watched: bool,
    /// What an earlier podbox had pinned, and when it was last there.
    pub(super) found: Found,
    pub(super) seen: Option<SystemTime>,
}

/// What changes: under one lock, since an event must not be attributed by half an entry.
pub(super) struct State {
    pub register: Register,
    pub ledger: Ledger,
    pub maps: Maps,
    /// What the reader missed, by kind.
    pub gaps: [Gaps; Kind::ALL.len()],
    /// How what was counted differs from the kernel's own files.
    pub skew: Skew,
    /// Seconds until a cgroup has no process ids left, where they grow.
    pub pids_until: HashMap<u64, f64>,
    /// Entries of the dead that were reaped, and since when that is known.
    pub gone: HashMap<ProcessKey, Duration>,
    /// How many of them nobody told of in the end.
    pub unseen: u64,
    /// Entries of the dead that lay unreaped when last looked at.
    pub zombies: HashMap<ProcessKey, Zombie>,
    /// Containers whose beginning is being told.
    pub beginnings: Beginnings,
    /// For the next podbox, if there is to be one that goes on with this.
    pub journal: Option<Journal>,
    /// What is registered from now on has just been made; before, it was there already.
    pub settled: bool,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("container_level", &self.container_level).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads the programs and attaches what this kernel allows; goes on with what an earlier podbox has kept, if this one
    /// is to keep it too.
    pub fn load(config: TraceConfig) -> Result<(Tracer, CapabilityReport), TraceError> {
        let loaded = load::load(&config);
        give_back_memory();
        let Loaded { mut ebpf, report, filter, stats, found, pins } = loaded?;
        let (journal, Recalled { register, ledger, seen }) = journal(&config);
        let gaps = match found {
            Found::Same => Gaps::from_next(),
            Found::Nothing | Found::Other => Gaps::from_first(),
        };
        let (maps, gaps) = (Maps::take(&mut ebpf)?, [gaps; Kind::ALL.len()]);
        let rings = Rings::take(&mut ebpf)?;
        let sockets = Mutex::new(Sockets::take(&mut ebpf)?);
        let followers = Arc::new(Mutex::new(Followers::new(map::followers(&mut ebpf)?)));
        let sees_accepts = report.has(Signal::Accepts);
        let follower = filter.map(|filter| Arc::new(Follower { filter, sockets, sees_accepts }));
        let mut state = State {
            register,
            ledger,
            maps,
            gaps,
            skew: Skew::default(),
            pids_until: HashMap::new(),
            gone: HashMap::new(),
            unseen: 0,
            zombies: HashMap::new(),
            beginnings: Beginnings::default(),
            journal,
            settled: false,
        };
        state.recall();
        let tracer = Tracer {
            ebpf: Mutex::new(ebpf),
            _stats: stats,
            state: Mutex::new(state),
            follower,
            followers,
            rings: Mutex::new(Some(rings)),
            events: broadcast::Sender::new(limits::EVENTS_QUEUED),
            container_level: config.container_level,
            cgroup_root: config.cgroup_root.clone(),
            executions: Mutex::default(),
            report: Mutex::new(report.clone()),
            detached: Mutex::default(),
            allowance: config.allowance,
            pins,
            oom_told: report.has(Signal::OomVictims),
            oom_watched: report.has(Signal::OomDecision),
            found,
            seen,
        };
        tracer.own(OwnRole::Daemon, std::process::id());
        Ok((tracer, report))
    }

    /// Kernel events from now on; of processes that end well those that somebody follows ([`Tracer::follow_ends`]), and
    /// what containers began with. One who does not keep up loses the oldest, and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<KernelEvent>> {
        self.events.subscribe()
    }

    /// Whether roles and limits of OOM kills are known on this host.
    pub fn oom_watched(&self) -> bool {
        self.oom_watched
    }

    /// The containers that are there, by their cgroups.
    pub fn containers(&self) -> Vec<(u64, ContainerRef)> {
        let state = lock(&self.state);
        let live = state.register.entries().filter(|(_, entry)| entry.removed.is_none());
        live.map(|(cgroup, entry)| (cgroup, entry.container.clone())).collect()
    }

    /// All counts as of now, read from the kernel's maps.
    pub fn snapshot(&self) -> Snapshot {
        let mut state = lock(&self.state);
        state.observe_beginnings();
        let mut zombies = state.zombies_per_container();
        let runs = state.runs().map(|(cgroup, container, stats)| {
            let causes: BTreeMap<ZombieCause, u64> = zombies.remove(&cgroup).unwrap_or_default();
            let pids_until = state.pids_until.get(&cgroup).copied();
            (container, Totals { stats, zombies: causes.values().sum(), causes, pids_until })
        });
        let containers = state.ledger.totals(runs);
        let past = state.ledger.past(&containers);
        let events = Kind::ALL.map(|kind| (kind, state.maps.sequence.get(&(kind as u32), 0).unwrap_or(0)));
        let losses = Loss::ALL.map(|loss| (loss, state.maps.lost(loss)));
        let missed = Kind::ALL.map(|kind| (kind, state.gaps[kind as usize].missing()));
        let (skew, unseen) = (state.skew, state.unseen);
        let live = state.register.entries().filter(|(_, entry)| entry.removed.is_none());
        let unwatched = live.filter(|(_, entry)| entry.gap).count();
        drop(state);
        Snapshot {
            containers,
            past,
            unwatched,
            skew,
            events: events.into(),
            missed: missed.into(),
            losses: losses.into(),
            unseen,
            programs: self.costs(),
            detached: lock(&self.detached).iter().cloned().collect(),
        }
    }

    /// Which signals are live by now.
    pub fn capabilities(&self) -> CapabilityReport {
        lock(&self.report).clone()
    }

    /// Detaches a program that costs more than it is worth.
    pub(super) fn detach(&self, Excess { program, share, allowed }: &Excess) {
        let reason = format!(
            "{program} took {:.1} % of a processor, more than its {:.0} %",
            100.0 * share,
            100.0 * allowed
        );
        tracing::warn!("detached: {reason}");
        if let Some(Err(error)) = self.pins.as_ref().map(|pins| pins.detach(program)) {
            tracing::warn!(%error, "the BPF program {program} stays attached");
            return;
        }
        let mut ebpf = lock(&self.ebpf);
        let unloaded = match ebpf.program_mut(program) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            _ => Ok(()),
        };
        if let Err(error) = unloaded {
            tracing::warn!("the BPF program {program} stays loaded: {}", chain(&error));
        }
        lock(&self.report).detached(program, &reason);
        lock(&self.detached).insert(program.clone());
    }

    pub(super) fn facts(&self) -> Facts {
        let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Facts {
            oom_watched: self.oom_watched,
            boot_ns: wall.as_nanos() as i128 - clock::boot().as_nanos() as i128,
            page_bytes: page_bytes(),
        }
    }
}

/// The journal, and what it says of an earlier podbox's containers.
fn journal(config: &TraceConfig) -> (Option<Journal>, Recalled) {
    match config.keep.as_deref().map(Journal::open) {
        None => (None, Recalled::default()),
        Some(Ok((journal, recalled))) => (Some(journal), recalled),
        Some(Err(error)) => {
            tracing::warn!(%error, "whose kernel events are whose is not on file: the next podbox cannot go on with them");
            (None, Recalled::default())
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
        if state.register.get(cgroup_id) != Some(container) {
            state.journal.iter_mut().for_each(|journal| journal.is(cgroup_id, container, false));
        }
        state.register.insert(cgroup_id, container.clone());
        state.begin(cgroup_id);
        let mut counted = state.count(cgroup_id);
        if counted.is_err() && state.maps.containers.get(&cgroup_id, 0).is_err() {
            // Many containers have come and gone: what came first of them may well have no late events any more.
            state.make_room(clock::boot());
            state.begin(cgroup_id);
            counted = state.count(cgroup_id);
        }
        match counted {
            // It has processes already, of which nothing was recorded.
            Ok(()) if !state.settled => state.miss(cgroup_id),
            Ok(()) => {}
            Err(_) if state.maps.containers.get(&cgroup_id, 0).is_ok() => {}
            Err(error) => {
                tracing::error!(%container, error = %chain(&error), "kernel events of this container stay unseen");
                state.register.miss(cgroup_id);
            }
        }
        drop(state);
        self.watch_executions();
    }

    fn forget(&self, cgroup_id: u64) {
        lock(&self.state).retire(cgroup_id, clock::boot());
    }

    fn watched(&self, cgroup_id: u64) -> bool {
        let register = &lock(&self.state).register;
        self.oom_told && register.get(cgroup_id).is_some() && !register.gap(cgroup_id)
    }

    fn unreaped(&self, cgroup_id: u64) -> Unreaped {
        lock(&self.state).unreaped(cgroup_id)
    }

    fn oom_victims(&self, cgroup_id: u64) -> Vec<OomVictim> {
        let facts = self.facts();
        let state = lock(&self.state);
        state.victims(cgroup_id).map(|event| attribute::victim(&event, &state.register, &facts)).collect()
    }

    fn oom_under_way(&self) -> Option<u64> {
        let context = lock(&self.state).maps.under_way.get(&0, 0).ok()?.0;
        // The end of one may have gone unseen.
        let ago = (clock::boot().as_nanos() as u64).saturating_sub(context.began_ns);
        (context.allocator != 0 && ago < limits::OOM_KILL.as_nanos() as u64).then_some(context.began_ns)
    }

    fn firsts(&self, cgroup_id: u64) -> Option<Firsts> {
        lock(&self.state).firsts(cgroup_id)
    }

    fn end(&self, cgroup_id: u64, pid: u32) -> Option<Witnessed> {
        let facts = self.facts();
        let state = lock(&self.state);
        let key = EndKey { container: cgroup_id, tgid: pid.into() };
        let mut end = state.maps.ends.get(&Plain(key), 0).ok()?.0;
        // Since 6.16 a victim's end may be noted before it is marked as one.
        let killed = |victim: OomEvent| victim.head.tgid == pid && victim.role != RawRole::Exiting as u32;
        let by_kernel = end.sent.origin == Origin::Kernel as u32 && end.sent.signal == libc::SIGKILL as u32;
        if by_kernel && state.victims(cgroup_id).any(killed) {
            end.sent.origin = Origin::Oom as u32;
        }
        let sender = attribute::sender(&end.sent, &state.register, &facts);
        Some(Witnessed { status: end.status, at_ns: end.died_ns, sender })
    }

    fn own(&self, role: OwnRole, pid: u32) {
        let slot = match role {
            OwnRole::Daemon => 0,
            OwnRole::Keeper => 1,
        };
        let written = start_ticks(pid).and_then(|start_ticks| {
            let own = OwnProcess { tgid: pid.into(), start_ticks };
            lock(&self.state).maps.own.set(slot, Plain(own), 0).map_err(std::io::Error::other)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "podbox's own signals will be told as a host process's");
        }
    }
}

fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// When a process started, in hundredths of a second since boot.
fn start_ticks(pid: u32) -> std::io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = Stat::new(&stat).and_then(Stat::started);
    ticks.ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

/// BPF_NOEXIST: a container that is registered again keeps its counts.
pub(super) const NOEXIST: u64 = 1;

impl State {
    /// Each registered run, by its cgroup, and what was counted of it so far.
    pub fn runs(&self) -> impl Iterator<Item = (u64, &ContainerRef, ContainerStats)> {
        self.register.iter().map(|(cgroup, container)| {
            let stats = self.maps.containers.get(&cgroup, 0).map_or(ContainerStats::ZERO, |stats| stats.0);
            (cgroup, container, stats)
        })
    }

    /// The latest OOM victims of a cgroup, the oldest first.
    fn victims(&self, cgroup: u64) -> impl Iterator<Item = OomEvent> {
        let end = self.maps.containers.get(&cgroup, 0).map_or(0, |stats| stats.0.next_victim);
        (end.saturating_sub(VICTIMS_KEPT)..end).filter_map(move |number| {
            let key = VictimKey { container: cgroup, slot: number % VICTIMS_KEPT };
            Some(self.maps.victims.get(&Plain(key), 0).ok()?.0)
        })
    }

    /// Removes what was kept for late events long enough.
    pub fn expire(&mut self, now: Duration) {
        let expired = self.register.expire(now, limits::TOMBSTONE);
        self.forget(expired, now);
        let registered: BTreeSet<ContainerKey> =
            self.register.iter().map(|(_, container)| container.into()).collect();
        self.ledger.prune(&registered, now);
        self.journal.iter_mut().for_each(|journal| journal.keep(&self.register, &self.ledger));
    }

    /// Counts what happens in a cgroup, if that is not so already.
    fn count(&mut self, cgroup: u64) -> Result<(), aya::maps::MapError> {
        self.maps.containers.insert(cgroup, Plain(ContainerStats::ZERO), NOEXIST)
    }

    /// Removes the oldest of what is kept for late events, before its time.
    fn make_room(&mut self, now: Duration) {
        let oldest = self.register.expire_oldest(limits::TOMBSTONES_SPARED);
        self.forget(oldest, now);
    }

    /// Keeps the sums alone of containers that are no longer in the register.
    fn forget(&mut self, expired: Vec<(u64, ContainerRef)>, now: Duration) {
        if !expired.is_empty() {
            self.observe_beginnings();
        }
        for (cgroup, container) in expired {
            // In the journal first: who comes after this finds it counted once, here or there.
            let counted = self.maps.containers.get(&cgroup, 0).ok();
            let key = ContainerKey::from(&container);
            let carried = counted.map(|stats| (&key, self.ledger.carry(&container, &stats.0, now)));
            self.journal.iter_mut().for_each(|journal| journal.expired(cgroup, carried));
            self.clear(cgroup);
        }
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
