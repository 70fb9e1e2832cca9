//! The node agent: pods that are to run here, and the loops that make them.

pub mod events;
pub mod lock;
pub mod view;
