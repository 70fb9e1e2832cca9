//! Work directories: what is being made lies here until it is whole, and goes away with its maker.
//!
//! A maker holds a lock on its directory. Whoever finds one unlocked has found what a crash left, and removes it.

use super::error::ImageError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A work directory of one maker; removed when dropped.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Stage {
    /// Makes one below `root`, on the file system its content will stay on.
    pub fn create(root: &Path) -> Result<Stage, ImageError> {
        loop {
            let path = root.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // A crashed process had the same id.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(ImageError::io("making the work directory", &path, error)),
            }
            // Between the two calls a cleaner may have taken it for a leftover: then try another.
            if let Some(lock) = try_lock(&path)?
                && path.is_dir()
            {
                return Ok(Stage { path, _lock: lock });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("removing the work directory {} failed: {error}", self.path.display());
        }
    }
}

/// Removes what crashed makers left below `root`.
pub fn clean(root: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::io("removing leftovers in", root, error);
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(_lock) = try_lock(&path)? {
            tracing::info!("removing {}, left by a crash", path.display());
            fs::remove_dir_all(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Locks a directory; `None` if another holds it, or it is gone.
fn try_lock(path: &Path) -> Result<Option<Flock<File>>, ImageError> {
    let failed = |error| ImageError::io("locking the work directory", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_what_is_being_made_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("999999-0/fs/etc")).unwrap();
        let stage = Stage::create(root.path()).unwrap();
        fs::write(stage.path().join("file"), "x").unwrap();
        clean(root.path()).unwrap();
        assert!(!root.path().join("999999-0").exists());
        assert!(stage.path().join("file").exists());
        drop(stage);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
