//! What is in a container's `/dev`: the devices and links that every one has and, where it is privileged, each device
//! of the host.
//!
//! The host's are read before the root is switched and made after it. What is a file system of its own there (`pts`,
//! `shm`, `mqueue`) is the container's own, and so is its terminal (`console`, `ptmx`). Devices that come later are not
//! seen, as under every runtime.

use super::message::{Context, Failure};
use super::mount::make_directories;
use nix::libc::dev_t;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Where all of them are.
const ROOT: &str = "/dev";
/// Character devices of every container: name, major, minor.
const DEVICES: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
/// Symbolic links of every container's `/dev`.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];
/// What of the host's `/dev` is not looked into: mounts of a container's own, and what its first process keeps.
const OWN_DIRECTORIES: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// Devices that mean a container's own terminal.
const OWN_DEVICES: [&str; 2] = ["console", "ptmx"];

/// A device of the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    path: PathBuf,
    kind: SFlag,
    number: dev_t,
    mode: u32,
    owner: (u32, u32),
}

/// Every device below the host's `/dev`.
pub fn of_host() -> Result<Vec<Device>, Failure> {
    let mut found = Vec::new();
    below(Path::new(ROOT), &mut found)?;
    Ok(found)
}

fn below(dir: &Path, found: &mut Vec<Device>) -> Result<(), Failure> {
    let subject = || dir.display().to_string();
    for entry in fs::read_dir(dir).at("read", subject())? {
        let entry = entry.at("read", subject())?;
        let (name, path) = (entry.file_name(), entry.path());
        let listed = |names: &[&str]| names.iter().any(|own| name == *own);
        // Devices come and go.
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        let kind = match about.file_type() {
            kind if kind.is_dir() && !listed(&OWN_DIRECTORIES) => {
                below(&path, found)?;
                continue;
            }
            kind if kind.is_char_device() && !listed(&OWN_DEVICES) => SFlag::S_IFCHR,
            kind if kind.is_block_device() => SFlag::S_IFBLK,
            _ => continue,
        };
        let (number, mode, owner) = (about.rdev(), about.mode() & 0o7777, (about.uid(), about.gid()));
        found.push(Device { path, kind, number, mode, owner });
    }
    Ok(())
}

/// Fills the container's `/dev`, which is empty. The umask is clear here.
pub fn fill(of_host: &[Device]) -> Result<(), Failure> {
    let mode = Mode::from_bits_truncate(0o666);
    for (path, major, minor) in DEVICES {
        mknod(path, SFlag::S_IFCHR, mode, makedev(major, minor)).at("mknod", path)?;
    }
    let usual = |device: &&Device| DEVICES.iter().any(|(path, ..)| device.path == Path::new(path));
    of_host.iter().filter(|device| !usual(device)).try_for_each(make)?;
    LINKS.iter().try_for_each(|(to, path)| symlink(to, path).at("symlink", *path))
}

fn make(device: &Device) -> Result<(), Failure> {
    let subject = || device.path.display().to_string();
    make_directories(device.path.parent().unwrap_or(Path::new(ROOT)))?;
    let mode = Mode::from_bits_truncate(device.mode);
    mknod(&device.path, device.kind, mode, device.number).at("mknod", subject())?;
    let (owner, group) = device.owner;
    lchown(&device.path, Some(owner), Some(group)).at("chown", subject())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_devices_are_found_but_for_those_that_are_a_containers_own() {
        let found = of_host().unwrap();
        let null = found.iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!((null.kind, null.number), (SFlag::S_IFCHR, makedev(1, 3)));
        for own in ["/dev/pts", "/dev/shm", "/dev/console", "/dev/ptmx"] {
            assert!(!found.iter().any(|device| device.path.starts_with(own)), "{own}: {found:?}");
        }
    }
}
