//! Walks trees that somebody else may have made, and may be changing: containers' files and volumes.
//!
//! A tree may be as deep, and have as many files, as its maker likes. So the walk is a loop, holds three descriptors however
//! deep it is, and keeps in memory the names of directories only: those on the way, and those beside it.
//!
//! Invariant: it does not leave the tree. Directories are opened by their names in the one before, never through a link
//! and never where something is mounted: that belongs to others. The way up is checked: where a directory has been moved meanwhile, the walk goes on from the top of what is still
//! where it was.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What is done with what is found. An error ends the walk.
pub trait Visitor {
    /// With anything but a directory: the directory that it is in, and its name there.
    fn file(&mut self, within: BorrowedFd<'_>, name: &CStr, found: &FileStat) -> io::Result<()>;

    /// With a directory, before what is in it.
    fn enter(&mut self, _found: &FileStat) -> io::Result<()> {
        Ok(())
    }

    /// With a directory, after what is in it.
    fn leave(&mut self, _directory: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// With a directory on which something is mounted: it is not entered.
    fn mounted(&mut self, _name: &CStr) -> io::Result<()> {
        Ok(())
    }

    /// With a directory that was left, from the one above.
    fn above(&mut self, _within: BorrowedFd<'_>, _name: &CStr) -> io::Result<()> {
        Ok(())
    }
}

/// Walks the directory at `root`, and all that is in it. What vanishes meanwhile is passed over. Blocking.
pub fn walk(root: &Path, visitor: &mut impl Visitor) -> io::Result<()> {
    let top = directory(AT_FDCWD, root)?;
    let mut at = top.try_clone()?;
    let mut way = vec![Level::read(&at, CString::default(), visitor)?];
    while let Some(level) = way.last_mut() {
        if let Some(name) = level.below.pop() {
            match below(&at, &name) {
                Ok(below) => {
                    at = below;
                    way.push(Level::read(&at, name, visitor)?);
                }
                Err(Errno::EXDEV) => visitor.mounted(&name)?,
                Err(errno) if changed(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
            continue;
        }
        visitor.leave(at.as_fd())?;
        let name = way.pop().map(|level| level.name).unwrap_or_default();
        let Some(parent) = way.last() else { break };
        match directory(&at, "..") {
            Ok(above) if identity(&fstat(&above)?) == parent.identity => {
                visitor.above(above.as_fd(), &name)?;
                at = above;
            }
            _ => at = back(&top, &mut way)?,
        }
    }
    Ok(())
}

/// Removes the directory at a path, and all that is in it; fails where something is mounted in it, and leaves that alone.
pub fn remove(root: &Path) -> io::Result<()> {
    struct Remove;
    impl Visitor for Remove {
        fn file(&mut self, within: BorrowedFd<'_>, name: &CStr, _: &FileStat) -> io::Result<()> {
            gone(unlinkat(within, name, UnlinkatFlags::NoRemoveDir))
        }

        fn mounted(&mut self, name: &CStr) -> io::Result<()> {
            let why = format!("something is mounted at {} in it: unmount it first", name.to_string_lossy());
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        }

        fn above(&mut self, within: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
            gone(unlinkat(within, name, UnlinkatFlags::RemoveDir))
        }
    }
    walk(root, &mut Remove)?;
    std::fs::remove_dir(root)
}

fn gone(removed: nix::Result<()>) -> io::Result<()> {
    match removed {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether it is so since it is not, or not a directory, any more.
fn changed(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
}

/// A directory on the way.
struct Level {
    /// In the one before.
    name: CString,
    identity: (u64, u64),
    /// Directories in it that are still to be walked.
    below: Vec<CString>,
}

impl Level {
    fn read(directory: &OwnedFd, name: CString, visitor: &mut impl Visitor) -> io::Result<Level> {
        let own = fstat(directory)?;
        visitor.enter(&own)?;
        let mut below = Vec::new();
        // A description of its own: reading moves its place.
        for entry in Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(found) if kind(&found) == SFlag::S_IFDIR => below.push(name.to_owned()),
                Ok(found) => visitor.file(directory.as_fd(), name, &found)?,
                Err(errno) if changed(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Level { name, identity: identity(&own), below })
    }
}

/// The deepest level that is still where it was; those below are given up.
fn back(top: &OwnedFd, way: &mut Vec<Level>) -> io::Result<OwnedFd> {
    let mut at = top.try_clone()?;
    for depth in 1..way.len() {
        match below(&at, &way[depth].name) {
            Ok(next) if identity(&fstat(&next)?) == way[depth].identity => at = next,
            _ => {
                way.truncate(depth);
                break;
            }
        }
    }
    Ok(at)
}

/// A directory in another one, on the same mount.
fn below(within: impl AsFd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let stay = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    openat2(within, name, OpenHow::new().flags(flags).resolve(stay))
}

fn directory<P: ?Sized + nix::NixPath>(within: impl AsFd, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(within, name, flags, Mode::empty())
}

fn identity(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

/// What kind of file it is.
pub fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::fs;

    /// A tree so deep that no path leads to its end, with a file there.
    pub fn deep(root: &Path, depth: usize) {
        fs::create_dir(root).unwrap();
        let mut at = directory(AT_FDCWD, root).unwrap();
        for _ in 0..depth {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = directory(&at, "d").unwrap();
        }
        openat(&at, "f", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).unwrap();
    }

    /// Runs something where recursion would not get far.
    pub fn narrow<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, work).unwrap().join().unwrap()
        })
    }

    #[test]
    fn a_tree_is_removed_however_deep_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        deep(&root, 20_000);
        narrow(|| remove(&root)).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn what_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        remove(&root).unwrap();
        assert!(outside.join("kept").exists() && !root.exists());
        std::os::unix::fs::symlink(&outside, &root).unwrap();
        assert!(remove(&root).is_err(), "it is not a directory itself");
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn what_is_mounted_in_it_stays_and_is_told() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        use nix::sched::{CloneFlags, unshare};
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        // In a mount namespace of this thread's own.
        let tried = std::thread::scope(|scope| {
            let work = || {
                if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNS).is_err() {
                    return None;
                }
                let none = None::<&str>;
                mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).ok()?;
                // A part of the same file system: nothing but the mount tells them apart.
                let at = root.join("a/b");
                mount(Some(&outside), &at, none, MsFlags::MS_BIND, none).ok()?;
                let refused = remove(&root).unwrap_err().to_string();
                umount2(&at, MntFlags::MNT_DETACH).unwrap();
                Some((refused, remove(&root).is_ok()))
            };
            scope.spawn(work).join().unwrap()
        });
        let Some((refused, removed)) = tried else { return };
        assert!(refused.contains("something is mounted at b"), "{refused}");
        assert!(removed && !root.exists() && outside.join("kept").exists());
    }

    #[test]
    fn what_is_moved_out_of_the_tree_is_not_followed() {
        /// Moves the directory `a/b` away when it is entered.
        struct Move<'a>(&'a Path, Vec<CString>);
        impl Visitor for Move<'_> {
            fn file(&mut self, _: BorrowedFd<'_>, name: &CStr, _: &FileStat) -> io::Result<()> {
                if name == c"moves" {
                    fs::rename(self.0.join("tree/a/b"), self.0.join("outside/b"))?;
                }
                self.1.push(name.to_owned());
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tree/a/b/c")).unwrap();
        fs::create_dir_all(dir.path().join("outside/other")).unwrap();
        for file in ["tree/a/b/c/moves", "outside/other/not", "tree/a/here"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let mut seen = Move(dir.path(), Vec::new());
        walk(&dir.path().join("tree"), &mut seen).unwrap();
        seen.1.sort();
        assert_eq!(seen.1, [c"here".to_owned(), c"moves".to_owned()]);
    }
}
