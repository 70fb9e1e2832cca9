//! Pod sandboxes and their containers: a plan (pure), and the engine that applies it.
//!
//! ```text
//!  spec ──plan──▶ steps ──apply──▶ kernel          daemon
//!                   └ launch ──wire──▶ keeper ──clone3──▶ init ──exec──▶ the container's program
//! ```

// Pure: the words, and the decisions.
pub mod caps;
pub mod launch;
pub mod message;
pub mod plan;
pub mod runtime;
pub mod spec;
pub mod step;
mod syscalls;
pub mod sysctl;
pub mod user;

// The daemon's hands.
pub mod account;
mod apply;
pub mod backlog;
pub mod cgroup;
mod client;
pub mod device;
pub mod engine;
mod exec;
mod files;
pub mod hostpath;
pub mod line;
pub mod link;
pub mod log;
mod measure;
pub mod netlink;
pub mod netns;
mod ownership;
mod record;
pub mod session;
pub mod strain;
mod timing;
pub mod tree;
pub mod usage;

// The keeper's.
mod dev;
mod init;
pub mod keeper;
mod mount;
pub mod pause;
mod propagation;
mod reap;
pub mod seccomp;
mod sys;
mod terminal;
mod wire;

pub use record::sweep as sweep_unfinished;
pub use sys::bound_arenas;
