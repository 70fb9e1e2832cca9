//! The node's network: addresses, bridge, masquerade.

pub mod dataplane;
pub mod diff;
pub mod dns;
pub mod ipam;
pub mod lease;
pub mod masquerade;
mod observe;
