//! Who is watched, and the counts of everything: bumped first, before a ring is tried.

use crate::offsets::CONTAINER_LEVEL;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use podbox_common::{ContainerStats, Kind, Loss};

/// Cgroup id → counts. Only user space inserts and removes, so nothing need be set aside for the rest.
#[map]
static CONTAINERS: HashMap<u64, ContainerStats> =
    HashMap::with_max_entries(4096, aya_ebpf::bindings::BPF_F_NO_PREALLOC);
/// Events of each kind so far.
#[map]
static SEQUENCE: Array<u64> = Array::with_max_entries(Kind::ALL.len() as u32, 0);
/// What got lost, per CPU.
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::ALL.len() as u32, 0);

/// What an insertion says that found its key.
pub const EEXIST: i32 = -17;

/// The counts of one container.
#[derive(Clone, Copy)]
pub struct Counts(*mut ContainerStats);

/// Adds atomically to one field of a container's counts; gives what was there before.
macro_rules! bump {
    ($counts:expr, $($field:tt)+) => { $crate::count::add(&raw mut (*$counts.as_ptr()).$($field)+, 1) };
}
pub(crate) use bump;

/// Adds atomically; gives what was there before.
///
/// # Safety
///
/// `cell` points into a map's value.
#[inline(always)]
pub unsafe fn add(cell: *mut u64, amount: u64) -> u64 {
    let before;
    // core's atomics have no read-modify-write on this target, though the instruction exists since 5.12.
    // SAFETY: aligned, as map values are; all writers use atomics.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({cell} + 0), {value})",
            value = inout(reg) amount => before,
            cell = in(reg) cell,
            options(nostack, preserves_flags),
        );
    }
    before
}

impl Counts {
    /// Those of a container; `None` if user space never named it one.
    #[inline(always)]
    pub fn of(container: u64) -> Option<Counts> {
        CONTAINERS.get_ptr_mut(container).map(Counts)
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *mut ContainerStats {
        self.0
    }
}

/// The current task's cgroup at the level of containers; 0 if it is above that level.
#[inline(always)]
pub fn current_container() -> u64 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_get_current_ancestor_cgroup_id(CONTAINER_LEVEL.load() as i32) }
}

/// Nanoseconds of CLOCK_BOOTTIME.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The next event's number in its kind, from 1.
#[inline(always)]
pub fn next_seq(kind: Kind) -> u64 {
    match SEQUENCE.get_ptr_mut(kind as u32) {
        // SAFETY: the pointer is a map's value.
        Some(cell) => unsafe { add(cell, 1) }.wrapping_add(1),
        None => 0,
    }
}

#[inline(always)]
pub fn lost(what: Loss) {
    if let Some(cell) = LOSSES.get_ptr_mut(what as u32) {
        // SAFETY: the pointer is a map's value. Atomic all the same: an fentry program may be preempted
        // by another one on its CPU.
        unsafe { add(cell, 1) };
    }
}

/// Tells user space, or counts that it could not be told.
#[inline(always)]
pub fn send<T>(ring: &RingBuf, event: &T, loss: Loss) {
    if ring.output::<T>(event, 0).is_err() {
        lost(loss);
    }
}
