//! What an image says of how to run it, and where its layers lie unpacked.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The part of an OCI image configuration that a container starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `Entrypoint`; Kubernetes' `command` replaces it.
    pub entrypoint: Vec<String>,
    /// `Cmd`; Kubernetes' `args` replaces it.
    pub cmd: Vec<String>,
    /// `Env`, each `NAME=VALUE`.
    pub env: Vec<String>,
    /// `WorkingDir`; empty means `/`.
    pub working_dir: String,
    /// `User`: `uid`, `name`, `uid:gid` or `name:group`; empty means root.
    pub user: String,
    /// `StopSignal`, if it names one.
    pub stop_signal: Option<String>,
}

/// An image that is unpacked on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its configuration: `sha256:…`.
    pub id: String,
    /// `registry/repository@sha256:…`, by which it can be had again; none if no registry has it.
    #[serde(default)]
    pub digest: Option<String>,
    /// The reference it was asked for by, in full (`registry/repository:tag`).
    pub reference: String,
    /// Directories of its unpacked layers, the topmost first, as overlayfs' `lowerdir` wants them.
    pub layers: Vec<PathBuf>,
    /// How to run it.
    pub config: ImageConfig,
}

impl Image {
    /// What a container's status has for its image ID: what says where to get it, if anything does.
    pub fn status_id(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.id)
    }
}
