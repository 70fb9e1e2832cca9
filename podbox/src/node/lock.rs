//! One podbox per host: a lock on a file in the run directory.
//!
//! The kernel drops the lock with its holder, however that ends; what the file says only serves the
//! message that names the holder.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the host could not be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another one runs.
    #[error("another podbox runs on this host: {holder}; end it first, or give this one its own --run-dir")]
    Held {
        /// What it wrote about itself.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("taking the lock {} failed", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The host's lock, held as long as this lives.
#[derive(Debug)]
pub struct HostLock {
    _file: Flock<File>,
}

/// Takes the host for the command `name` (`run`, `node`).
pub fn take(run_dir: &Path, name: &str) -> Result<HostLock, LockError> {
    let path = run_dir.join("podbox.lock");
    let failed = |source| LockError::Io { path: path.clone(), source };
    fs::create_dir_all(run_dir).map_err(failed)?;
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0).map_err(failed)?;
            writeln!(file, "`podbox {name}`, pid {}", std::process::id()).map_err(failed)?;
            Ok(HostLock { _file: file })
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => Err(LockError::Held { holder: holder(&mut file) }),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(256).read_to_string(&mut text));
    match (read, text.trim()) {
        (Ok(_), holder) if !holder.is_empty() => holder.to_owned(),
        _ => "it did not say its name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), "node").unwrap();
        let refused = take(dir.path(), "run").unwrap_err().to_string();
        assert!(refused.contains("`podbox node`, pid"), "{refused}");
        drop(first);
        take(dir.path(), "run").unwrap();
    }
}
