//! What is on the node's disks: how full they are, and what of it pods' containers, logs and volumes take.
//!
//! Directories are walked, which takes as long as there are files: on a thread that may wait, and not at every question.

use crate::api::stats::{Disk, Filesystem, PodDisk, Space};
use crate::config::Config;
use crate::limits;
use crate::sandbox::tree::{self, Visitor};
use nix::sys::stat::FileStat;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// What volumes' directories begin with.
const VOLUME: &str = "volume-";

/// Looks at everything.
pub(super) fn read(config: &Config, at: SystemTime) -> io::Result<Disk> {
    let images = config.state_dir.join("images");
    let mut pods: BTreeMap<String, PodDisk> = BTreeMap::new();
    for pod in entries(&config.state_dir.join("pods")) {
        let disk = pods.entry(name(&pod)).or_default();
        for part in entries(&pod.path()) {
            let (found, name) = (part.path(), name(&part));
            match name.strip_prefix(VOLUME) {
                Some(volume) => drop(disk.volumes.insert(volume.to_owned(), space(&found))),
                // `/etc/hosts` and its like, which its containers share.
                None if part.file_type().is_ok_and(|kind| kind.is_file()) => {
                    disk.own = disk.own.and(space(&found));
                }
                // `NAME-ATTEMPT`, and in it what the container wrote.
                None => {
                    let (name, _) = name.rsplit_once('-').unwrap_or((&name, ""));
                    let root = &mut disk.containers.entry(name.to_owned()).or_default().root;
                    let words = space(&found.join("termination-message"));
                    *root = root.and(space(&found.join("upper"))).and(words);
                }
            }
        }
    }
    for pod in entries(&config.log_dir) {
        // `NAMESPACE_NAME_UID`
        let uid = name(&pod).rsplit_once('_').map(|(_, uid)| uid.to_owned());
        let Some(disk) = uid.and_then(|uid| pods.get_mut(&uid)) else { continue };
        for container in entries(&pod.path()) {
            disk.containers.entry(name(&container)).or_default().logs = space(&container.path());
        }
    }
    Ok(Disk {
        at,
        node: filesystem(&config.state_dir)?,
        images: filesystem(&images)?,
        image_bytes: space(&images).bytes,
        pods,
    })
}

/// How full the file system is that has this directory.
pub(super) fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let stat = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Ok(Filesystem {
        capacity_bytes: bytes(stat.blocks()),
        // What is kept for root is nobody else's.
        available_bytes: bytes(stat.blocks_available()),
        free_bytes: bytes(stat.blocks_free()),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

/// What a tree takes. Files that vanish meanwhile take nothing; one with several names in it counts for each.
fn space(path: &Path) -> Space {
    let Ok(found) = fs::symlink_metadata(path) else { return Space::default() };
    if !found.is_dir() {
        return of(found.blocks());
    }
    let mut count = Count(Space::default());
    match tree::walk(path, &mut count) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("what is in {} was not all counted: {error}", path.display()),
    }
    count.0
}

/// What a tree takes, as far as it is known.
struct Count(Space);

impl Count {
    fn add(&mut self, found: &FileStat) -> io::Result<()> {
        if self.0.inodes >= limits::TREE_FILES {
            return Err(io::Error::other(format!("there are more than {} files", limits::TREE_FILES)));
        }
        self.0 = self.0.and(of(found.st_blocks.unsigned_abs()));
        Ok(())
    }
}

impl Visitor for Count {
    fn file(&mut self, _: BorrowedFd<'_>, _: &CStr, found: &FileStat) -> io::Result<()> {
        self.add(found)
    }

    fn enter(&mut self, found: &FileStat) -> io::Result<()> {
        self.add(found)
    }
}

fn of(blocks: u64) -> Space {
    Space { bytes: blocks.saturating_mul(512), inodes: 1 }
}

fn entries(path: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(path).into_iter().flatten().flatten()
}

fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_have_on_disk_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            state_dir: dir.path().join("state"),
            log_dir: dir.path().join("log"),
            ..Config::default()
        };
        let write = |path: &str, bytes: usize| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; bytes]).unwrap();
        };
        write("state/images/layers/a/fs/x", 5 << 20);
        write("state/pods/u/c-0/upper/tmp/x", 1 << 20);
        write("state/pods/u/c-1/upper/y", 2 << 20);
        write("state/pods/u/c-1/termination-message", 1 << 20);
        write("state/pods/u/volume-data/z", 3 << 20);
        write("state/pods/u/hosts", 6 << 20);
        write("log/n_p_u/c/0.log", 4 << 20);
        write("log/n_gone_v/c/0.log", 1);
        let disk = read(&config, SystemTime::UNIX_EPOCH).unwrap();
        let mib = |space: Space| space.bytes >> 20;
        let pod = &disk.pods["u"];
        assert_eq!((mib(pod.containers["c"].root), mib(pod.containers["c"].logs)), (4, 4));
        assert_eq!((mib(pod.volumes["data"]), mib(pod.own), mib(pod.total())), (3, 6, 17));
        assert_eq!(pod.containers.len(), 1);
        assert_eq!((disk.pods.len(), disk.image_bytes >> 20), (1, 5));
        assert!(disk.node.capacity_bytes > disk.node.available_bytes && disk.node.inodes > 0);
    }

    #[test]
    fn a_tree_is_counted_however_deep_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        tree::tests::deep(&root, 20_000);
        assert_eq!(space(&root).inodes, 20_002, "a file, and the root");
        tree::remove(&root).unwrap();
    }
}
