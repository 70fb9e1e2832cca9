//! OOM victims: who was marked, for whose limit, by whose allocation.
//!
//! `mark_victim` alone tells the victim and the trigger. The pair around `oom_kill_process` adds the limit
//! and the role, where fentry runs. The map of victims is written before the ring is tried, and, by the
//! kernel's order of things, before the victim's pidfd becomes readable: an exit that waits on the pidfd
//! and then asks the map never misses the reason.
//!
//! Who shares the victim's memory is killed after it, unmarked and uncounted: only the signal shows ([`shares`]).

use crate::count::{Counts, EEXIST, bump, current_container, lost, next_seq, now_ns, send};
use crate::kernel::{Cgroup, OomControl, Task};
use crate::offsets::CONTAINER_LEVEL;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::macros::{btf_tracepoint, fentry, fexit, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext};
use podbox_common::{
    Comm, Head, Kind, LastMark, Loss, OomContext, OomEvent, ProcessKey, RawLimit, RawRole, VICTIMS_KEPT,
    VictimKey,
};

/// Victims, apart from the flood of exits. Sized by user space.
#[map]
static OOM_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 17, 0);
/// The same, to be looked up. Allocated at start: there is no memory to be had when it is needed.
#[map]
static VICTIMS: HashMap<VictimKey, OomEvent> = HashMap::with_max_entries(8192, 0);
/// Processes that were marked: the kernel marks threads, and one process can be marked by two of them.
#[map]
static MARKED: LruHashMap<ProcessKey, u8> = LruHashMap::with_max_entries(8192, 0);
/// The kill that is under way.
#[map]
static OOM_UNDER_WAY: Array<OomContext> = Array::with_max_entries(1, 0);

/// Where an event is put together, since the stack has no room for it: by marks, and by signals, which may come in between.
#[map]
static OOM_SCRATCH: PerCpuArray<OomEvent> = PerCpuArray::with_max_entries(2, 0);
/// The victim that was marked last.
#[map]
static LAST_MARK: Array<LastMark> = Array::with_max_entries(1, 0);

/// `oom_kill_process(oc, message)` begins.
#[fentry(function = "oom_kill_process")]
pub fn oom_kill_begin(ctx: FEntryContext) -> i32 {
    let control = OomControl::new(ctx.arg(0));
    let chosen = control.chosen();
    let (limit, limit_level) = match control.limit() {
        Some(cgroup) => (cgroup.id(), cgroup.level()),
        None => (podbox_common::NO_LIMIT, 0),
    };
    let context = OomContext {
        allocator: bpf_get_current_pid_tgid(),
        limit,
        limit_pages: control.total_pages(),
        used_pages: control.used_pages(),
        began_ns: now_ns(),
        limit_level,
        chosen_tgid: chosen.tgid(),
        chosen_exiting: chosen.exiting().into(),
        reserved: 0,
    };
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        &ctx,
        "OOM kill: cgroup {} at its limit, process {} chosen",
        limit,
        context.chosen_tgid
    );
    let _ = OOM_UNDER_WAY.set(0, &context, 0);
    0
}

/// `oom_kill_process` ends: later marks by this thread are not part of it.
#[fexit(function = "oom_kill_process")]
pub fn oom_kill_end(_ctx: FExitContext) -> i32 {
    if let Some(context) = OOM_UNDER_WAY.get_ptr_mut(0) {
        // SAFETY: the pointer is a map's value; the oom_lock is held.
        unsafe { (*context).allocator = 0 };
    }
    if let Some(mark) = LAST_MARK.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (*mark).allocator = 0 };
    }
    0
}

/// `mark_victim(task, uid)`: the current task allocates, the argument dies.
#[btf_tracepoint(function = "mark_victim")]
pub fn oom_victim(ctx: BtfTracePointContext) -> i32 {
    let victim = Task::trusted(ctx.arg(0));
    remember_mark(victim);
    let cgroup = victim.cgroup();
    let Some(container) = cgroup.ancestor(CONTAINER_LEVEL.load()) else {
        return 0;
    };
    let container = container.id();
    if let Some(counts) = Counts::of(container) {
        victim_of(victim, cgroup, container, counts, None);
    }
    0
}

/// Notes whose memory is given back from here on: in which container, if any, does not matter.
#[inline(always)]
fn remember_mark(victim: Task) {
    let mark =
        LastMark { allocator: bpf_get_current_pid_tgid(), mm: victim.mm(), tgid: victim.tgid().into() };
    let _ = LAST_MARK.set(0, &mark, 0);
}

/// The kernel sends this task SIGKILL: is it for the memory that it shares with the victim that the same thread has marked
/// last?
#[inline(always)]
pub fn shares(task: Task, container: u64, counts: Counts) {
    let Some(mark) = LAST_MARK.get(0) else { return };
    if mark.allocator != bpf_get_current_pid_tgid() || mark.tgid == u64::from(task.tgid()) {
        return;
    }
    // It ends, and what its namespace holds ends with it.
    if Task::current().is_exiting() {
        return;
    }
    // The kernel signals the leader, which may be gone while other threads have the memory: then only the killer is at work.
    let mm = task.mm();
    let under_way = OOM_UNDER_WAY.get(0).is_some_and(|context| context.allocator == mark.allocator);
    if mm == mark.mm || (mm == 0 && under_way) {
        victim_of(task, task.cgroup(), container, counts, Some(RawRole::Sharing));
    }
}

/// Whether the killer took this process.
#[inline(always)]
pub fn is_marked(process: &ProcessKey) -> bool {
    MARKED.get_ptr(process).is_some()
}

#[inline(always)]
fn victim_of(victim: Task, cgroup: Cgroup, container: u64, counts: Counts, known: Option<RawRole>) {
    let leader = victim.leader();
    let tgid = victim.tgid();
    let key = ProcessKey { tgid: tgid.into(), start_ns: leader.start_ns() };
    // After any other error it might be told twice, should it be marked twice: better than not at all.
    if MARKED.insert(&key, &1, BPF_NOEXIST.into()) == Err(EEXIST) {
        return;
    }
    let allocator = bpf_get_current_pid_tgid();
    let context = OOM_UNDER_WAY.get(0).filter(|context| context.allocator == allocator);
    let role = match (known, context) {
        (Some(role), _) => role,
        (None, Some(context)) => role_of(context, tgid),
        (None, None) => RawRole::Unwatched,
    };
    let limit_kind = context.map_or(RawLimit::Unknown, |context| limit_of(context, cgroup));
    let head = Head {
        kind: Kind::Oom as u32,
        tgid,
        seq: next_seq(Kind::Oom),
        at_ns: now_ns(),
        container,
        leaf: cgroup.id(),
        ns_pid: leader.ns_pid(),
        reserved: 0,
        comm: leader.comm(),
    };
    let Some(event) = OOM_SCRATCH.get_ptr_mut(known.is_some().into()) else { return };
    // Field by field, and read back from there: older verifiers walk through each loop of a copy, and through all that
    // follows once for each role and limit that they know.
    // SAFETY: a map's value that is this CPU's alone: marks and signals are not interrupted by their own kind. The helper
    // writes as many bytes as it is told.
    let (event, role, limit_kind) = unsafe {
        (*event).head = head;
        (&raw mut (*event).role).write_volatile(role as u32);
        (&raw mut (*event).limit_kind).write_volatile(limit_kind as u32);
        let of = |field: fn(&OomContext) -> u64| context.map_or(0, field);
        (&raw mut (*event).limit).write_volatile(of(|context| context.limit));
        (&raw mut (*event).limit_pages).write_volatile(of(|context| context.limit_pages));
        (&raw mut (*event).used_pages).write_volatile(of(|context| context.used_pages));
        (&raw mut (*event).kill_ns).write_volatile(of(|context| context.began_ns));
        (*event).total_vm_pages = victim.total_vm_pages();
        (*event).rss_pages = victim.rss_pages();
        (*event).trigger_tgid = (allocator >> 32) as u32;
        (*event).reserved = 0;
        let comm = (&raw mut (*event).trigger_comm).cast();
        let _ = bpf_get_current_comm(comm, size_of::<Comm>() as u32);
        (*event).trigger_container = current_container();
        let (role, limit_kind) =
            ((&raw const (*event).role).read_volatile(), (&raw const (*event).limit_kind).read_volatile());
        (&*event, role as usize, limit_kind as usize)
    };
    if role >= RawRole::COUNT || limit_kind >= RawLimit::COUNT {
        return;
    }
    // SAFETY: the pointers are a map's value.
    let number = unsafe {
        bump!(counts, oom_victims[role]);
        bump!(counts, oom_limits[limit_kind]);
        bump!(counts, next_victim)
    };
    let key = VictimKey { container, slot: number % VICTIMS_KEPT };
    if VICTIMS.insert(&key, event, 0).is_err() {
        lost(Loss::VictimRecord);
    }
    send(&OOM_EVENTS, event, Loss::OomEvent);
}

#[inline(always)]
fn role_of(context: &OomContext, tgid: u32) -> RawRole {
    if context.chosen_tgid != tgid {
        RawRole::Group
    } else if context.chosen_exiting == 1 {
        RawRole::Exiting
    } else {
        RawRole::Chosen
    }
}

/// Whose limit it is to this victim. One that shares memory with another may be elsewhere.
#[inline(always)]
fn limit_of(context: &OomContext, cgroup: Cgroup) -> RawLimit {
    if context.limit == podbox_common::NO_LIMIT {
        return RawLimit::Node;
    }
    match cgroup.ancestor(context.limit_level) {
        Some(ancestor) if ancestor.id() == context.limit => {
            RawLimit::at(context.limit_level, CONTAINER_LEVEL.load())
        }
        _ => RawLimit::Elsewhere,
    }
}
