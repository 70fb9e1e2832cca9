//! What outlives the daemon so that a later one can go on: a sandbox's record in the run directory, and the
//! label that the keeper holds with a container.

use super::plan::Facts;
use super::spec::{ContainerSpec, SandboxSpec};
use crate::api::identity::{ContainerRef, PodRef, QosClass};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a record could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file operation.
    #[error("cannot keep or read the record {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Not ours, or of another version.
    #[error("the record {} cannot be understood", .0.display())]
    Parse(PathBuf, #[source] serde_json::Error),
    /// The keeper holds a container that this podbox did not start.
    #[error("the keeper's label {0:?} cannot be understood")]
    Label(String, #[source] serde_json::Error),
}

/// What the engine must know of a container that an earlier one started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Which it is.
    pub container: ContainerRef,
    /// Where its cgroup is.
    pub qos: QosClass,
    /// Where its log goes.
    pub log_path: PathBuf,
    /// It has a terminal.
    pub tty: bool,
    /// Its stdin is closed when the first client that was attached to it is gone.
    pub stdin_once: bool,
}

impl Label {
    /// For a container about to start.
    pub fn of(spec: &ContainerSpec) -> Label {
        let (container, log_path) = (spec.container.clone(), spec.log_path.clone());
        Label { container, qos: spec.qos, log_path, tty: spec.tty, stdin_once: spec.stdin_once }
    }

    /// As the keeper holds it.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data with string keys is always JSON")
    }

    /// From what the keeper holds.
    pub fn parse(text: &str) -> Result<Label, RecordError> {
        serde_json::from_str(text).map_err(|error| RecordError::Label(text.to_owned(), error))
    }
}

/// Writes a sandbox's record. Whole or not at all; not synced, as nothing of a sandbox survives a crash of the
/// machine either.
pub fn write(spec: &SandboxSpec, facts: &Facts) -> Result<(), RecordError> {
    let path = facts.record(&spec.pod);
    let new = path.with_extension("new");
    // Teardown needs the files' names only.
    let text =
        serde_json::to_vec(&spec.without_bytes()).map_err(|error| RecordError::Parse(path.clone(), error))?;
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
    written.map_err(|error| RecordError::Io(path, error))
}

/// Takes away what a podbox that was killed had begun to write into a directory, and had not yet given its name. Only for whom it
/// belongs to: others may be writing.
pub fn sweep(dir: &Path) {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "new")) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("removing {}, which is unfinished, failed: {error}", path.display());
        }
    }
}

/// Every sandbox that has a record.
pub fn read_all(run_dir: &Path) -> Result<Vec<SandboxSpec>, RecordError> {
    let dir = run_dir.join("sandboxes");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(|error| RecordError::Io(dir, error))?,
    };
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).map_err(|error| RecordError::Io(path.clone(), error))?;
            all.push(serde_json::from_slice(&text).map_err(|error| RecordError::Parse(path, error))?);
        }
    }
    Ok(all)
}

/// Removes a sandbox's record: it is gone.
pub fn remove(pod: &PodRef, facts: &Facts) -> Result<(), RecordError> {
    let path = facts.record(pod);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RecordError::Io(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_to_its_end_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.new", "new"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        sweep(dir.path());
        sweep(&dir.path().join("absent"));
        let left: std::collections::BTreeSet<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["a.json".into(), "new".into()].into());
    }
}
