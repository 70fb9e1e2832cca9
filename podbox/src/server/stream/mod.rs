//! Streams to clients: commands, attachments and forwarded ports, in the two ways that Kubernetes' clients have of
//! carrying several streams on one connection.
//!
//! ```text
//!   WebSocket ── channels (first byte of a message) ──▶ exec, attach, and ports as Python's client forwards them
//!      ├──────── messages ────────────────────────────▶ logs and watches: one way, an answer in pieces
//!      └──────── tunnel ─┐
//!   Upgrade: SPDY/3.1 ───┴─▶ spdy ── streams ─────────▶ exec, attach, ports
//! ```
//!
//! It does not know pods: what a stream is about was found out by `server::api`, and comes as a closure.
//!
//! **Invariant:** nothing is gathered for a client that does not read: each queue has a few places, and then whoever
//! writes waits.

pub mod channel;
pub mod console;
pub mod forward;
pub mod messages;
pub mod room;
pub mod socket;
pub mod spdy;
pub mod tunnel;
pub mod upgrade;
