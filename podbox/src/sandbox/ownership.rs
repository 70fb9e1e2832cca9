//! Giving volumes to a pod's fsGroup: group, the group's permissions, and setgid on directories, as the kubelet does.
//!
//! A container may write to a volume that is given away while it is: no link in it is followed, and nothing but
//! what a name was opened as is changed.

use super::spec::FsGroup;
use super::tree::{self, Visitor};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, fchownat};
use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the group may do with what is only read.
pub const READ: u32 = 0o440;
/// What it may do with the rest.
pub const WRITE: u32 = 0o660;
/// And with directories: what is made in them is the group's, too.
const DIRECTORY: u32 = 0o2110;

/// Gives a volume that containers write to its group.
pub fn give(volume: &Path, group: &FsGroup) -> io::Result<()> {
    if group.trust_root {
        let root = fstat(&hold(volume)?)?;
        if root.st_gid == group.gid && root.st_mode & (WRITE | DIRECTORY) == WRITE | DIRECTORY {
            return Ok(());
        }
    }
    give_all(volume, group.gid, WRITE)
}

/// Gives a file or a directory, and all that is in it; directories last, so that one that is right is right below, too.
pub fn give_all(path: &Path, gid: u32, permissions: u32) -> io::Result<()> {
    let held = hold(path)?;
    match tree::kind(&fstat(&held)?) {
        SFlag::S_IFDIR => tree::walk(path, &mut Give { gid, permissions }),
        _ => give_one(held.as_fd(), gid, permissions),
    }
}

/// Gives all of a tree.
struct Give {
    gid: u32,
    permissions: u32,
}

impl Visitor for Give {
    fn file(&mut self, within: BorrowedFd<'_>, name: &CStr, _: &FileStat) -> io::Result<()> {
        match openat(within, name, HOLD, Mode::empty()) {
            // A container took it away meanwhile.
            Err(Errno::ENOENT) => Ok(()),
            held => give_one(held?.as_fd(), self.gid, self.permissions),
        }
    }

    fn leave(&mut self, directory: BorrowedFd<'_>) -> io::Result<()> {
        give_one(directory, self.gid, self.permissions)
    }
}

/// Gives a directory, and nothing that is in it.
pub fn give_directory(path: &Path, gid: u32, permissions: u32) -> io::Result<()> {
    give_one(hold(path)?.as_fd(), gid, permissions)
}

fn give_one(held: BorrowedFd<'_>, gid: u32, permissions: u32) -> io::Result<()> {
    let found = fstat(held)?;
    fchownat(held, "", None, Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)?;
    let mode = found.st_mode & 0o7777;
    match tree::kind(&found) {
        SFlag::S_IFLNK => Ok(()),
        SFlag::S_IFDIR => set(held, mode | permissions | DIRECTORY),
        _ => set(held, mode | permissions),
    }
}

/// Holds whatever it is, without opening it for anything.
const HOLD: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn hold(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, HOLD, Mode::empty())?)
}

fn set(held: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    fs::set_permissions(itself, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn the_group_gets_everything_but_what_links_lead_to() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("d")).unwrap();
        for (path, mode) in [(&outside, 0o600), (&volume.join("d/f"), 0o600)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        symlink(&outside, volume.join("link")).unwrap();
        let look = |path: &Path| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.gid(), found.mode() & 0o7777)
        };
        let group = |trust_root| FsGroup { gid: 4321, trust_root };
        give(&volume, &group(false)).unwrap();
        assert_eq!(look(&volume), (4321, 0o2775));
        assert_eq!(look(&volume.join("d")), (4321, 0o2775));
        assert_eq!(look(&volume.join("d/f")), (4321, 0o660));
        assert_eq!(look(&outside), (0, 0o600));

        fs::write(volume.join("new"), "").unwrap();
        fs::set_permissions(volume.join("new"), Permissions::from_mode(0o600)).unwrap();
        give(&volume, &group(true)).unwrap();
        assert_eq!(look(&volume.join("new")).1, 0o600, "the root is right: nothing else is looked at");
        give(&volume, &group(false)).unwrap();
        assert_eq!(look(&volume.join("new")), (4321, 0o660));
    }

    #[test]
    fn a_tree_is_given_however_deep_it_is() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        tree::tests::deep(&volume, 20_000);
        tree::tests::narrow(|| give_all(&volume, 4321, WRITE)).unwrap();
        assert_eq!(fs::metadata(volume.join("d/d/d")).unwrap().gid(), 4321);
        tree::remove(&volume).unwrap();
    }
}
