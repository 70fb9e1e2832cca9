//! Sockets that begin to listen, and that end it: the moments at which a probe is worth its while.
//!
//! The kernel tells LISTEN just before a connection can find the socket, so who connects at once may still be refused.
//! Whoever makes or closes the socket is the current task; a descriptor that outlived its container is closed by
//! somebody else, and then nobody tells. Neither is a fault: the event is a hint, the probe asks.

use crate::count::{Counts, current_container, next_seq, now_ns, send};
use crate::kernel::{Sock, Task};
use crate::start;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::BtfTracePointContext;
use podbox_common::{Head, Kind, ListenEvent, Loss};

/// Apart from exits, since a probe waits for them: some hundreds.
#[map]
static LISTEN_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// The kernel's TCP_ESTABLISHED, TCP_SYN_RECV and TCP_LISTEN.
const ESTABLISHED: i32 = 1;
const SYN_RECV: i32 = 3;
const LISTEN: i32 = 10;
const IPPROTO_TCP: u16 = 6;

/// `inet_sock_set_state(sk, oldstate, newstate)`: every change of every connection of the host comes by here.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let (before, after): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    if before != LISTEN && after != LISTEN {
        // A server's side of a connection is whole; whoever is current may have nothing to do with it.
        if before == SYN_RECV && after == ESTABLISHED {
            start::connected(Sock::new(ctx.arg(0)));
        }
        return 0;
    }
    let container = current_container();
    if container != 0 && Counts::of(container).is_some() {
        changed(Sock::new(ctx.arg(0)), container, after == LISTEN);
    }
    0
}

#[inline(always)]
fn changed(sock: Sock, container: u64, listening: bool) {
    // SCTP, DCCP and the outer sockets of MPTCP come by here too.
    if sock.protocol() != IPPROTO_TCP {
        return;
    }
    let head = Head {
        kind: Kind::Listen as u32,
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        seq: next_seq(Kind::Listen),
        at_ns: now_ns(),
        container,
        // SAFETY: a helper without pointers.
        leaf: unsafe { bpf_get_current_cgroup_id() },
        ns_pid: Task::current().leader().ns_pid(),
        reserved: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    if listening {
        start::listens(container, head.at_ns, sock.port());
    }
    let event = ListenEvent { head, port: sock.port(), family: sock.family(), listening: listening.into() };
    send(&LISTEN_EVENTS, &event, Loss::ListenEvent);
}
