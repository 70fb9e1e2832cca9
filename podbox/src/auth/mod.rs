//! Who a client is, and what it may do.
//!
//! ```text
//!   certificate ─▶ certificate::identify ─┐
//!   bearer token ─▶ token::Tokens ────────┼─▶ User ─▶ impersonate ─▶ rbac::Rbac::decide(Attributes) ─▶ 403, or on
//!   neither ─▶ User::anonymous ───────────┘
//! ```
//!
//! [`certificate`], [`attributes`], [`token`], [`impersonate`], [`rbac`], [`review`] and [`secret`] are pure: keys, times and objects come as
//! parameters.
//! [`authority`], [`file`] and [`tls`] have the keys on disk and hand them to rustls; [`unverified`] is the way to servers that nobody
//! vouches for. Nothing here knows HTTP, routes or the store.
//!
//! **Invariant:** a private key or a token is never in a log, an error or a `Debug` output, and a key's file is root's
//! alone.

pub mod attributes;
pub mod authority;
pub mod certificate;
mod file;
pub mod impersonate;
pub mod rbac;
pub mod review;
pub mod secret;
pub mod tls;
pub mod token;
pub mod unverified;
