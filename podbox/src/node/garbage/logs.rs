//! Logs that nobody needs any more: of pods that are gone, and of runs before the last but one.
//!
//! ```text
//!   a pod's sandbox is to be made ──▶ mark ──▶ its logs … neither in the API nor here ──▶ logs removed ──▶ mark removed
//! ```
//!
//! A mark is an empty file in `<state>/logs`, named by the pod's uid. It is there before the logs are and goes after them, so
//! neither a short life nor a restart of podbox leaves logs for good. Logs of pods without one are somebody else's, as `podbox
//! run`'s are its user's: they stay.

use crate::api::error::chain;
use crate::config::Config;
use crate::sandbox::tree;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Whose logs were begun here, as the files in a directory.
#[derive(Clone, Debug)]
pub struct LogMarks {
    dir: PathBuf,
}

impl LogMarks {
    /// Those of a node.
    pub fn of(config: &Config) -> LogMarks {
        LogMarks { dir: config.state_dir.join("logs") }
    }

    fn set(&self, uid: &str) -> io::Result<()> {
        let path = self.dir.join(uid);
        match File::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.dir)?;
                File::create(&path).map(drop)
            }
            made => made.map(drop),
        }
    }

    /// The uids of all that have one. Whoever sweeps by them asks for them first, and for the pods that are there after that:
    /// else a pod that comes in between were held to have gone.
    pub fn all(&self) -> BTreeSet<String> {
        let name = |entry: DirEntry| entry.file_name().to_string_lossy().into_owned();
        fs::read_dir(&self.dir).into_iter().flatten().flatten().map(name).collect()
    }

    /// Notes that the pod of this uid has logs here, or is to have some. That it failed is logged: the next sweep finds the
    /// logs of a pod that is there without a mark, and tries again. Blocking.
    pub fn note(&self, uid: &str) {
        if let Err(error) = self.set(uid) {
            tracing::warn!("noting that pod {uid} has logs in {} failed: {error}", self.dir.display());
        }
    }

    fn clear(&self, uid: &str) {
        let path = self.dir.join(uid);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("removing {} failed: {error}", path.display());
        }
    }
}

/// Takes away logs of marked pods that are not there any more, and of runs before the last but one of those that are. A pod
/// that mounts the directory may have put links there: they are not followed. What cannot be removed is tried again.
pub fn sweep(config: &Config, marked: &BTreeSet<String>, there: &BTreeSet<String>) {
    let marks = LogMarks::of(config);
    let mut over: BTreeSet<&str> =
        marked.iter().filter(|uid| !there.contains(*uid)).map(String::as_str).collect();
    for pod in fs::read_dir(&config.log_dir).into_iter().flatten().flatten() {
        let name = pod.file_name().to_string_lossy().into_owned();
        let Some((_, uid)) = name.rsplit_once('_') else { continue };
        if there.contains(uid) {
            if !marked.contains(uid) {
                marks.note(uid);
            }
            in_directory(&pod.path(), |containers| {
                containers.for_each(|one| in_directory(&one.path(), old_runs));
            });
        } else if over.contains(uid)
            && let Err(error) = tree::remove(&pod.path())
        {
            tracing::warn!("removing the logs {} failed: {}", pod.path().display(), chain(&error));
            over.remove(uid);
        }
    }
    over.into_iter().for_each(|uid| marks.clear(uid));
}

/// Does something with what is in a directory, whatever its path leads to meanwhile; nothing, if it is none.
fn in_directory(path: &Path, work: impl FnOnce(&mut dyn Iterator<Item = DirEntry>)) {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(held) = open(path, flags, Mode::empty()) else { return };
    let entries = fs::read_dir(format!("/proc/self/fd/{}", held.as_raw_fd()));
    work(&mut entries.into_iter().flatten().flatten());
}

/// Removes the logs of a container's runs but for the last two. `3.log`, and rotated ones `3.log.TIME`.
fn old_runs(files: &mut dyn Iterator<Item = DirEntry>) {
    let run = |name: &str| name.split('.').next().and_then(|number| number.parse::<u32>().ok());
    let runs: Vec<_> =
        files.filter_map(|file| Some((run(&file.file_name().to_string_lossy())?, file.path()))).collect();
    let Some(last) = runs.iter().map(|(run, _)| *run).max() else { return };
    for (_, path) in runs.iter().filter(|(run, _)| *run + 1 < last) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("removing the log {} failed: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        Config { log_dir: dir.join("log"), state_dir: dir.join("state"), ..Config::default() }
    }

    fn write(config: &Config, path: &str) {
        let path = config.log_dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn uids(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|uid| (*uid).to_owned()).collect()
    }

    #[test]
    fn logs_of_the_last_two_runs_stay_while_their_pod_does() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let all = ["0.log", "1.log", "1.log.20260101-000000", "2.log", "3.log"];
        all.iter().for_each(|file| write(&config, &format!("n_p_u/c/{file}")));
        // An older podbox set no mark.
        sweep(&config, &uids(&[]), &uids(&["u"]));
        assert_eq!(LogMarks::of(&config).all(), uids(&["u"]));
        let left = all.map(|file| config.log_dir.join(format!("n_p_u/c/{file}")).exists());
        assert_eq!(left, [false, false, false, true, true]);
    }

    #[test]
    fn logs_go_with_their_pod_however_short_it_was_there_and_those_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let marks = LogMarks::of(&config);
        for uid in ["short", "runs", "silent"] {
            marks.set(uid).unwrap();
        }
        for name in ["n_p_short", "n_p_runs", "n_p_foreign"] {
            write(&config, &format!("{name}/c/0.log"));
        }
        let there = |name: &str| config.log_dir.join(name).exists();
        // Nobody has seen the first one before.
        sweep(&config, &marks.all(), &uids(&["runs"]));
        assert_eq!(["n_p_short", "n_p_runs", "n_p_foreign"].map(there), [false, true, true]);
        assert_eq!(marks.all(), uids(&["runs"]));
    }

    #[test]
    fn logs_that_cannot_be_removed_are_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let marks = LogMarks::of(&config);
        marks.set("u").unwrap();
        fs::create_dir_all(&config.log_dir).unwrap();
        // No directory can be had by this name.
        let path = config.log_dir.join("n_p_u");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        sweep(&config, &marks.all(), &uids(&[]));
        assert_eq!(marks.all(), uids(&["u"]));
        fs::remove_file(&path).unwrap();
        write(&config, "n_p_u/c/0.log");
        sweep(&config, &marks.all(), &uids(&[]));
        assert!(!path.exists() && marks.all().is_empty());
    }
}
