//! Unpacks one layer's archive into a directory that overlayfs can take as a `lowerdir`.
//!
//! What the OCI layer format calls a whiteout becomes overlayfs' form of it. Kept: kinds, owners, modes with
//! setuid, times, hard links, `security.capability` and `user.*` attributes. Dropped: other attributes, above all
//! `trusted.overlay.*`, by which a layer could redirect overlayfs. How entries stay below the root is `tree`'s.

use super::error::EntryError;
use super::path::{LayerPath, Meaning, meaning};
use super::tarball::{Entry, ReadError, Tarball};
use super::tree::{self, Owned, Tree};
use crate::limits;
use nix::sys::stat::{SFlag, makedev};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::EntryType;

/// What a layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of content.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Bounds {
    /// For a layer of this size as it was stored: a bomb is small when it is compressed.
    pub fn of_stored(size: u64) -> Bounds {
        let bytes = limits::LAYER_BYTES_FREE.saturating_add(size.saturating_mul(limits::LAYER_RATIO));
        Bounds { bytes: bytes.min(limits::LAYER_BYTES), entries: limits::LAYER_ENTRIES }
    }
}

/// Why a layer could not be unpacked.
#[derive(Debug)]
pub enum UnpackError {
    /// The archive is unreadable.
    Stream(io::Error),
    /// One entry is bad, or could not be made.
    Entry(String, EntryError),
    /// More than it may have: of what, and the bound.
    TooLarge(&'static str, u64),
}

impl From<ReadError> for UnpackError {
    fn from(error: ReadError) -> UnpackError {
        match error {
            ReadError::Stream(source) => UnpackError::Stream(source),
            ReadError::Entry(name, source) => UnpackError::Entry(name, source),
        }
    }
}

/// Unpacks the archive into the empty directory `root`; tells the bytes of content.
pub fn unpack(archive: &mut Tarball<impl Read>, root: &Path, bounds: Bounds) -> Result<u64, UnpackError> {
    let tree = Tree::open(root).map_err(UnpackError::Stream)?;
    let mut unpacker = Unpacker { tree, bounds, bytes: 0, entries: 0, directories: BTreeMap::new() };
    while let Some(entry) = archive.next()? {
        unpacker.count(&entry)?;
        unpacker.entry(&entry, archive)?;
    }
    unpacker.finish();
    Ok(unpacker.bytes)
}

struct Unpacker {
    tree: Tree,
    bounds: Bounds,
    bytes: u64,
    entries: u64,
    /// Times of directories, set at the end: making a file in one changes its time.
    directories: BTreeMap<Vec<u8>, (LayerPath, (i64, u32))>,
}

impl Unpacker {
    /// Refused by what the header says, before anything is written.
    fn count(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.entries > self.bounds.entries {
            return Err(UnpackError::TooLarge("entries", self.bounds.entries));
        }
        if self.bytes > self.bounds.bytes {
            return Err(UnpackError::TooLarge("bytes", self.bounds.bytes));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), UnpackError> {
        let refuse = |error| UnpackError::Entry(String::from_utf8_lossy(&entry.path).into_owned(), error);
        let path = LayerPath::parse(&entry.path).map_err(|error| refuse(error.into()))?;
        let Some((dir, name)) = path.split() else { return self.root(entry).map_err(refuse) };
        match meaning(name).map_err(|error| refuse(error.into()))? {
            Meaning::Whiteout(hidden) => self.tree.whiteout(&dir, hidden).map_err(refuse),
            Meaning::Opaque => self.tree.opaque(&dir).map_err(refuse),
            Meaning::Ignored => Ok(()),
            Meaning::File(name) if entry.kind.is_dir() => {
                self.directory(&path, entry).map_err(refuse)?;
                debug_assert!(!name.is_empty());
                Ok(())
            }
            Meaning::File(name) => {
                let above = self.tree.parent(&dir).map_err(refuse)?;
                self.directories.remove(path.as_path().as_os_str().as_bytes());
                self.leaf(entry, &above, name, content, refuse)
            }
        }
    }

    /// The layer's own root: only a directory's owner, mode and time count.
    fn root(&mut self, entry: &Entry) -> Result<(), EntryError> {
        if entry.kind.is_dir() { self.directory(&LayerPath::default(), entry) } else { Ok(()) }
    }

    fn directory(&mut self, path: &LayerPath, entry: &Entry) -> Result<(), EntryError> {
        self.tree.directory(path, owned(entry)?)?;
        if let Some((dir, name)) = path.split() {
            set_xattrs(&self.tree.parent(&dir)?, name, entry)?;
        }
        let key = path.as_path().as_os_str().as_bytes().to_vec();
        self.directories.insert(key, (path.clone(), entry.mtime));
        Ok(())
    }

    fn leaf(
        &self,
        entry: &Entry,
        above: &OwnedFd,
        name: &OsStr,
        content: &mut impl Read,
        refuse: impl Fn(EntryError) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let owned = owned(entry).map_err(&refuse)?;
        match entry.kind {
            EntryType::Regular | EntryType::Continuous => {
                let mut file = self.tree.file(above, name).map_err(&refuse)?;
                copy(content, &mut file, &refuse)?;
                tree::own(above, name, owned).map_err(&refuse)?;
            }
            EntryType::Link => {
                // Another name for a file that has its owner, mode and time already.
                return self.hardlink(entry, above, name).map_err(&refuse);
            }
            EntryType::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.tree.symlink(above, name, target, owned).map_err(&refuse)?;
            }
            EntryType::Char => self.node(entry, above, name, SFlag::S_IFCHR, owned).map_err(&refuse)?,
            EntryType::Block => self.node(entry, above, name, SFlag::S_IFBLK, owned).map_err(&refuse)?,
            EntryType::Fifo => self.tree.node(above, name, SFlag::S_IFIFO, 0, owned).map_err(&refuse)?,
            other => return Err(refuse(EntryError::Kind(char::from(other.as_byte())))),
        }
        set_xattrs(above, name, entry).map_err(&refuse)?;
        tree::touch(above, name, entry.mtime).map_err(refuse)
    }

    fn hardlink(&self, entry: &Entry, above: &OwnedFd, name: &OsStr) -> Result<(), EntryError> {
        let target = LayerPath::parse(&entry.link).map_err(|reason| EntryError::LinkTarget {
            target: String::from_utf8_lossy(&entry.link).into_owned(),
            reason,
        })?;
        self.tree.hardlink(above, name, &target)
    }

    fn node(
        &self,
        entry: &Entry,
        above: &OwnedFd,
        name: &OsStr,
        kind: SFlag,
        owned: Owned,
    ) -> Result<(), EntryError> {
        let number = |field: io::Result<Option<u32>>| match field {
            Ok(Some(number)) => Ok(u64::from(number)),
            _ => Err(EntryError::Header("device number")),
        };
        let dev = makedev(number(entry.header.device_major())?, number(entry.header.device_minor())?);
        self.tree.node(above, name, kind, dev, owned)
    }

    /// Deepest first, so that nothing below changes afterwards. One that a later entry replaced is gone: no error.
    fn finish(&self) {
        for (path, mtime) in self.directories.values().rev() {
            let _ = self.tree.touch(path, *mtime);
        }
    }
}

/// Reading and writing fail differently: one says that the layer is bad, the other that the disk is.
fn copy(
    content: &mut impl Read,
    file: &mut impl io::Write,
    refuse: impl Fn(EntryError) -> UnpackError,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(UnpackError::Stream(error)),
        };
        file.write_all(&buffer[..n])
            .map_err(|source| refuse(EntryError::Sys { what: "writing its content", source }))?;
    }
}

fn owned(entry: &Entry) -> Result<Owned, EntryError> {
    let mode = entry.header.mode().map_err(|_| EntryError::Header("mode"))?;
    Ok(Owned { uid: entry.owner.0, gid: entry.owner.1, mode: mode & 0o7777 })
}

fn set_xattrs(above: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), EntryError> {
    for (key, value) in &entry.xattrs {
        let user = key.starts_with(b"user.") && !key.starts_with(b"user.overlay.");
        if !user && key != b"security.capability" {
            continue;
        }
        match tree::set_xattr(above, name, key, value) {
            // A file system may have no user attributes, and links have none; nothing depends on them.
            Err(_) if user => {}
            done => done?,
        }
    }
    Ok(())
}
