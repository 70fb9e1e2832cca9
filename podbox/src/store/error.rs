//! What can go wrong with the store's file: what failed, on which file, and what to do.

use super::state::Revision;
use std::io;
use std::path::PathBuf;

/// A failure of the store's file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum DiskError {
    #[error("making the store {} failed", .path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("opening the store {} failed", .path.display())]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the store {} is in use by another process", .path.display())]
    InUse { path: PathBuf },
    #[error(
        "the store {} is damaged: {what}; put a backup in its place, or move it away to begin with an empty one",
        .path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "the store {} was written by a newer podbox (format {found}, known are those up to {known}); use that one",
        .path.display()
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "the store {} is at revision {found}, but {expected} was written; was it replaced? restart podbox to use it as it is",
        .path.display()
    )]
    Replaced { path: PathBuf, found: Revision, expected: Revision },
    #[error("the disk is full: the store {} cannot grow; nothing was changed, make room and try again", .path.display())]
    Full { path: PathBuf, source: Box<redb::Error> },
    #[error("writing the store {} failed", .path.display())]
    Write { path: PathBuf, source: Box<redb::Error> },
    #[error("starting the store's writer failed")]
    Thread(#[source] io::Error),
}
