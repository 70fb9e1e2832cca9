//! Which devices a container may use: a BPF program of a few instructions on its cgroup, the same for every
//! container that is not privileged, so it is loaded once. It goes with the cgroup.
//!
//! The policy is containerd's: any node may be made, and null, zero, full, random, urandom, tty, console,
//! ptmx and pseudo terminals may be opened.
//!
//! Written as instructions rather than in Rust: it needs no maps, no kernel types and no toolchain.

use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// The policy, loaded.
#[derive(Debug)]
pub struct DevicePolicy(OwnedFd);

/// Why the policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The kernel did not take the program.
    #[error("loading the device policy failed (it needs CONFIG_CGROUP_BPF)")]
    Load(#[source] Errno),
    /// The cgroup could not be opened.
    #[error("opening the cgroup failed")]
    Open(#[source] std::io::Error),
    /// The kernel did not attach it.
    #[error("attaching the device policy failed")]
    Attach(#[source] Errno),
}

const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_ATTACH: i64 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs above and below apply too.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// `access_type & 0xffff`: what kind of device.
const CHARACTER: i32 = 2;
/// `access_type >> 16`: mknod alone; opening has other bits.
const MKNOD: i32 = 1;
/// Major 1: null, zero, full, random, urandom.
const MEMORY: (i32, [i32; 5]) = (1, [3, 5, 7, 8, 9]);
/// Major 5: tty, console, ptmx.
const TERMINAL: (i32, [i32; 3]) = (5, [0, 1, 2]);
/// Major 136: pseudo terminals, whatever the minor.
const PTS: i32 = 136;

/// An instruction, as the kernel encodes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// `w(dst) = *(u32 *)(r1 + offset)`: a field of `bpf_cgroup_dev_ctx`.
const fn load(dst: u8, offset: i16) -> Instruction {
    instruction(0x61, 1 << 4 | dst, offset, 0)
}
/// `r(dst) &= value`.
const fn and(dst: u8, value: i32) -> Instruction {
    instruction(0x57, dst, 0, value)
}
/// `r(dst) >>= bits`.
const fn shift_right(dst: u8, bits: i32) -> Instruction {
    instruction(0x77, dst, 0, bits)
}
/// `if r(dst) == value`: skip.
const fn skip_if(dst: u8, value: i32, skip: usize) -> Instruction {
    instruction(0x15, dst, skip as i16, value)
}
/// `if r(dst) != value`: skip.
const fn skip_unless(dst: u8, value: i32, skip: usize) -> Instruction {
    instruction(0x55, dst, skip as i16, value)
}
/// `r0 = verdict; exit`.
const fn verdict(allow: bool) -> [Instruction; 2] {
    [instruction(0xb7, 0, 0, allow as i32), instruction(0x95, 0, 0, 0)]
}

/// r2: kind, r3: access, r4: major, r5: minor.
fn program() -> Vec<Instruction> {
    let mut code = vec![load(2, 0), load(3, 0), load(4, 4), load(5, 8), and(2, 0xffff), shift_right(3, 16)];
    let [yes, no] = [verdict(true), verdict(false)];
    code.extend([skip_unless(3, MKNOD, yes.len())].into_iter().chain(yes));
    code.extend([skip_if(2, CHARACTER, no.len())].into_iter().chain(no));
    code.extend([skip_unless(4, PTS, yes.len())].into_iter().chain(yes));
    for (major, minors) in [(MEMORY.0, &MEMORY.1[..]), (TERMINAL.0, &TERMINAL.1[..])] {
        code.push(skip_unless(4, major, minors.len() * 3));
        for minor in minors {
            code.extend([skip_unless(5, *minor, yes.len())].into_iter().chain(yes));
        }
    }
    code.extend(no);
    code
}

/// The part of `union bpf_attr` that loading a program reads.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The part that attaching reads.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: i64, attributes: &T) -> Result<i64, Errno> {
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: `attributes` is the prefix of bpf_attr for this command, of the size given; the rest counts as
    // zero. What it points to outlives the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) })
}

impl DevicePolicy {
    /// Loads the program.
    pub fn load() -> Result<DevicePolicy, DeviceError> {
        let code = program();
        let mut name = [0; 16];
        name[..15].copy_from_slice(b"podbox_devices\0");
        let attributes = Load {
            kind: BPF_PROG_TYPE_CGROUP_DEVICE,
            instruction_count: code.len() as u32,
            instructions: code.as_ptr().addr() as u64,
            license: c"Dual MIT/GPL".as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name,
        };
        let fd = bpf(BPF_PROG_LOAD, &attributes).map_err(DeviceError::Load)?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(DevicePolicy(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Puts a cgroup and everything below it under the policy.
    pub fn attach(&self, cgroup: &Path) -> Result<(), DeviceError> {
        let cgroup = File::open(cgroup).map_err(DeviceError::Open)?;
        let attributes = Attach {
            target: cgroup.as_raw_fd().cast_unsigned(),
            program: self.0.as_raw_fd().cast_unsigned(),
            kind: BPF_CGROUP_DEVICE,
            flags: BPF_F_ALLOW_MULTI,
        };
        bpf(BPF_PROG_ATTACH, &attributes).map(drop).map_err(DeviceError::Attach)
    }
}
