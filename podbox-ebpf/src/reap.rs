//! The dead that get reaped: how long each lay there, and who took it away.
//!
//! Every process is briefly a zombie, so lifetimes of all are counted, and only those that lay long enough
//! to be called zombies make an event. `zombie_released` is exact and knows the reaper; where fentry is
//! refused, `zombie_freed` sees the same a grace period later.

use crate::count::{Counts, add, bump, next_seq, now_ns, send};
use crate::exit::EVENTS;
use crate::kernel::Typed;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::{btf_tracepoint, fentry, map};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext};
use podbox_common::{
    Comm, Dead, Head, Kind, LIFETIME_BOUNDS_NS, Loss, ProcessKey, ReapEvent, ZOMBIE_AFTER_NS,
};

/// Processes dead and not yet reaped. Allocated at start: exits must not wait for memory.
#[map]
static DEAD: HashMap<ProcessKey, Dead> = HashMap::with_max_entries(16384, 0);

/// How many entries `DEAD` has, in all (slot 0) and by the process id's low bits: most processes of the
/// host are then known to be in it not, without a look-up, nor, mostly, a look at the cold task. May be too
/// high (user space removes entries without telling), never too low.
#[map]
static DEAD_HINT: Array<u64> = Array::with_max_entries(HINT_SLOTS + 1, 0);

const HINT_SLOTS: u32 = 1024;

fn hint_slot(tgid: u32) -> u32 {
    1 + tgid % HINT_SLOTS
}

#[inline(always)]
fn hint(slot: u32) -> u64 {
    DEAD_HINT.get(slot).copied().unwrap_or(0)
}

#[inline(always)]
fn change_hint(slot: u32, change: i64) {
    if let Some(cell) = DEAD_HINT.get_ptr_mut(slot) {
        // SAFETY: the pointer is a map's value.
        unsafe { add(cell, change as u64) };
    }
}

/// Remembers a process that just died. Err is the kernel's: it is there already, or there is no room.
#[inline(always)]
pub fn remember(key: &ProcessKey, dead: &Dead) -> Result<(), i32> {
    let slot = hint_slot(key.tgid as u32);
    // Before the entry is there, so that whoever finds the hint low finds no entry.
    change_hint(0, 1);
    change_hint(slot, 1);
    let inserted = DEAD.insert(key, dead, BPF_NOEXIST.into());
    if inserted.is_err() {
        change_hint(0, -1);
        change_hint(slot, -1);
    }
    inserted
}

/// `release_task(task)`: the current task takes the dead one away.
#[fentry(function = "release_task")]
pub fn zombie_released(ctx: FEntryContext) -> i32 {
    if let Some((key, dead)) = find(Typed::argument(ctx.arg(0))) {
        let reaper = (bpf_get_current_pid_tgid() >> 32) as u32;
        reaped(key, dead, reaper, bpf_get_current_comm().unwrap_or_default());
    }
    0
}

/// `sched_process_free(task)`: its last traces go. Current is anybody.
#[btf_tracepoint(function = "sched_process_free")]
pub fn zombie_freed(ctx: BtfTracePointContext) -> i32 {
    if let Some((key, dead)) = find(Typed::argument(ctx.arg(0))) {
        reaped(key, dead, 0, [0; 16]);
    }
    0
}

/// Outside pods: one load while no container has unreaped dead, two more while some have.
#[inline(always)]
fn find(task: Typed) -> Option<(ProcessKey, Dead)> {
    if hint(0) == 0 {
        return None;
    }
    let (pid, tgid) = task.ids();
    if pid != tgid || hint(hint_slot(tgid)) == 0 {
        return None;
    }
    let key = ProcessKey { tgid: tgid.into(), start_ns: task.start_ns() };
    // SAFETY: the entry is removed by nobody else while its task is being taken away.
    let dead = unsafe { DEAD.get(&key) }?;
    Some((key, *dead))
}

#[inline(always)]
fn reaped(key: ProcessKey, dead: Dead, reaper_tgid: u32, reaper_comm: Comm) {
    // Only the one that removes it counts: user space removes what it finds gone, and what the kernel's lock did not let be
    // removed here.
    if DEAD.remove(&key).is_err() {
        return;
    }
    change_hint(0, -1);
    change_hint(hint_slot(key.tgid as u32), -1);
    let at_ns = now_ns();
    let lifetime_ns = at_ns.saturating_sub(dead.died_ns);
    if let Some(counts) = Counts::of(dead.container) {
        count(counts, lifetime_ns);
    }
    if lifetime_ns < ZOMBIE_AFTER_NS {
        return;
    }
    let head = Head {
        kind: Kind::Reap as u32,
        tgid: key.tgid as u32,
        seq: next_seq(Kind::Reap),
        at_ns,
        container: dead.container,
        leaf: dead.leaf,
        ns_pid: dead.ns_pid,
        reserved: 0,
        comm: dead.comm,
    };
    let event = ReapEvent { head, died_ns: dead.died_ns, reaper_tgid, reserved: 0, reaper_comm };
    send(&EVENTS, &event, Loss::ReapEvent);
}

#[inline(always)]
fn count(counts: Counts, lifetime_ns: u64) {
    let mut bucket = 0;
    while bucket < LIFETIME_BOUNDS_NS.len() && lifetime_ns > LIFETIME_BOUNDS_NS[bucket] {
        bucket += 1;
    }
    // SAFETY: the pointers are a map's value.
    unsafe {
        bump!(counts, reaped);
        add(&raw mut (*counts.as_ptr()).lifetime_sum_ns, lifetime_ns);
        bump!(counts, lifetime_buckets[bucket]);
    }
}
