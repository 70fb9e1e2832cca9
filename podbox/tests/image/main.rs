//! Images as people have them: from Debian's own registry, filled by its own skopeo, in a network namespace of each
//! test's own; from archives; by several processes at once; and on a full disk. Where one of the programs or root is
//! missing, a test says `SKIPPED` and why.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod archive;
mod ground;
mod registry;
mod saved;
mod shared;
