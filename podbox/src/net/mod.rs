//! The node's network: addresses, bridge, masquerade.

pub mod dataplane;
pub mod diff;
pub mod ipam;
pub mod lease;
pub mod masquerade;
pub mod nat;
mod observe;
