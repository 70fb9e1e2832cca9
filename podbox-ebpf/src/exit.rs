//! Processes that end: the exit event, the exit counts, and the entry among the dead that `reap` removes.

use crate::count::{Counts, EEXIST, bump, current_container, lost, next_seq, now_ns};
use crate::kernel::Typed;
use crate::offsets::CONTAINER_LEVEL;
use crate::reap::remember;
use crate::signal::sender_of;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, LruHashMap, RingBuf};
use aya_ebpf::programs::BtfTracePointContext;
use podbox_common::{
    Dead, EndKey, EndRecord, ExitEvent, FOLLOWER_SLOTS, Head, Kind, Loss, Origin, ProcessKey, SIGNALS, Sent,
    follower_slot,
};

/// Exits and reapings. Sized by user space. A record wakes the reader only where the reader has read all before it, and it reads
/// after a rest: a wake-up costs as much as ten exits.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// How containers' first processes ended, and commands that podbox ran: those whose parent is in no container. So no flood of
/// processes inside crowds them out.
#[map]
static ENDS: LruHashMap<EndKey, EndRecord> = LruHashMap::with_max_entries(4096, 0);
/// Processes that found no room among the dead, so that the second of two last threads tells nothing here either.
#[map]
static UNREMEMBERED: LruHashMap<ProcessKey, u8> = LruHashMap::with_max_entries(1024, 0);

/// How many follow ordinary ends. User space writes it.
#[map]
static FOLLOWERS: Array<u32> = Array::with_max_entries(FOLLOWER_SLOTS, 0);

/// `sched_process_exit(task, ..)`: the current task, a thread, is exiting.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    // Outside pods: one helper and at most one look-up.
    let container = current_container();
    if container == 0 {
        return 0;
    }
    if let Some(counts) = Counts::of(container) {
        exited(Typed::argument(ctx.arg(0)), container, counts);
    }
    0
}

#[inline(always)]
fn exited(task: Typed, container: u64, counts: Counts) {
    if !task.group_dead() {
        return;
    }
    let leader = task.leader();
    let (_, tgid) = task.ids();
    let at_ns = now_ns();
    // SAFETY: a helper without pointers.
    let leaf = unsafe { bpf_get_current_cgroup_id() };
    let (ns_pid, comm) = (leader.ns_pid(), leader.comm());
    let key = ProcessKey { tgid: tgid.into(), start_ns: leader.start_ns() };
    let dead = Dead { container, leaf, died_ns: at_ns, ns_pid, reserved: 0, comm };
    match remember(&key, &dead) {
        Ok(()) => {}
        // Two last threads may both see the group dead: the first one tells.
        Err(EEXIST) => return,
        Err(_) if UNREMEMBERED.insert(&key, &1, BPF_NOEXIST.into()) == Err(EEXIST) => return,
        Err(_) => lost(Loss::DeadRecord),
    }
    let status = task.wait_status();
    let signal = status & 0x7f;
    let sent = if signal == 0 { Sent::default() } else { sender_of(&key, signal) };
    count(counts, status, sent.origin);
    let first = is_first(leader);
    if first {
        let end = EndRecord { died_ns: at_ns, status, reserved: 0, sent };
        if ENDS.insert(&EndKey { container, tgid: tgid.into() }, &end, 0).is_err() {
            lost(Loss::EndRecord);
        }
    }
    // A record costs as much as all of this, and hardly anybody reads that an ordinary process ended well.
    if !first && status == 0 && !is_followed(container) {
        return;
    }
    let head = Head {
        kind: Kind::Exit as u32,
        tgid,
        seq: next_seq(Kind::Exit),
        at_ns,
        container,
        leaf,
        ns_pid,
        reserved: 0,
        comm,
    };
    // Written where it goes: the stack has no room for another copy.
    match EVENTS.reserve::<ExitEvent>(0) {
        Some(mut event) => {
            event.write(ExitEvent { head, status, reserved: 0, sent });
            event.submit(0);
        }
        None => lost(Loss::ExitEvent),
    }
}

/// Somebody follows the ends in this container.
#[inline(always)]
fn is_followed(container: u64) -> bool {
    FOLLOWERS.get(follower_slot(container)).is_some_and(|count| *count != 0)
}

/// Its parent is in no container.
#[inline(always)]
fn is_first(leader: Typed) -> bool {
    let parent = leader.parent();
    // Most are children of the container's own processes.
    if parent.is_beside(leader) {
        return false;
    }
    match parent.task().cgroup().ancestor(CONTAINER_LEVEL.load()) {
        Some(cgroup) => Counts::of(cgroup.id()).is_none(),
        None => true,
    }
}

#[inline(always)]
fn count(counts: Counts, status: u32, origin: u32) {
    let signal = (status & 0x7f) as usize;
    // SAFETY: the pointers are a map's value.
    unsafe {
        if signal == 0 && status == 0 {
            bump!(counts, exits_success);
        } else if signal == 0 {
            bump!(counts, exits_error);
        } else if signal < SIGNALS {
            bump!(counts, exits_signal[signal]);
            let origin = origin as usize;
            if origin < Origin::ALL.len() {
                bump!(counts, signalled_by[origin]);
            }
        }
    }
}
