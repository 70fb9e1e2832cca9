//! Probes' connections as the kernel sees them: when the other side agreed, when the server took the connection, when
//! the first and the last byte came. A prober that is itself short of the processor sees all of that later.
//!
//! `probe_packet` is a filter on the prober's own socket, so no other packet of the host passes by here. It runs where
//! packets arrive, not where they are read. `connection_accepted` finds the connection by its two ends, and works where
//! fentry is allowed. Neither touches a packet.

use crate::count::{current_container, now_ns};
use crate::kernel::Sock;
use crate::start;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes_relative;
use aya_ebpf::macros::{fexit, map, socket_filter};
use aya_ebpf::maps::{HashMap, LruHashMap};
use aya_ebpf::programs::{FExitContext, SkBuffContext};
use core::mem::MaybeUninit;
use podbox_common::{Connection, Timeline, mapped};

/// By socket cookie. User space adds and removes: what is not in it is not a probe's.
#[map]
static TIMELINES: HashMap<u64, Timeline> = HashMap::with_max_entries(4096, 0);
/// Connections of probes that no server has taken yet → the prober's socket's cookie. User space removes them; what comes
/// in the moment in which a probe is given up stays, and has to make room for others.
#[map]
static UNACCEPTED: LruHashMap<Connection, u64> = LruHashMap::with_max_entries(4096, 0);

/// Of a TCP header: the byte with its length, and the one with its flags.
const LENGTH_AT: usize = 12;
const FLAGS_AT: usize = 13;
const SYN: u8 = 2;
/// Where the addresses are in the network's header, the sender's first.
const IPV4_ADDRESSES_AT: u32 = 12;
const IPV6_ADDRESSES_AT: u32 = 8;
/// The network header, from where the helper counts: the kernel's BPF_HDR_START_NET.
const NETWORK_HEADER: u32 = 1;

/// Each packet that comes for a probe's socket, beginning with its TCP header. Lets all of them pass.
#[socket_filter]
pub fn probe_packet(ctx: SkBuffContext) -> i64 {
    let length = ctx.len();
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    if let Some(timeline) = TIMELINES.get_ptr_mut(cookie) {
        let _ = arrived(&ctx, length, cookie, timeline);
    }
    length.into()
}

#[inline(always)]
fn arrived(ctx: &SkBuffContext, length: u32, cookie: u64, timeline: *mut Timeline) -> Result<(), i64> {
    let now = now_ns();
    let header = u32::from(ctx.load::<u8>(LENGTH_AT)? >> 4) * 4;
    // SAFETY: the pointer is a map's value; one packet of a connection is seen at a time, but for a
    // retransmission, which may put one arrival time in another's place.
    unsafe {
        if ctx.load::<u8>(FLAGS_AT)? & SYN != 0 {
            if (*timeline).connected_ns == 0 {
                (*timeline).connected_ns = now;
                (*timeline).connection = connection(ctx)?;
                UNACCEPTED.insert(&(*timeline).connection, &cookie, BPF_ANY.into())?;
            }
        } else if length > header {
            if (*timeline).first_ns == 0 {
                (*timeline).first_ns = now;
            }
            (*timeline).last_ns = now;
        }
    }
    Ok(())
}

/// The connection that a packet from the server belongs to.
#[inline(always)]
fn connection(ctx: &SkBuffContext) -> Result<Connection, i64> {
    let [version] = network_header::<[u8; 1]>(ctx, 0)?;
    let (server, client) = match version >> 4 {
        4 => {
            let [server, client] = network_header::<[u32; 2]>(ctx, IPV4_ADDRESSES_AT)?;
            (mapped(server), mapped(client))
        }
        _ => network_header::<[[u32; 4]; 2]>(ctx, IPV6_ADDRESSES_AT)?.into(),
    };
    let (server_port, client_port) = (u16::from_be(ctx.load(0)?), u16::from_be(ctx.load(2)?));
    Ok(Connection { server, client, server_port, client_port, reserved: 0 })
}

/// Bytes of the header before TCP's. `T` is made of integers only.
#[inline(always)]
fn network_header<T: Copy>(ctx: &SkBuffContext, offset: u32) -> Result<T, i64> {
    let mut bytes = MaybeUninit::<T>::uninit();
    let length = size_of::<T>() as u32;
    // SAFETY: the helper writes all of the `length` bytes, or says that it did not.
    unsafe {
        let skb = ctx.skb.skb.cast();
        match bpf_skb_load_bytes_relative(skb, offset, bytes.as_mut_ptr().cast(), length, NETWORK_HEADER) {
            0 => Ok(bytes.assume_init()),
            error => Err(error),
        }
    }
}

/// `inet_csk_accept(..)` ends: its value is the socket of the connection that was waiting, if there is one.
#[fexit(function = "inet_csk_accept")]
pub fn connection_accepted(ctx: FExitContext) -> i32 {
    let container = current_container();
    if container == 0 {
        return 0;
    }
    let Ok(child) = ctx.ret::<*const u8>() else { return 0 };
    if !child.is_null() {
        start::accepted(container);
        accepted(Sock::new(child).connection());
    }
    0
}

#[inline(always)]
fn accepted(connection: Connection) {
    // SAFETY: the value is copied, and only this connection's own prober removes it.
    let Some(cookie) = (unsafe { UNACCEPTED.get(&connection) }).copied() else { return };
    if let Some(timeline) = TIMELINES.get_ptr_mut(cookie) {
        // SAFETY: the pointer is a map's value; a connection is accepted once.
        unsafe { (*timeline).accepted_ns = now_ns() };
    }
    let _ = UNACCEPTED.remove(&connection);
}
