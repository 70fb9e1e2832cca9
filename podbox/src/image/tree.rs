//! Makes files below one directory and nowhere else.
//!
//! **Invariant: nothing outside the root is ever touched, whatever the entries are.** Each entry's directory is
//! opened with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, and the entry is then made in it by a single name
//! with calls that do not follow links. Symbolic links are kept as data, whatever they point to. Nobody else
//! works in the root: it is a new directory that only root can enter.

use super::error::EntryError;
use super::path::LayerPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const OPAQUE: &str = "trusted.overlay.opaque";

/// Who owns an entry, and its permission bits with setuid, setgid and sticky.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A directory to make files in.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// The directory must exist.
    pub fn open(root: &Path) -> io::Result<Tree> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Tree { root: nix::fcntl::open(root, flags, Mode::empty())? })
    }

    /// Opens a directory of the tree; makes it, and its parents, as root's with mode 0755 where they are absent.
    pub fn parent(&self, path: &LayerPath) -> Result<OwnedFd, EntryError> {
        match self.dir(path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            other => return other.map_err(resolve_error),
        }
        let Some((above, name)) = path.split() else { return self.dir(path).map_err(resolve_error) };
        let above = self.parent(&above)?;
        let opaque = match stat(&above, name)? {
            None => false,
            Some(found) if is_whiteout(&found) => {
                remove(&above, name, &found)?;
                true
            }
            Some(_) => return Err(EntryError::ParentNotDirectory),
        };
        mkdirat(&above, name, Mode::from_bits_truncate(0o755)).map_err(sys("making a parent directory"))?;
        if opaque {
            self.opaque(path)?;
        }
        self.dir(path).map_err(resolve_error)
    }

    fn dir(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        let path = if path.split().is_none() { Path::new(".") } else { path.as_path() };
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.root, path, how)
    }

    /// Makes a directory, or takes the one that is there.
    pub fn directory(&self, path: &LayerPath, owned: Owned) -> Result<(), EntryError> {
        let Some((above, name)) = path.split() else { return own(&self.root, OsStr::new("."), owned) };
        let above = self.parent(&above)?;
        let found = stat(&above, name)?;
        let is_dir = found.is_some_and(|found| kind(&found) == SFlag::S_IFDIR);
        if !is_dir {
            if let Some(found) = &found {
                remove(&above, name, found)?;
            }
            mkdirat(&above, name, Mode::from_bits_truncate(0o700)).map_err(sys("making the directory"))?;
            if found.as_ref().is_some_and(is_whiteout) {
                self.opaque(path)?;
            }
        }
        own(&above, name, owned)
    }

    /// Makes an empty file to write to.
    pub fn file(&self, above: &OwnedFd, name: &OsStr) -> Result<File, EntryError> {
        clear(above, name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            openat(above, name, flags, Mode::from_bits_truncate(0o600)).map_err(sys("creating the file"))?;
        Ok(File::from(fd))
    }

    /// Makes a symbolic link; its target is data.
    pub fn symlink(
        &self,
        above: &OwnedFd,
        name: &OsStr,
        target: &OsStr,
        owned: Owned,
    ) -> Result<(), EntryError> {
        clear(above, name)?;
        symlinkat(target, above, name).map_err(sys("making the symbolic link"))?;
        chown(above, name, owned)
    }

    /// Makes another name for a file of the layer.
    pub fn hardlink(&self, above: &OwnedFd, name: &OsStr, target: &LayerPath) -> Result<(), EntryError> {
        let (dir, file) = target.split().ok_or(EntryError::Header("a hard link to the root"))?;
        let dir = self.dir(&dir).map_err(resolve_error)?;
        let same = match (stat(&dir, file)?, stat(above, name)?) {
            (Some(a), Some(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        };
        if same {
            return Ok(());
        }
        clear(above, name)?;
        linkat(&dir, file, above, name, AtFlags::empty()).map_err(sys("making the hard link"))
    }

    /// Makes a device or a FIFO.
    pub fn node(
        &self,
        above: &OwnedFd,
        name: &OsStr,
        kind: SFlag,
        dev: u64,
        owned: Owned,
    ) -> Result<(), EntryError> {
        clear(above, name)?;
        mknodat(above, name, kind, Mode::from_bits_truncate(0o600), dev)
            .map_err(sys("making the device node"))?;
        own(above, name, owned)
    }

    /// Hides what lower layers have by this name. What this same layer has by it stays, in whatever order
    /// the two come: a directory becomes opaque.
    pub fn whiteout(&self, dir: &LayerPath, name: &OsStr) -> Result<(), EntryError> {
        let above = self.parent(dir)?;
        match stat(&above, name)? {
            None => {
                mknodat(&above, name, SFlag::S_IFCHR, Mode::empty(), 0).map_err(sys("making the whiteout"))
            }
            Some(found) if kind(&found) == SFlag::S_IFDIR => set_xattr(&above, name, OPAQUE.as_bytes(), b"y"),
            Some(_) => Ok(()),
        }
    }

    /// Hides everything that lower layers have in this directory.
    pub fn opaque(&self, dir: &LayerPath) -> Result<(), EntryError> {
        let dir = self.parent(dir)?;
        set_xattr(&dir, OsStr::new("."), OPAQUE.as_bytes(), b"y")
    }

    /// Sets when the entry was changed; links are not followed.
    pub fn touch(&self, path: &LayerPath, mtime: (i64, u32)) -> Result<(), EntryError> {
        let (dir, name) = match path.split() {
            Some((above, name)) => (self.dir(&above).map_err(resolve_error)?, name),
            None => (self.dir(path).map_err(resolve_error)?, OsStr::new(".")),
        };
        touch(&dir, name, mtime)
    }
}

/// Sets when the entry was changed; links are not followed.
pub fn touch(dir: &OwnedFd, name: &OsStr, (seconds, nanos): (i64, u32)) -> Result<(), EntryError> {
    let time = TimeSpec::new(seconds, i64::from(nanos));
    utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(sys("setting its time"))
}

/// Sets owner, then mode: changing the owner clears setuid. For what is not a symbolic link.
pub fn own(dir: &OwnedFd, name: &OsStr, owned: Owned) -> Result<(), EntryError> {
    chown(dir, name, owned)?;
    let mode = Mode::from_bits_truncate(owned.mode);
    nix::sys::stat::fchmodat(dir, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
        .map_err(sys("setting its mode"))
}

fn chown(dir: &OwnedFd, name: &OsStr, owned: Owned) -> Result<(), EntryError> {
    let (uid, gid) = (Uid::from_raw(owned.uid), Gid::from_raw(owned.gid));
    fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(sys("setting its owner"))
}

/// Sets an extended attribute; links are not followed.
pub fn set_xattr(dir: &OwnedFd, name: &OsStr, key: &[u8], value: &[u8]) -> Result<(), EntryError> {
    xattr::set(below(dir, name), OsStr::from_bytes(key), value)
        .map_err(|source| EntryError::Sys { what: "setting an extended attribute", source })
}

fn stat(dir: &OwnedFd, name: &OsStr) -> Result<Option<FileStat>, EntryError> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(sys("looking it up")(errno)),
    }
}

/// Removes what an entry replaces.
fn clear(dir: &OwnedFd, name: &OsStr) -> Result<(), EntryError> {
    match stat(dir, name)? {
        Some(found) => remove(dir, name, &found),
        None => Ok(()),
    }
}

fn remove(dir: &OwnedFd, name: &OsStr, found: &FileStat) -> Result<(), EntryError> {
    if kind(found) == SFlag::S_IFDIR {
        // Does not follow links, not even ones below.
        return fs::remove_dir_all(below(dir, name))
            .map_err(|source| EntryError::Sys { what: "removing the directory it replaces", source });
    }
    unlinkat(dir, name, UnlinkatFlags::NoRemoveDir).map_err(sys("removing the file it replaces"))
}

fn is_whiteout(found: &FileStat) -> bool {
    kind(found) == SFlag::S_IFCHR && found.st_rdev == 0
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

/// A path to a name in an open directory, for calls that take no directory.
fn below(dir: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

fn resolve_error(errno: Errno) -> EntryError {
    match errno {
        Errno::ELOOP | Errno::EXDEV => EntryError::ThroughSymlink,
        Errno::ENOTDIR => EntryError::ParentNotDirectory,
        errno => sys("opening its directory")(errno),
    }
}

fn sys(what: &'static str) -> impl Fn(Errno) -> EntryError {
    move |errno| EntryError::Sys { what, source: errno.into() }
}
