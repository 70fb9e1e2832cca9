//! Pod sandboxes and their containers: a plan (pure), and the engine that applies it.

pub mod link;
pub mod log;
pub mod netlink;
pub mod netns;
pub mod runtime;
pub mod spec;
