//! The sandbox engine on a real kernel: each test in a network, a mount namespace and a cgroup of its own.
//! Needs root; a test that cannot run says so on stderr and counts as skipped there.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod container;
mod failure;
mod host;
mod keeper;
mod limits;
