//! Signals that may end a process: who sent them. What a process dies of is known at its end only, and who sent that is not
//! known any more then; so each is noted as it is sent, and `exit` looks the one up that it was.
//!
//! Every signal of the host comes by here. Those that end nobody (SIGCHLD above all) leave at once, those that a process
//! handles or ignores after a few loads. Nothing is decided here, and no signal is held up.

use crate::count::{Counts, lost, now_ns};
use crate::kernel::{SigInfo, Task};
use crate::offsets::CONTAINER_LEVEL;
use crate::oom;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::BtfTracePointContext;
use podbox_common::{Loss, Origin, OwnProcess, ProcessKey, Sent, SentKey, TICK_NS};

/// Signals on their way to processes of containers. Those that end nobody after all make room for others in their turn.
#[map]
static SENT: LruHashMap<SentKey, Sent> = LruHashMap::with_max_entries(8192, 0);
/// podbox's own processes: the daemon and the keeper. User space writes it.
#[map]
static OWN_PROCESSES: Array<OwnProcess> = Array::with_max_entries(2, 0);

/// Signals that end a process which does not handle them, by bits from 1 on: all but CHLD, CONT, STOP, TSTP, TTIN, TTOU,
/// URG and WINCH.
const ENDING: u64 = !(bit(17) | bit(18) | bit(19) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28));
const SIGILL: u32 = 4;
const SIGBUS: u32 = 7;
const SIGFPE: u32 = 8;
const SIGKILL: u32 = 9;
const SIGSEGV: u32 = 11;
const SIGSYS: u32 = 31;
/// The kernel's TRACE_SIGNAL_DELIVERED, and TRACE_SIGNAL_LOSE_INFO: it is on its way.
const DELIVERED: i32 = 0;
const WITHOUT_INFO: i32 = 4;
/// `si_code` of signals of the process's own timers and descriptors: whoever is current did not send them.
const SI_TIMER: i32 = -2;
const SI_SIGIO: i32 = -5;

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// `signal_generate(sig, info, task, group, result)`: the current task sends.
#[btf_tracepoint(function = "signal_generate")]
pub fn signal_sent(ctx: BtfTracePointContext) -> i32 {
    let (signal, result): (u32, i32) = (ctx.arg(0), ctx.arg(4));
    if signal == 0 || signal > 64 || ENDING & (1 << (signal - 1)) == 0 {
        return 0;
    }
    if result != DELIVERED && result != WITHOUT_INFO {
        return 0;
    }
    let task = Task::trusted(ctx.arg(2));
    let Some(container) = task.cgroup_direct().ancestor(CONTAINER_LEVEL.load()) else { return 0 };
    let container = container.id();
    if let Some(counts) = Counts::of(container) {
        let info = SigInfo::new(ctx.arg(1));
        if signal == SIGKILL && info.is_kernels() {
            oom::shares(task, container, counts);
        }
        if task.leaves_to_kernel(signal) {
            note(task, container, signal, info);
        }
    }
    0
}

#[inline(always)]
fn note(task: Task, container: u64, signal: u32, info: SigInfo) {
    let sender = Task::current().leader();
    let (tgid, sender_tgid) = (task.tgid(), sender.tgid());
    let code = if info.is_none() || info.is_kernels() { 0 } else { info.code() };
    let sender_container = match sender.cgroup().ancestor(CONTAINER_LEVEL.load()) {
        Some(cgroup) => cgroup.id(),
        None => 0,
    };
    let is_kernels = info.is_kernels()
        || code > 0
        || code == SI_TIMER
        || code == SI_SIGIO
        || (info.is_none() && tgid == sender_tgid);
    let origin = if is_kernels {
        let ends =
            signal == SIGKILL && info.is_kernels() && tgid != sender_tgid && Task::current().is_exiting();
        if ends { Origin::Namespace } else { Origin::Kernel }
    } else if tgid == sender_tgid {
        Origin::Itself
    } else if sender_container == container {
        Origin::Inside
    } else if is_own(sender, 0) || is_own(sender, 1) || (sender_container == 0 && is_own(sender.parent(), 1))
    {
        Origin::Podbox
    } else if sender_container != 0 && Counts::of(sender_container).is_some() {
        Origin::Beside
    } else {
        Origin::Host
    };
    let detail = match signal {
        SIGILL | SIGBUS | SIGFPE | SIGSEGV if code > 0 => info.address(),
        SIGSYS if code > 0 => u64::from(info.syscall()),
        _ => 0,
    };
    // Whoever is current while the kernel sends one has nothing to do with it.
    let (tgid_told, container_told) = match origin {
        Origin::Kernel => (0, 0),
        _ => (sender_tgid, sender_container),
    };
    let sent = Sent {
        at_ns: now_ns(),
        container: container_told,
        detail,
        tgid: tgid_told,
        signal,
        code,
        origin: origin as u32,
        comm: sender.comm(),
    };
    let key = SentKey { tgid: tgid.into(), start_ns: task.leader().start_ns(), signal: signal.into() };
    if SENT.insert(&key, &sent, 0).is_err() {
        lost(Loss::SentRecord);
    }
}

/// One of podbox's own. What the keeper starts, but for containers, cleans up after commands.
#[inline(always)]
fn is_own(process: Task, slot: u32) -> bool {
    let (tgid, start_ticks) = (u64::from(process.tgid()), process.start_ns() / TICK_NS);
    // An empty slot is nobody's, and the kernel's first tasks have no parent.
    tgid != 0 && OWN_PROCESSES.get(slot).is_some_and(|own| own.tgid == tgid && own.start_ticks == start_ticks)
}

/// Who sent the signal that ended a process; takes the note away.
#[inline(always)]
pub fn sender_of(process: &ProcessKey, signal: u32) -> Sent {
    let key = SentKey { tgid: process.tgid, start_ns: process.start_ns, signal: signal.into() };
    // SAFETY: copied at once. The process is dead, so nobody changes the note any more.
    let mut sent = match unsafe { SENT.get(&key) } {
        Some(sent) => *sent,
        None => return Sent::default(),
    };
    let _ = SENT.remove(&key);
    // The killer sends first and marks then.
    if signal == SIGKILL && sent.origin == Origin::Kernel as u32 && oom::is_marked(process) {
        sent.origin = Origin::Oom as u32;
    }
    sent
}
