//! cgroup v2: makes, kills and removes groups. Waits are on `cgroup.events`, never on time.
//!
//! It knows neither pods nor limits; which files get which values was planned.

use super::step::Setting;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::limits;

/// Controllers podbox sets limits with.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or directory operation.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no cgroup v2 at the root.
    #[error("{} is not a cgroup v2 file system: podbox needs one, mounted there or given by --cgroup-root", .0.display())]
    NotV2(PathBuf),
    /// A limit that would kill what it is for.
    #[error("attempting to set memory limit ({limit}) below current usage ({used})")]
    Usage {
        /// What was asked for.
        limit: u64,
        /// What is used.
        used: u64,
    },
    /// Processes that SIGKILL does not end: they hang in the kernel.
    #[error("processes in {} do not end: {pids}", .path.display())]
    Undying {
        /// The group.
        path: PathBuf,
        /// Their ids.
        pids: String,
    },
}

type Result<T> = std::result::Result<T, CgroupError>;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    move |source| CgroupError::Io { action, path: path.to_owned(), source }
}

/// Which of the controllers we use this root has.
pub fn controllers(root: &Path) -> Result<BTreeSet<String>> {
    let list = fs::read_to_string(root.join("cgroup.controllers"));
    let list = list.map_err(|_| CgroupError::NotV2(root.to_owned()))?;
    Ok(list.split_whitespace().filter(|name| WANTED.contains(name)).map(str::to_owned).collect())
}

/// Makes a group that may exist already, and hands controllers on to its children.
pub fn ensure(path: &Path, delegate: &BTreeSet<String>) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done.map_err(failed("make cgroup", path))?,
    }
    hand_on(path, delegate.iter())
}

/// Hands controllers on to the children of a group.
pub fn hand_on<'a>(path: &Path, controllers: impl Iterator<Item = &'a String>) -> Result<()> {
    let line: Vec<String> = controllers.map(|name| format!("+{name}")).collect();
    if line.is_empty() {
        return Ok(());
    }
    let file = path.join("cgroup.subtree_control");
    fs::write(&file, line.join(" ")).map_err(failed("enable controllers in", &file))
}

/// Makes a new group.
pub fn create(path: &Path, settings: &[Setting], delegate: &[String]) -> Result<()> {
    fs::create_dir(path).map_err(failed("make cgroup", path))?;
    let done = settings.iter().try_for_each(|setting| write(path, setting));
    done.and_then(|()| hand_on(path, delegate.iter())).inspect_err(|_| {
        // It is empty: nobody knows of it yet.
        let _ = fs::remove_dir(path);
    })
}

fn write(group: &Path, setting: &Setting) -> Result<()> {
    let file = group.join(setting.file);
    match fs::write(&file, &setting.value) {
        Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(failed("set limit in", &file)),
    }
}

/// Changes the settings of a group that there is.
pub fn set<'a>(path: &Path, settings: impl IntoIterator<Item = &'a Setting>) -> Result<()> {
    settings.into_iter().try_for_each(|setting| write(path, setting))
}

/// Whether a setting allows more than the group has now.
pub fn grows(path: &Path, setting: &Setting) -> bool {
    let current = fs::read_to_string(path.join(setting.file)).unwrap_or_default();
    amount(&setting.value) > amount(&current)
}

/// The first number of a setting; `max` is above all others.
fn amount(text: &str) -> u64 {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first == "max" { u64::MAX } else { first.parse().unwrap_or_default() }
}

/// Refuses a limit of memory that is used up already: nobody asks for a kill in this way. Where usage is not counted, neither
/// is a limit enforced.
pub fn check_usage(path: &Path, limit: u64) -> Result<()> {
    match fs::read_to_string(path.join("memory.current")).map(|text| amount(&text)) {
        Ok(used) if used > limit => Err(CgroupError::Usage { limit, used }),
        _ => Ok(()),
    }
}

/// A group's id: what BPF calls it.
pub fn id(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(failed("examine", path))?.ino())
}

/// Whether the kernel killed a group as a whole for want of memory, by its own count; false where there is none.
pub fn group_oom(path: &Path) -> bool {
    let events = fs::read_to_string(path.join("memory.events")).unwrap_or_default();
    let count = events.lines().find_map(|line| line.strip_prefix("oom_group_kill "));
    count.is_some_and(|count| count != "0")
}

/// Kills every process in a group and below. One that is not there has none.
pub fn kill(path: &Path) -> Result<()> {
    let file = path.join("cgroup.kill");
    match fs::write(&file, "1") {
        Err(error) if is_gone(&error) => Ok(()),
        done => done.map_err(failed("kill by", &file)),
    }
}

/// Waits until no process is left in a group and below.
pub fn wait_empty(path: &Path) -> Result<()> {
    let file = path.join("cgroup.events");
    let mut events = match File::open(&file) {
        Err(error) if is_gone(&error) => return Ok(()),
        opened => opened.map_err(failed("open", &file))?,
    };
    loop {
        match populated(&mut events) {
            Ok(false) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Ok(true) => {}
            Err(error) => return Err(failed("read", &file)(error)),
        }
        let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(limits::CGROUP_EMPTY).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(0) => return Err(undying(path)),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(failed("wait for", &file)(error.into())),
        }
    }
}

/// Whether no process is left in a group and below; without waiting, and not so where that cannot be told.
pub fn is_empty(path: &Path) -> bool {
    let events = File::open(path.join("cgroup.events"));
    events.and_then(|mut events| populated(&mut events)).is_ok_and(|populated| !populated)
}

fn populated(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

fn undying(path: &Path) -> CgroupError {
    let pids = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    CgroupError::Undying {
        path: path.to_owned(),
        pids: pids.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Kills what is in a group, waits, and removes it with its children. One that is not there is removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        // Something is in it.
        Err(_) => {}
    }
    kill(path)?;
    wait_empty(path)?;
    remove_empty(path)
}

/// Removes a group without processes, and its children.
pub fn remove_empty(path: &Path) -> Result<()> {
    let children = match fs::read_dir(path) {
        Err(error) if is_gone(&error) => return Ok(()),
        listed => listed.map_err(failed("list", path))?,
    };
    for child in children.flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&child.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done.map_err(failed("remove cgroup", path)),
    }
}

/// Not there, or removed while its file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
