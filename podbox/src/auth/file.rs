//! Putting secrets into files: each write is a list of steps, so that a test can stop after any of them.
//!
//! **Invariant:** a file is either as it was or as it shall be, whenever the machine stops, and at no moment can anyone
//! but root read it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One step.
pub enum Step {
    /// A directory for root alone, made or made so.
    Directory(PathBuf),
    /// A file for root alone, with this content on the disk. What was there is gone.
    Content(PathBuf, String),
    /// A file takes another's place.
    Rename(PathBuf, PathBuf),
    /// The names in a directory are on the disk.
    Sync(PathBuf),
}

/// Contents are not shown.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Directory(path) => write!(f, "making {}", path.display()),
            Step::Content(path, _) => write!(f, "writing {}", path.display()),
            Step::Rename(_, path) => write!(f, "replacing {}", path.display()),
            Step::Sync(path) => write!(f, "syncing {}", path.display()),
        }
    }
}

impl Step {
    /// Does it.
    pub fn apply(&self) -> io::Result<()> {
        match self {
            Step::Directory(path) => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                fs::set_permissions(path, Permissions::from_mode(0o700))
            }
            Step::Content(path, text) => {
                absent(fs::remove_file(path))?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            }
            Step::Rename(from, to) => fs::rename(from, to),
            Step::Sync(path) => File::open(path)?.sync_all(),
        }
    }
}

fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What puts `text` into the file at `path`.
pub fn write(path: &Path, text: String) -> Vec<Step> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    vec![
        Step::Content(beside.clone(), text),
        Step::Rename(beside, path.to_owned()),
        Step::Sync(parent.to_owned()),
    ]
}

/// A file's text, if it is there. From now on it is root's alone, whatever it was.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
