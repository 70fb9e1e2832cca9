//! podbox: pod sandboxes built by one daemon, and seen by the kernel.
//!
//! The modules are ranked; one imports only from lower ranks, and `cargo xtask tidy` checks it.
//! ARCHITECTURE.md has the map.

// Rank 0: vocabulary.
pub mod api;
pub mod chance;
pub mod clock;
pub mod config;
pub mod limits;
pub mod metrics;

// Ranks 1 and 2: per subject a pure core, and the hands that apply it.
pub mod auth;
pub mod control;
pub mod image;
pub mod net;
pub mod pod;
pub mod sandbox;
pub mod store;
pub mod trace;

// Rank 3: loops.
pub mod node;
pub mod server;

// Rank 4: composition.
pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod fleet;
pub mod sim;
