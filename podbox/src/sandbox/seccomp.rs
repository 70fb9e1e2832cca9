//! Which system calls a container may make: the default-deny profile, and profiles that people write.
//!
//! The default one is in effect that of containerd and Docker, for the native architecture only: a container's 32-bit
//! programs are killed here. A call that is not listed fails with EPERM; one that is newer than the list
//! fails with ENOSYS, and so does clone3 (its flags are behind a pointer, where no filter can look), so
//! that C libraries fall back to what they know.
//!
//! Filters depend on the capabilities, as some calls are safe only to refuse without the capability that
//! they need. The keeper compiles each once; a profile of a person's own is compiled before it goes there.

mod filter;
mod names;
mod profile;

pub use profile::{ProfileError, load};

use super::caps::CapSet;
use super::syscalls::{ALWAYS, LAST, WITH_CAPABILITY};
use filter::{Action, Comparison, Condition, Rule, Rules};
use libc::sock_filter;
use std::collections::BTreeMap;

/// `CLONE_NEW…` flags: a container without CAP_SYS_ADMIN makes no namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Execution domains that do not weaken anything: PER_LINUX, PER_LINUX32, UNAME26, both, and "tell me".
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Whom a process that waits may signal, if anybody: PID 2 of its namespace.
pub const FORWARDED_TO: u64 = 2;
/// Conditions look at the lower half of these arguments: the kernel ignores the other.
const LOWER: u64 = 0xffff_ffff;

const fn refuse(errno: i32) -> Action {
    libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA)
}

/// The filter of the default profile for a container with these capabilities.
pub fn compile(caps: CapSet) -> Vec<sock_filter> {
    let mut rules = Rules {
        default: refuse(libc::EPERM),
        newer: (LAST, refuse(libc::ENOSYS)),
        calls: ALWAYS.iter().map(|call| (*call as u32, always())).collect(),
    };
    conditional(&mut rules);
    for (capability, calls) in WITH_CAPABILITY {
        if caps.has(capability) {
            rules.calls.extend(calls.iter().map(|call| (*call as u32, always())));
        }
    }
    filter::compile(&rules)
}

/// The filter of a process that does nothing but wait for others to end; and hand on signals, if it `forwards`.
pub fn waiting(forwards: bool) -> Vec<sock_filter> {
    const CALLS: [i64; 7] = [
        // Of the pipe by which it tells that it is ready.
        libc::SYS_close,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_exit_group,
    ];
    let kill = libc::SECCOMP_RET_KILL_PROCESS;
    let mut calls: BTreeMap<u32, Vec<Rule>> = CALLS.iter().map(|call| (*call as u32, always())).collect();
    if forwards {
        calls.insert(libc::SYS_kill as u32, vec![only_if(Comparison::Equal, FORWARDED_TO)]);
    }
    filter::compile(&Rules { default: kill, newer: (LAST, kill), calls })
}

fn always() -> Vec<Rule> {
    vec![Rule { conditions: Vec::new(), action: libc::SECCOMP_RET_ALLOW }]
}

fn only_if(comparison: Comparison, value: u64) -> Rule {
    let condition = Condition { argument: 0, comparison, value };
    Rule { conditions: vec![condition], action: libc::SECCOMP_RET_ALLOW }
}

/// Calls that are allowed with some arguments only.
fn conditional(rules: &mut Rules) {
    let mut allow = |call: i64, only: Vec<Rule>| drop(rules.calls.insert(call as u32, only));
    let known = PERSONALITIES.iter().map(|known| only_if(Comparison::Masked(LOWER), *known));
    allow(libc::SYS_personality, known.collect());
    // AF_VSOCK reaches the hypervisor's host past every network namespace.
    let vsock = only_if(Comparison::Masked(LOWER), libc::AF_VSOCK.cast_unsigned().into());
    let vsock = Rule { action: refuse(libc::EPERM), ..vsock };
    allow(libc::SYS_socket, [vec![vsock], always()].concat());
    allow(libc::SYS_clone, vec![only_if(Comparison::Masked(CLONE_NAMESPACES), 0)]);
    let unknown = Rule { conditions: Vec::new(), action: refuse(libc::ENOSYS) };
    allow(libc::SYS_clone3, vec![unknown]);
}

/// Instructions as numbers, in which form they travel.
fn packed(filter: &[sock_filter]) -> Vec<u64> {
    let pack = |i: &sock_filter| {
        u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k)
    };
    filter.iter().map(pack).collect()
}

/// The instructions of a program that travelled.
pub fn unpacked(code: &[u64]) -> Vec<sock_filter> {
    let unpack = |n: &u64| sock_filter {
        code: (n >> 48) as u16,
        jt: (n >> 40) as u8,
        jf: (n >> 32) as u8,
        k: *n as u32,
    };
    code.iter().map(unpack).collect()
}

#[cfg(test)]
mod tests {
    use super::filter::tests::run;
    use super::*;

    #[track_caller]
    fn check(caps: CapSet, call: i64, first: u64, expected: Action) {
        let done = run(&compile(caps), call as u32, [first, 0, 0, 0, 0, 0]);
        assert_eq!(done, expected, "call {call} with {first:#x} and {caps:?}");
    }

    #[test]
    fn the_profile_allows_what_is_listed_and_refuses_the_rest() {
        const ALLOW: Action = libc::SECCOMP_RET_ALLOW;
        const EPERM: Action = refuse(libc::EPERM);
        const ENOSYS: Action = refuse(libc::ENOSYS);
        let plain = CapSet::standard();
        check(plain, libc::SYS_read, 0, ALLOW);
        check(plain, libc::SYS_removexattr, 0, ALLOW);
        check(plain, libc::SYS_mount, 0, EPERM);
        check(plain, libc::SYS_io_uring_setup, 0, EPERM);
        check(plain, libc::SYS_clone3, 0, ENOSYS);
        check(plain, 466, 0, ALLOW);
        check(plain, 467, 0, ENOSYS);
        check(plain, 0x4000_0000, 0, ENOSYS);
        check(plain, libc::SYS_personality, 0x8, ALLOW);
        check(plain, libc::SYS_personality, 0x40000, EPERM);
        check(plain, libc::SYS_socket, libc::AF_INET as u64, ALLOW);
        check(plain, libc::SYS_socket, libc::AF_VSOCK as u64, EPERM);
        check(plain, libc::SYS_socket, 1 << 32 | libc::AF_VSOCK as u64, EPERM);
        check(plain, libc::SYS_clone, 0x11, ALLOW);
        check(plain, libc::SYS_clone, 0x2002_0011, EPERM);
        check(CapSet::ALL, libc::SYS_clone, 0x2002_0011, ALLOW);
        check(CapSet::ALL, libc::SYS_clone3, 0, ALLOW);
        check(CapSet::ALL, libc::SYS_mount, 0, ALLOW);
        check(CapSet::NONE, libc::SYS_chroot, 0, EPERM);
        check(plain, libc::SYS_chroot, 0, ALLOW);
    }

    #[test]
    fn a_call_is_decided_in_few_steps() {
        let filter = compile(CapSet::standard());
        // BPF_MAXINSNS is 4096; a list of comparisons took more than 600.
        assert!(filter.len() < 400, "{} instructions", filter.len());
    }

    #[test]
    fn programs_travel_unchanged() {
        let filter = compile(CapSet::NONE);
        let parts =
            |all: &[sock_filter]| -> Vec<_> { all.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect() };
        assert_eq!(parts(&unpacked(&packed(&filter))), parts(&filter));
    }
}
