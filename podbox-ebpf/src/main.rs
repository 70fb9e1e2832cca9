//! podbox's BPF programs: what ends, who ended it, what is killed for memory, what lies dead, what listens, how containers begin.
//!
//! They know cgroups, not pods: user space says which cgroups are containers before the first process
//! starts in one, and every program leaves at once when the task at hand is in none. They decide nothing.
//!
//! Invariants: a container's counters are bumped before the ring is tried, so a full ring never falsifies
//! a count; a lost event is counted by kind and CPU. No structure's layout is compiled in: offsets are
//! globals that user space reads from the running kernel's BTF.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod count;
mod exit;
mod kernel;
mod listen;
mod offsets;
mod oom;
mod reap;
mod signal;
mod start;
mod timeline;

/// The kernel lends GPL-only helpers to programs that say so.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier refuses a program in which this could be reached.
    loop {}
}
