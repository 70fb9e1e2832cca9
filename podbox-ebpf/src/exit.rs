//! Processes that end: the exit event, the exit counts, and the entry among the dead that `reap` removes.

use crate::count::{Counts, bump, current_container, lost, next_seq, now_ns, send};
use crate::kernel::Task;
use crate::reap::remember;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::BtfTracePointContext;
use podbox_common::{Dead, ExitEvent, Head, Kind, Loss, ProcessKey, SIGNALS};

/// Exits and reapings. Sized by user space.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

const EEXIST: i32 = -17;

/// `sched_process_exit(task, ..)`: the current task, a thread, is exiting.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    // Outside pods: one helper and at most one look-up.
    let container = current_container();
    if container == 0 {
        return 0;
    }
    if let Some(counts) = Counts::of(container) {
        exited(Task::trusted(ctx.arg(0)), container, counts);
    }
    0
}

#[inline(always)]
fn exited(task: Task, container: u64, counts: Counts) {
    if !task.group_dead() {
        return;
    }
    let leader = task.leader();
    let tgid = task.tgid();
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
        Err(_) => lost(Loss::DeadRecord),
    }
    let status = task.wait_status();
    count(counts, status);
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
    send(&EVENTS, &ExitEvent { head, status, reserved: 0 }, Loss::ExitEvent);
}

#[inline(always)]
fn count(counts: Counts, status: u32) {
    let signal = (status & 0x7f) as usize;
    // SAFETY: the pointers are a map's value.
    unsafe {
        if signal == 0 && status == 0 {
            bump!(counts, exits_success);
        } else if signal == 0 {
            bump!(counts, exits_error);
        } else if signal < SIGNALS {
            bump!(counts, exits_signal[signal]);
        }
    }
}
