//! The pod network on the real kernel: each test in network and mount namespaces of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dataplane;
mod ground;
mod lease;
mod link;
mod ports;
