//! What the kernel's side writes down of a container's beginning.

use crate::wire::wire;

/// What a container did for the first time, and when: nanoseconds of CLOCK_BOOTTIME; 0: not yet, or nobody saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    /// Its first process was cloned.
    pub cloned_ns: u64,
    /// It executed a program.
    pub exec_ns: u64,
    /// It listened for TCP connections.
    pub listen_ns: u64,
    /// The kernel had made a connection to it.
    pub connected_ns: u64,
    /// It took a connection.
    pub accepted_ns: u64,
    /// The port that it listened on; 0 where the kernel was yet to choose one.
    pub port: u32,
    /// Always 0; it fills up to 8 bytes.
    pub reserved: u32,
}

impl Firsts {
    /// A time that is past, and that nobody saw: no later one is the first.
    pub const MISSED_NS: u64 = u64::MAX;
    /// Of a container that had begun before anybody looked.
    pub const MISSED: Firsts = Firsts {
        cloned_ns: Firsts::MISSED_NS,
        exec_ns: Firsts::MISSED_NS,
        listen_ns: Firsts::MISSED_NS,
        connected_ns: Firsts::MISSED_NS,
        accepted_ns: Firsts::MISSED_NS,
        port: 0,
        reserved: 0,
    };
}

wire! {
    Firsts {
        cloned_ns: u64, exec_ns: u64, listen_ns: u64, connected_ns: u64, accepted_ns: u64, port: u32, reserved: u32,
    }
}
