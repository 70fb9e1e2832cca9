//! The node's network: addresses, bridge, masquerade.

pub mod dataplane;
pub mod diff;
pub mod ipam;
pub mod lease;
pub mod masquerade;
mod observe;
