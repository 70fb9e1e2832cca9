//! The node's network: addresses, bridge, masquerade.
