//! A cluster under a simulated clock: the production controllers and scheduler over the production store's state, nodes that only
//! pretend, and everything that can go wrong, in one thread and from one seed.
//!
//! ```text
//!   seed ─▶ play: look · write · deed · user · time · fault ─▶ world ─▶ checks, after each step ─▶ transcript, hash
//!             └─ then nothing goes wrong any more: it comes to rest, as asked for ─ all is deleted: nothing is left
//! ```
//!
//! It ships as `podbox sim`: for whoever changes a controller here, and for whoever wants to know what they stand. It has no controllers
//! and no scheduler of its own, and changes nothing of them; only what is around them (the loops, the API's HTTP, disks, kubelets) is
//! another here, and `plane`, `api` and `machines` say how.
//!
//! **Invariant:** a seed plays the same run each time: all maps are ordered, all chance comes from the seed, no clock is read.

mod api;
#[cfg(test)]
mod bugs;
mod checks;
mod decided;
mod faults;
mod machines;
mod nodes;
mod plane;
mod play;
mod random;
mod script;
mod sights;
mod story;
mod transcript;
mod words;
mod workloads;
mod world;
mod writes;

#[cfg(test)]
mod tests;

pub use play::{Options, Played, play, replay};
pub use script::{SCRIPTS, run};
pub use sights::{Sight, Tally};
pub use workloads::Scenario;
