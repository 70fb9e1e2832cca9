//! hostPath volumes: whether at their path is what the manifest says, and making it where it may be made. In the
//! kubelet's words; what is made stays when the pod goes.

use super::spec::{HostKind, HostVolume};
use std::fs::{self, DirBuilder, FileType, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Permission bits of directories that are made.
const DIRECTORY: u32 = 0o755;
/// Permission bits of files that are made.
const FILE: u32 = 0o644;

/// A volume that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
pub struct HostPathError {
    volume: String,
    source: Unfit,
}

/// Why.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("hostPath type check failed: {0} is not {1}")]
    Kind(String, &'static str),
    #[error("mkdir {0}: {1}")]
    Make(String, io::Error),
    #[error("open {0}: {1}")]
    Create(String, io::Error),
    #[error("stat {0}: {1}")]
    Look(String, io::Error),
}

/// Looks at every volume, and makes what may be made.
pub fn ensure(volumes: &[HostVolume]) -> Result<(), HostPathError> {
    let one = |volume: &HostVolume| {
        check(&volume.path, volume.kind)
            .map_err(|source| HostPathError { volume: volume.name.clone(), source })
    };
    volumes.iter().try_for_each(one)
}

fn check(path: &Path, kind: HostKind) -> Result<(), Unfit> {
    let name = || path.display().to_string();
    // Links are followed: it is the host's administrator who made them.
    let found = match fs::metadata(path) {
        Ok(found) => Some(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Unfit::Look(name(), error)),
    };
    let (fits, what): (fn(&FileType) -> bool, &str) = match kind {
        HostKind::Any => return if found.is_some() { Ok(()) } else { make_directory(path) },
        HostKind::DirectoryOrCreate if found.is_none() => return make_directory(path),
        HostKind::FileOrCreate if found.is_none() => return make_file(path),
        HostKind::DirectoryOrCreate | HostKind::Directory => (FileType::is_dir, "a directory"),
        HostKind::FileOrCreate | HostKind::File => (FileType::is_file, "a file"),
        HostKind::Socket => (FileType::is_socket, "a socket file"),
        HostKind::CharDevice => (FileType::is_char_device, "a character device"),
        HostKind::BlockDevice => (FileType::is_block_device, "a block device"),
    };
    if found.is_some_and(|found| fits(&found)) { Ok(()) } else { Err(Unfit::Kind(name(), what)) }
}

fn make_directory(path: &Path) -> Result<(), Unfit> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    // The umask has taken bits away.
    let made = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(DIRECTORY)));
    made.map_err(|error| Unfit::Make(path.display().to_string(), error))
}

fn make_file(path: &Path) -> Result<(), Unfit> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE).open(path);
    let made = made.and_then(|file| file.set_permissions(Permissions::from_mode(FILE)));
    made.map_err(|error| Unfit::Create(path.display().to_string(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_there_is_what_was_asked_for_or_the_kubelets_words_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "").unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let check = |path: &Path, kind| {
            let volume = HostVolume { name: "x".into(), path: path.to_owned(), kind, owned: false };
            ensure(&[volume]).map_err(|error| error.to_string())
        };
        let wrong = |path: &Path, what: &str| {
            let path = path.display();
            Err(format!(
                "MountVolume.SetUp failed for volume \"x\" : hostPath type check failed: {path} is not {what}"
            ))
        };
        for (name, kind) in [
            ("dir", HostKind::Directory),
            ("dir", HostKind::DirectoryOrCreate),
            ("file", HostKind::File),
            ("file", HostKind::FileOrCreate),
            ("file", HostKind::Any),
            ("socket", HostKind::Socket),
            ("new/dir", HostKind::DirectoryOrCreate),
            ("new/dir", HostKind::Directory),
            ("new/file", HostKind::FileOrCreate),
            ("new/file", HostKind::File),
            ("any", HostKind::Any),
        ] {
            assert_eq!(check(&at(name), kind), Ok(()), "{name} {kind:?}");
        }
        assert_eq!(check(Path::new("/dev/null"), HostKind::CharDevice), Ok(()));
        for (name, kind, what) in [
            ("file", HostKind::Directory, "a directory"),
            ("file", HostKind::DirectoryOrCreate, "a directory"),
            ("none", HostKind::Directory, "a directory"),
            ("dir", HostKind::File, "a file"),
            ("none", HostKind::File, "a file"),
            ("dir", HostKind::Socket, "a socket file"),
            ("dir", HostKind::CharDevice, "a character device"),
            ("dir", HostKind::BlockDevice, "a block device"),
        ] {
            assert_eq!(check(&at(name), kind), wrong(&at(name), what), "{name} {kind:?}");
        }
    }
}
