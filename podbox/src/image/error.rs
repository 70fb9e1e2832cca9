//! What can go wrong with an image, each with what failed, on what, and what to do; and the words Kubernetes
//! has for it.

use super::digest::Digest;
use super::path::PathError;
use nix::errno::Errno;
use oci_client::errors::OciDistributionError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an image could not be had, kept or removed.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ImageError {
    #[error("image reference {reference:?} is malformed: {reason}")]
    Reference { reference: String, reason: String },
    #[error(
        "image {reference} is not on this node and may not be pulled (imagePullPolicy: Never); load it with `podbox image load`"
    )]
    NotPresent { reference: String },
    #[error("image {reference} is not on this node; `podbox image ls` lists those that are")]
    Unknown { reference: String },
    #[error("image {reference} was not found: {registry} has no such repository, tag or digest")]
    NotFound { reference: String, registry: String },
    #[error("image {reference}: {registry} refused access; it may be private, or not exist")]
    Unauthorized { reference: String, registry: String },
    #[error("image {reference}: fetching {what} from {registry} failed{hint}")]
    Registry {
        reference: String,
        registry: String,
        what: String,
        hint: &'static str,
        source: Box<OciDistributionError>,
    },
    #[error("image {image} has nothing for {wanted}; it has {found}")]
    Platform { image: String, wanted: String, found: String },
    #[error(
        "image {image}: {what} does not match its digest: expected {expected}, got {actual}; it was corrupted or forged, nothing was kept"
    )]
    Digest { image: String, what: String, expected: String, actual: String },
    #[error("image {image}: {what} is invalid: {reason}")]
    Invalid { image: String, what: String, reason: String },
    #[error("image {image}, layer {layer}: unpacking {entry:?} failed, nothing was kept")]
    Entry { image: String, layer: Digest, entry: String, source: Box<EntryError> },
    #[error("image {image}, layer {layer}: the layer is truncated or corrupt, nothing was kept")]
    Layer { image: String, layer: Digest, source: io::Error },
    #[error(
        "image {image}, layer {layer}: it has more than {limit} {what} and was refused as a decompression bomb; nothing was kept"
    )]
    TooLarge { image: String, layer: Digest, what: &'static str, limit: u64 },
    #[error("no space left on the disk of {} while {what}; nothing was kept: free some space, or use another --state-dir", path.display())]
    DiskFull { path: PathBuf, what: &'static str },
    #[error("{}: {reason}; expected an OCI layout directory, an OCI archive or a docker-save archive", path.display())]
    Source { path: PathBuf, reason: String },
    #[error("{}: an image in it has no name; name it with --tag", path.display())]
    Unnamed { path: PathBuf },
    #[error("{}: it holds {count} images, --tag can name only one", path.display())]
    AmbiguousTag { path: PathBuf, count: usize },
    #[error("image {reference} is in use by a container (layer {layer}); stop it first")]
    InUse { reference: String, layer: Digest },
    #[error("the image index {} is damaged; move it away and pull or load the images again", path.display())]
    Index { path: PathBuf, source: serde_json::Error },
    #[error("{what} {} failed", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("setting up TLS failed; are the system's CA certificates (package ca-certificates) installed?")]
    Tls { source: Box<OciDistributionError> },
    #[error("{message}")]
    Shared { reference: String, reason: &'static str, message: String },
    #[error("a worker that unpacked image {reference} ended unexpectedly")]
    Worker { reference: String },
}

/// Why one entry of a layer was refused or could not be made.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Its name.
    #[error("{0}")]
    Path(#[from] PathError),
    /// The name of what it links to.
    #[error("the hard link's target {target:?} is refused: {reason}")]
    LinkTarget {
        /// As the archive has it.
        target: String,
        /// Why.
        reason: PathError,
    },
    /// It would be made through a symbolic link.
    #[error(
        "it goes through a symbolic link that the layer itself placed: refused, as it could leave the layer"
    )]
    ThroughSymlink,
    /// A parent is not a directory.
    #[error("a parent of it is not a directory")]
    ParentNotDirectory,
    /// A kind that layers do not have.
    #[error("its type {0:?} is not supported in layers")]
    Kind(char),
    /// A value in its header is out of range.
    #[error("its header is invalid: {0}")]
    Header(&'static str),
    /// The kernel refused.
    #[error("{what} failed")]
    Sys {
        /// Which operation.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ImageError {
    /// The word Kubernetes has for it in a waiting container's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            ImageError::Reference { .. } => "InvalidImageName",
            ImageError::NotPresent { .. } => "ErrImageNeverPull",
            ImageError::Shared { reason, .. } => reason,
            _ => "ErrImagePull",
        }
    }

    /// An I/O error on a path, with a full disk told apart.
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> ImageError {
        if is_full(&source) {
            ImageError::DiskFull { path: path.to_owned(), what }
        } else {
            ImageError::Io { what, path: path.to_owned(), source }
        }
    }
}

/// Whether an I/O error says that the disk, or the quota, is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOSPC | Errno::EDQUOT))
}
