//! What is known of pods on file, for the daemon after this one: one file per pod in the run directory, replaced as a whole. Of those
//! that are here it is their memories, of those that have left how they ended.
//!
//! Nothing is synced: containers do not survive a crash of the machine either, and what a killed daemon wrote is in the
//! page cache. The files are root's alone, since an image's environment may hold a secret.

use crate::sandbox::sweep_unfinished;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why what is known of a pod was not kept.
#[derive(Debug, thiserror::Error)]
#[error("{action} what is kept of pods, {}, failed", .path.display())]
pub struct CheckpointError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A directory of such files.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// Memories, in this run directory.
    pub fn new(run_dir: &Path) -> Checkpoints {
        Checkpoints { dir: run_dir.join("memories") }
    }

    /// Pods that have left, in this run directory.
    pub fn past(run_dir: &Path) -> Checkpoints {
        Checkpoints { dir: run_dir.join("past") }
    }

    /// Makes the place for them.
    pub fn prepare(&self) -> Result<(), CheckpointError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|source| CheckpointError { action: "making", path: self.dir.clone(), source })?;
        sweep_unfinished(&self.dir);
        Ok(())
    }

    /// Replaces what is known of a pod.
    pub fn write(&self, uid: &str, known: &impl Serialize) -> Result<(), CheckpointError> {
        let path = self.path(uid);
        let new = path.with_extension("new");
        let written = serde_json::to_vec(known).map_err(io::Error::from).and_then(|text| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            fs::rename(&new, &path)
        });
        written.map_err(|source| CheckpointError { action: "writing", path, source })
    }

    /// All of them. One that cannot be read is told and left out: its pod counts as unknown.
    pub fn read<T: DeserializeOwned>(&self) -> Vec<T> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let known = |path: PathBuf| {
            let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
            read.inspect_err(|error| tracing::error!(%error, "reading {} failed", path.display())).ok()
        };
        files.filter_map(known).collect()
    }

    /// What is known of a pod; nothing if there is nothing that can be read.
    pub fn of<T: DeserializeOwned>(&self, uid: &str) -> Option<T> {
        let text = fs::read(self.path(uid)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) {
        let path = self.path(uid);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "removing {} failed", path.display());
            }
            _ => {}
        }
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.dir.join(format!("{uid}.json"))
    }
}
