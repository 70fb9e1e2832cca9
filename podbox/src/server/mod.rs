//! HTTP: metrics for Prometheus, and the root-only socket that podbox's own commands ask.
//!
//! Knows nothing of sandboxes or plans: it renders what it is handed.

pub mod admin;
pub mod api;
pub mod client;
pub mod exposition;
mod guests;
pub mod http;
pub mod kernel;
mod multiplex;
pub mod pages;
mod patience;
pub mod proxy;
pub mod stream;
pub mod tls;

/// The name of the root-only socket in the run directory.
pub const SOCKET: &str = "podbox.sock";
