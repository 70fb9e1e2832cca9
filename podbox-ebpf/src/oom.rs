//! OOM victims: who was marked, for whose limit, by whose allocation.
//!
//! `mark_victim` alone tells the victim and the trigger. The pair around `oom_kill_process` adds the limit
//! and the role, where fentry runs. The map of victims is written before the ring is tried, and, by the
//! kernel's order of things, before the victim's pidfd becomes readable: an exit that waits on the pidfd
//! and then asks the map never misses the reason.

use crate::count::{Counts, bump, current_container, lost, next_seq, now_ns, send};
use crate::kernel::{OomControl, Task};
use crate::offsets::CONTAINER_LEVEL;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::{btf_tracepoint, fentry, fexit, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, RingBuf};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext};
use podbox_common::{Head, Kind, Loss, OomContext, OomEvent, ProcessKey, RawRole, VICTIMS_KEPT, VictimKey};

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
    0
}

/// `mark_victim(task, uid)`: the current task allocates, the argument dies.
#[btf_tracepoint(function = "mark_victim")]
pub fn oom_victim(ctx: BtfTracePointContext) -> i32 {
    let victim = Task::trusted(ctx.arg(0));
    let cgroup = victim.cgroup();
    let Some(container) = cgroup.ancestor(CONTAINER_LEVEL.load()) else {
        return 0;
    };
    let container = container.id();
    if let Some(counts) = Counts::of(container) {
        marked(victim, cgroup.id(), container, counts);
    }
    0
}

#[inline(always)]
fn marked(victim: Task, leaf: u64, container: u64, counts: Counts) {
    let leader = victim.leader();
    let tgid = victim.tgid();
    let key = ProcessKey { tgid: tgid.into(), start_ns: leader.start_ns() };
    if MARKED.insert(&key, &1, BPF_NOEXIST.into()).is_err() {
        return;
    }
    let allocator = bpf_get_current_pid_tgid();
    let context = OOM_UNDER_WAY.get(0).filter(|context| context.allocator == allocator);
    let role = context.map_or(RawRole::Unwatched, |context| role(context, tgid));
    let head = Head {
        kind: Kind::Oom as u32,
        tgid,
        seq: next_seq(Kind::Oom),
        at_ns: now_ns(),
        container,
        leaf,
        ns_pid: leader.ns_pid(),
        reserved: 0,
        comm: leader.comm(),
    };
    let event = OomEvent {
        head,
        role: role as u32,
        limit_level: context.map_or(0, |context| context.limit_level),
        limit: context.map_or(0, |context| context.limit),
        limit_pages: context.map_or(0, |context| context.limit_pages),
        total_vm_pages: victim.total_vm_pages(),
        trigger_tgid: (allocator >> 32) as u32,
        reserved: 0,
        trigger_comm: bpf_get_current_comm().unwrap_or_default(),
        trigger_container: current_container(),
    };
    // SAFETY: the pointers are a map's value.
    let number = unsafe {
        bump!(counts, oom_victims[role as usize]);
        bump!(counts, next_victim)
    };
    let key = VictimKey { container, slot: number % VICTIMS_KEPT };
    if VICTIMS.insert(&key, &event, 0).is_err() {
        lost(Loss::VictimRecord);
    }
    send(&OOM_EVENTS, &event, Loss::OomEvent);
}

#[inline(always)]
fn role(context: &OomContext, tgid: u32) -> RawRole {
    if context.chosen_tgid != tgid {
        RawRole::Group
    } else if context.chosen_exiting == 1 {
        RawRole::Exiting
    } else {
        RawRole::Chosen
    }
}
