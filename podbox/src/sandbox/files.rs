//! The files of a volume, replaced all at once while containers read them: upstream's layout, which programs know.
//!
//! ```text
//!   volume/..2026_11_21_15_04_05.123456789/a/b      the files of one moment
//!   volume/..data -> ..2026_11_21_15_04_05.123…     which moment counts: replaced by rename
//!   volume/a      -> ..data/a                       what people and programs look at
//! ```
//!
//! It knows nothing of where the files come from. Invariants: who opens files through `..data` sees those of one
//! moment; files that are the same are not written again; what a crash left behind goes with the next write. The
//! volume is opened once, so that what is unmounted meanwhile is written nowhere else.

use super::ownership;
use super::spec::VolumeFile;
use super::tree::{self, Visitor};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The link that says which files count.
const DATA: &str = "..data";
/// Where it is made before it replaces the other.
const NEXT: &str = "..data_tmp";

/// Makes the volume at `volume` consist of these files; `memory`: only if that is a tmpfs. Tells whether anything had
/// to be changed. `group` may read them all.
pub fn replace(
    volume: &Path,
    files: &[VolumeFile],
    memory: bool,
    group: Option<u32>,
    now: SystemTime,
) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let held = open(volume, flags, Mode::empty())?;
    if memory && fstatfs(&held)?.filesystem_type() != TMPFS_MAGIC {
        return Err(io::Error::other("it is not in memory"));
    }
    let root = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let before = fs::read_link(root.join(DATA)).ok();
    if before.as_ref().is_some_and(|moment| same(&root.join(moment), files, group)) {
        // A crash may have come before the links.
        let moment = before.as_ref().and_then(|moment| moment.to_str()).unwrap_or_default();
        return tidy(&root, moment, files).map(|()| false);
    }
    let moment = name(now);
    let made = write_all(&root, &moment, files, group).and_then(|()| switch(&root, &moment));
    if let Err(error) = made {
        let _ = tree::remove(&root.join(&moment));
        return Err(error);
    }
    tidy(&root, &moment, files)?;
    Ok(true)
}

/// A moment's directory: its name sorts by time, as upstream's does.
fn name(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = crate::api::object::time(now).replace(['-', 'T', ':'], "_");
    format!("..{}.{:09}", time.trim_end_matches('Z'), since.subsec_nanos())
}

/// The mode that a file ends up with: its group may read it.
fn mode(file: &VolumeFile, group: Option<u32>) -> u32 {
    file.mode | group.map_or(0, |_| ownership::READ)
}

/// Whether a moment's directory has exactly these files.
fn same(dir: &Path, files: &[VolumeFile], group: Option<u32>) -> bool {
    let alike = |file: &VolumeFile| -> io::Result<bool> {
        let path = dir.join(&file.path);
        let found = fs::symlink_metadata(&path)?;
        let owners = (file.owner.unwrap_or(0), group.unwrap_or(0)) == (found.uid(), found.gid());
        let looks = found.is_file() && found.mode() & 0o777 == mode(file, group);
        Ok(owners && looks && found.len() == file.bytes.len() as u64 && fs::read(&path)? == file.bytes)
    };
    count(dir).is_ok_and(|found| found == files.len())
        && files.iter().all(|file| alike(file).unwrap_or(false))
}

/// Files below a directory.
fn count(dir: &Path) -> io::Result<usize> {
    struct Count(usize);
    impl Visitor for Count {
        fn file(&mut self, _: BorrowedFd<'_>, _: &CStr, _: &FileStat) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }
    }
    let mut all = Count(0);
    tree::walk(dir, &mut all)?;
    Ok(all.0)
}

fn write_all(root: &Path, moment: &str, files: &[VolumeFile], group: Option<u32>) -> io::Result<()> {
    let dir = root.join(moment);
    make_directory(&dir)?;
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent().filter(|parent| *parent != dir) {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        write(&path, file)?;
    }
    match group {
        Some(gid) => {
            // The volume itself, too; not what others have made in it. A link to it stands in for its path.
            ownership::give_directory(&root.join("."), gid, ownership::READ)?;
            ownership::give_all(&dir, gid, ownership::READ)
        }
        None => Ok(()),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    // The umask has taken bits away.
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn write(path: &Path, file: &VolumeFile) -> io::Result<()> {
    // Nobody but root may read it before it is whose it should be.
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    new.write_all(&file.bytes)?;
    if let Some(owner) = file.owner {
        lchown(path, Some(owner), None)?;
    }
    new.set_permissions(Permissions::from_mode(file.mode))
}

fn switch(root: &Path, moment: &str) -> io::Result<()> {
    let next = root.join(NEXT);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(moment, &next)?;
    fs::rename(&next, root.join(DATA))
}

/// Makes the links that are missing and takes away those, and those moments, that have had their time.
fn tidy(root: &Path, moment: &str, files: &[VolumeFile]) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(text) = name.to_str() else { continue };
        let kept = matches!(text, DATA) || text == moment || wanted.contains(text);
        match (kept, entry.file_type()?) {
            (true, _) => {}
            // What a subPath that names nothing has made is not ours.
            (false, kind) if kind.is_dir() && !text.starts_with("..") => {}
            (false, kind) if kind.is_dir() => tree::remove(&entry.path())?,
            (false, _) => fs::remove_file(entry.path())?,
        }
    }
    for name in wanted {
        match symlink(Path::new(DATA).join(name), root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn file(path: &str, text: &str, mode: u32) -> VolumeFile {
        VolumeFile { path: path.into(), bytes: text.into(), mode, owner: None }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("..2"))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn files_change_all_at_once_and_only_when_they_differ() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        let put = |files: &[VolumeFile]| replace(volume, files, false, None, clock::wall()).unwrap();
        assert!(put(&[file("a", "1", 0o644), file("d/b", "2", 0o400)]));
        assert_eq!(names(volume), ["..data", "a", "d"]);
        assert_eq!(fs::read_link(volume.join("d")).unwrap(), Path::new("..data/d"));
        assert_eq!(fs::read(volume.join("d/b")).unwrap(), b"2");
        assert_eq!(fs::metadata(volume.join("d/b")).unwrap().mode() & 0o777, 0o400);

        let before = fs::read_link(volume.join(DATA)).unwrap();
        assert!(!put(&[file("a", "1", 0o644), file("d/b", "2", 0o400)]));
        assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), before);
        // A reader that holds the old moment goes on with it.
        let held = fs::File::open(volume.join("a")).unwrap();
        fs::create_dir(volume.join("..2001_crashed")).unwrap();
        assert!(put(&[file("a", "other", 0o644), file("c", "3", 0o644)]));
        assert_eq!(names(volume), ["..data", "a", "c"]);
        assert_eq!(io::read_to_string(held).unwrap(), "1");
        assert_eq!(fs::read(volume.join("a")).unwrap(), b"other");
        let moments = fs::read_dir(volume)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("..2"));
        assert_eq!(moments.count(), 1);
        assert!(put(&[file("a", "other", 0o600), file("c", "3", 0o644)]), "modes count");
        assert!(put(&[]));
        assert_eq!(names(volume), ["..data"]);
    }

    #[test]
    fn a_group_gets_the_volume_and_its_files() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let files = [file("d/a", "1", 0o600)];
        assert!(replace(dir.path(), &files, false, Some(4321), clock::wall()).unwrap());
        for (path, mode) in [("", 0o2755), ("d", 0o2755), ("d/a", 0o640)] {
            let found = fs::metadata(dir.path().join(path)).unwrap();
            assert_eq!((found.gid(), found.mode() & 0o7777), (4321, mode), "{path:?}");
        }
        assert!(!replace(dir.path(), &files, false, Some(4321), clock::wall()).unwrap());
    }

    #[test]
    fn what_must_be_in_memory_is_written_nowhere_else() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let on_disk = nix::sys::statfs::statfs(dir.path()).unwrap().filesystem_type() != TMPFS_MAGIC;
        let written = replace(dir.path(), &[file("a", "1", 0o644)], true, None, clock::wall());
        assert_eq!(written.is_err(), on_disk);
        assert_eq!(names(dir.path()).is_empty(), on_disk);
    }
}
