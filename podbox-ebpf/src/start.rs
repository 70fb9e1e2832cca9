//! How a container begins: when its first process was cloned, when that became the container's program, when it first
//! listened, was first connected to and first took a connection.
//!
//! Each is noted once; from then on a hook leaves after one look-up. Two that come first at the same time both note it,
//! nanoseconds apart. Nothing is sent: user space looks when somebody asks, and finds what happened while no podbox ran, too.

use crate::count::{current_container, now_ns};
use crate::kernel::{Sock, Task};
use crate::offsets::CONTAINER_LEVEL;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use podbox_common::Firsts;

/// By the container's cgroup. User space adds before the first process is there, and removes.
#[map]
static FIRSTS: HashMap<u64, Firsts> = HashMap::with_max_entries(4096, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// `sched_process_exec(..)`: the current process is another program from here on. Attached only while a container is about to begin.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    let container = current_container();
    if container == 0 {
        return 0;
    }
    let Some(firsts) = FIRSTS.get_ptr_mut(container) else { return 0 };
    // SAFETY: the pointer is a map's value.
    unsafe {
        if (*firsts).exec_ns == 0 {
            (*firsts).cloned_ns = first_process(container).start_ns();
            (*firsts).exec_ns = now_ns();
        }
    }
    0
}

/// The current process, or its parent where that is the container's, too: an init that starts the program.
#[inline(always)]
fn first_process(container: u64) -> Task {
    let process = Task::current().leader();
    let parent = process.parent();
    match parent.cgroup().ancestor(CONTAINER_LEVEL.load()) {
        Some(cgroup) if cgroup.id() == container => parent.leader(),
        _ => process,
    }
}

/// The container listens.
#[inline(always)]
pub fn listens(container: u64, at_ns: u64, port: u16) {
    let Some(firsts) = FIRSTS.get_ptr_mut(container) else { return };
    // SAFETY: the pointer is a map's value.
    unsafe {
        if (*firsts).listen_ns == 0 {
            (*firsts).listen_ns = at_ns;
            (*firsts).port = port.into();
        }
    }
}

/// A server's socket has a connection. It knows its cgroup; the current task may be anybody.
#[inline(always)]
pub fn connected(sock: Sock) {
    let Some(cgroup) = sock.cgroup() else { return };
    let Some(container) = cgroup.ancestor(CONTAINER_LEVEL.load()) else { return };
    let Some(firsts) = FIRSTS.get_ptr_mut(container.id()) else { return };
    // SAFETY: the pointer is a map's value.
    unsafe {
        if (*firsts).connected_ns == 0 {
            (*firsts).connected_ns = now_ns();
        }
    }
}

/// The container has taken a connection.
#[inline(always)]
pub fn accepted(container: u64) {
    let Some(firsts) = FIRSTS.get_ptr_mut(container) else { return };
    // SAFETY: the pointer is a map's value.
    unsafe {
        if (*firsts).accepted_ns == 0 {
            (*firsts).accepted_ns = now_ns();
        }
    }
}
