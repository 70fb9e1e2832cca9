//! Types shared by podbox and its BPF programs: events, map keys and values, and the bounds both
//! sides count on.
//!
//! It knows neither aya nor the kernel's structures: only layouts. Invariant: every type that crosses is
//! [`Wire`], without padding, so that no uninitialised byte of the BPF stack reaches user space and any
//! bytes of the right length are a valid value.
#![no_std]

mod event;
mod signal;
mod start;
mod stats;
mod timeline;
mod wire;

pub use event::{
    Comm, ExitEvent, FOLLOWER_SLOTS, Head, Kind, ListenEvent, NO_LIMIT, OomEvent, RawLimit, RawRole,
    ReapEvent, follower_slot,
};
pub use signal::{EndKey, EndRecord, Origin, OwnProcess, Sent, SentKey, TICK_NS};
pub use start::Firsts;
pub use stats::{
    ContainerStats, Dead, LIFETIME_BOUNDS_NS, LastMark, Loss, OomContext, ProcessKey, SIGNALS, VICTIMS_KEPT,
    VictimKey, ZOMBIE_AFTER_NS,
};
pub use timeline::{Connection, Timeline, mapped};
pub use wire::Wire;
