//! Pod sandboxes and their containers: a plan (pure), and the engine that applies it.

pub mod log;
pub mod runtime;
pub mod spec;
