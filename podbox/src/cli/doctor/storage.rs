//! Where images and container roots go: overlayfs on the state directory, tried, and room on it.

use super::aside;
use super::report::Finding;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below this, unpacking an ordinary image is likely to fail.
const ROOM_BYTES: u64 = 2 << 30;
/// Part of the disk that the kubelet too wants free before it evicts: 10 %.
const ROOM_PART: u64 = 10;

pub fn examine(state_dir: &Path) -> Vec<Finding> {
    let place = existing(state_dir);
    vec![overlay(&place), room(&place)]
}

/// The state directory, or what is there of the way to it.
fn existing(state_dir: &Path) -> PathBuf {
    state_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn overlay(place: &Path) -> Finding {
    let dir = place.join(format!(".podbox-try-{}", std::process::id()));
    let tried = try_overlay(&dir);
    let removed = fs::remove_dir_all(&dir);
    let mend = "modprobe overlay, or choose a directory on ext4, xfs, btrfs or tmpfs (--state-dir)";
    let seen = |()| format!("writable layers on {}", place.display());
    Finding::tried("overlayfs", tried.and(removed), seen, ("container roots", mend))
}

fn try_overlay(dir: &Path) -> io::Result<()> {
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(dir.join(name))?;
    }
    fs::write(dir.join("lower/file"), "")?;
    // In a mount namespace of its own: nothing is left mounted, however this ends.
    aside(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // Relative, so that no character of the path can be read as an option. The thread's own directory.
        nix::unistd::chdir(dir)?;
        let options = Some("lowerdir=lower,upperdir=upper,workdir=work");
        mount(Some("podbox-try"), "merged", Some("overlay"), MsFlags::empty(), options)?;
        // Writes through, and a whiteout, as an image's layers need them.
        let used = fs::write("merged/new", "").and_then(|()| fs::remove_file("merged/file"));
        umount2("merged", MntFlags::MNT_DETACH)?;
        used
    })
}

fn room(place: &Path) -> Finding {
    let name = "disk";
    let disk = match statvfs(place) {
        Ok(disk) => disk,
        Err(errno) => {
            return Finding::degraded(name, format!("{}: {errno}", place.display()), "knowing the room", "");
        }
    };
    let fragment = disk.fragment_size();
    let (free, all) = (disk.blocks_available() * fragment, disk.blocks() * fragment);
    let seen = format!("{} of {} free on {}", gib(free), gib(all), place.display());
    if free < ROOM_BYTES || free < all / ROOM_PART {
        return Finding::degraded(
            name,
            seen,
            "room for images and logs",
            "podbox image rm, or a larger disk (--state-dir)",
        );
    }
    Finding::ok(name, seen)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_to_come_is_judged_by_what_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("not/yet")), dir.path());
    }

    #[test]
    fn looking_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        examine(&dir.path().join("state"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
