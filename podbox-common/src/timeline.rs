//! What the kernel's side writes down of a probe's connection.

use crate::wire::wire;

/// One connection of a prober's, kept by the cookie of its socket. Times are nanoseconds of CLOCK_BOOTTIME; 0: not seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The other side's kernel agreed to the connection.
    pub connected_ns: u64,
    /// The server took it out of its queue.
    pub accepted_ns: u64,
    /// The first byte came from the server.
    pub first_ns: u64,
    /// The latest byte came.
    pub last_ns: u64,
    /// The connection, once the other side has agreed to it.
    pub connection: Connection,
}

/// A TCP connection by its two ends, as the prober's packets have them: addresses as the network orders their bytes, ports
/// as the machine does. An IPv4 address is the IPv6 one that stands for it, since a server's socket may be of either kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The server's address.
    pub server: [u32; 4],
    /// The prober's address.
    pub client: [u32; 4],
    /// The server's port.
    pub server_port: u16,
    /// The prober's port.
    pub client_port: u16,
    /// Always 0; it fills up to the maps' 8 bytes.
    pub reserved: u32,
}

/// The IPv6 address that stands for an IPv4 one: `::ffff:a.b.c.d`.
pub const fn mapped(address: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), address]
}

wire! {
    Timeline { connected_ns: u64, accepted_ns: u64, first_ns: u64, last_ns: u64, connection: Connection }
    Connection { server: [u32; 4], client: [u32; 4], server_port: u16, client_port: u16, reserved: u32 }
}
