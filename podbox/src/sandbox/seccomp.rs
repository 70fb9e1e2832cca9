//! The default-deny seccomp profile: which system calls a container may make, compiled to a filter.
//!
//! In effect the profile of containerd and Docker, for the native architecture only: a container's 32-bit
//! programs are killed here. A call that is not listed fails with EPERM; one that is newer than the list
//! fails with ENOSYS, and so does clone3 (its flags are behind a pointer, where no filter can look), so
//! that C libraries fall back to what they know.
//!
//! Filters depend on the capabilities, as some calls are safe only to refuse without the capability that
//! they need. The keeper compiles each once.

use super::caps::CapSet;
use super::syscalls::{ALWAYS, LAST, WITH_CAPABILITY};
use libc::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `CLONE_NEW…` flags: a container without CAP_SYS_ADMIN makes no namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Execution domains that do not weaken anything: PER_LINUX, PER_LINUX32, UNAME26, both, and "tell me".
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile could not be compiled: a mistake in the table, found by a test.
#[derive(Debug, thiserror::Error)]
#[error("the seccomp profile does not compile")]
pub struct SeccompError(#[from] seccompiler::BackendError);

/// The filter for a container with these capabilities.
pub fn compile(caps: CapSet) -> Result<Vec<sock_filter>, SeccompError> {
    let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    for (capability, calls) in WITH_CAPABILITY {
        if caps.has(capability) {
            rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    conditional(&mut rules, caps)?;
    let target = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let listed: BpfProgram = SeccompFilter::new(rules, denied, SeccompAction::Allow, target)?.try_into()?;
    let listed = listed.iter().map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k });
    Ok(prologue(caps).into_iter().chain(listed).collect())
}

/// Calls that are allowed with some arguments only. A list of rules is an "or".
fn conditional(rules: &mut Rules, caps: CapSet) -> Result<(), SeccompError> {
    let personalities = PERSONALITIES.map(|wanted| argument(0, SeccompCmpOp::Eq, wanted));
    rules.insert(libc::SYS_personality, personalities.into_iter().collect::<Result<_, _>>()?);
    // AF_VSOCK reaches the hypervisor's host past every network namespace.
    let vsock = libc::AF_VSOCK.cast_unsigned().into();
    rules.insert(libc::SYS_socket, vec![argument(0, SeccompCmpOp::Ne, vsock)?]);
    if !caps.has("SYS_ADMIN") {
        let plain = argument(0, SeccompCmpOp::MaskedEq(CLONE_NAMESPACES), 0)?;
        rules.insert(libc::SYS_clone, vec![plain]);
    }
    Ok(())
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, SeccompError> {
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// Before the list: ENOSYS for clone3, and for calls newer than the list.
fn prologue(caps: CapSet) -> Vec<sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let make = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    // With CAP_SYS_ADMIN clone3 is allowed like clone; compare with a number that is no call then.
    let clone3 = if caps.has("SYS_ADMIN") { u32::MAX } else { libc::SYS_clone3 as u32 };
    vec![
        // The call's number is the first field of `seccomp_data`.
        make(LOAD, 0, 0, 0),
        make(EQUAL, 1, 0, clone3),
        make(GREATER, 0, 1, LAST),
        make(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_compiles_for_every_capability_set_and_fits_the_kernel() {
        for caps in [CapSet::NONE, CapSet::standard(), CapSet::ALL] {
            let filter = compile(caps).unwrap();
            // BPF_MAXINSNS.
            assert!(filter.len() < 4096, "{} instructions", filter.len());
        }
    }

    #[test]
    fn capabilities_open_calls() {
        let len = |caps| compile(caps).unwrap().len();
        assert!(len(CapSet::standard()) > len(CapSet::NONE), "chroot comes with SYS_CHROOT");
        assert!(len(CapSet::ALL) > len(CapSet::standard()));
    }
}
