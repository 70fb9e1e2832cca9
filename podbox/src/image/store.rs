//! The images of this node, on disk:
//!
//! ```text
//! images/index.json        which references lead to which layers; replaced as a whole
//! images/layers/HEX/fs     an unpacked layer by its diff_id, shared by all images that have it
//! images/tmp/PID-N         what is being made (`stage`)
//! images/lock              held while the index changes
//! ```
//!
//! **Invariant: the index names only layers that are complete.** Layers are moved into place, and are on disk,
//! before the index names them; they are moved out after it forgot them. So a crash leaves at most a layer that
//! no image has; the next removal of an image takes it along. Several processes may use one store: each reads the index
//! again when its file has changed.

use super::digest::Digest;
use super::error::ImageError;
use super::index::{Index, Record};
use super::reference;
use super::stage::{self, Stage};
use crate::api::image::Image;
use crate::api::keyring::Keyring;
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The images of this node; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// The index as it was read last, and the file it was read from: a pod's start should not parse it again.
    cache: RwLock<(Option<Stamp>, Arc<Index>)>,
    /// Pulls under way, so that the same image is pulled once.
    pulls: super::ensure::Pulls,
}

/// Tells one version of the index file from another: it is only ever replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    mtime: (i64, i64),
    size: u64,
}

/// A layer that was built in a stage and waits to be moved into place.
#[derive(Debug)]
pub(super) struct Built {
    pub diff_id: Digest,
    pub dir: PathBuf,
    pub bytes: u64,
}

impl Store {
    /// Opens the store below the state directory, makes it if need be, and removes what a crash left.
    pub fn open(state_dir: &Path) -> Result<Store, ImageError> {
        let root = state_dir.join("images");
        for dir in [root.clone(), root.join("layers"), root.join("tmp")] {
            // Only root enters: setuid programs of images lie here.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|error| ImageError::io("making the image store", &dir, error))?;
        }
        // Absolute, as layers are mounted by whoever asks, from wherever that one is.
        let root =
            root.canonicalize().map_err(|error| ImageError::io("opening the image store", &root, error))?;
        let inner = Inner { root, cache: RwLock::default(), pulls: super::ensure::Pulls::default() };
        let store = Store { inner: Arc::new(inner) };
        stage::clean(&store.tmp())?;
        Ok(store)
    }

    /// The image a reference leads to, if it is on this node. Microseconds: one `stat` and one look-up.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        Ok(self.index()?.find(reference).map(|record| self.image(record)))
    }

    /// Whether whoever has this keyring may have the image that a reference leads to here, without its registry being
    /// asked; without a keyring, whether everybody may.
    pub fn admits(&self, reference: &str, keyring: Option<&Keyring>) -> Result<bool, ImageError> {
        let index = self.index()?;
        let Some(record) = index.find(reference) else { return Ok(true) };
        let logins = match keyring {
            Some(keyring) => keyring.logins(&reference::repository(&reference::parse(&record.reference)?)),
            None => Vec::new(),
        };
        Ok(record.access.admits(&logins, &record.id))
    }

    /// All images on this node, by reference.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        Ok(self.index()?.records().cloned().collect())
    }

    /// Removes a reference, and the layers that no image has any more. Refused if the image's own are `in_use`;
    /// others in use, which a newer image of the same name left behind, stay.
    pub fn remove(&self, reference: &str, in_use: impl Fn(&Path) -> bool) -> Result<Record, ImageError> {
        let _lock = self.lock()?;
        let mut index = (*self.index()?).clone();
        let unknown = || ImageError::Unknown { reference: reference.to_owned() };
        let key = index.find(reference).ok_or_else(unknown)?.reference.clone();
        let record = index.remove(&key).ok_or_else(unknown)?;
        let used = index.used();
        if let Some(layer) = record.layers.iter().find(|l| !used.contains(l) && in_use(&self.layer_dir(l))) {
            return Err(ImageError::InUse { reference: record.reference.clone(), layer: layer.clone() });
        }
        self.write(&index)?;
        self.sweep(&index, in_use)?;
        Ok(record)
    }

    /// A work directory on the store's file system.
    pub(super) fn stage(&self) -> Result<Stage, ImageError> {
        Stage::create(&self.tmp())
    }

    /// Whether some image has this layer, so that it need not be fetched.
    pub(super) fn has_layer(&self, layer: &Digest) -> Result<bool, ImageError> {
        Ok(self.index()?.layer_size(layer).is_some())
    }

    /// Moves built layers into place and puts the image into the index. `None` if a layer that was not built,
    /// as another image had it, has been removed meanwhile: then build it too.
    pub(super) fn commit(&self, mut record: Record, built: &[Built]) -> Result<Option<Image>, ImageError> {
        let _lock = self.lock()?;
        let mut index = (*self.index()?).clone();
        let mut sizes: BTreeMap<Digest, u64> = built.iter().map(|b| (b.diff_id.clone(), b.bytes)).collect();
        for layer in &record.layers {
            match (sizes.get(layer), index.layer_size(layer)) {
                (Some(_), _) => {}
                (None, Some(size)) => drop(sizes.insert(layer.clone(), size)),
                (None, None) => return Ok(None),
            }
        }
        record.size = sizes.values().sum();
        sync(&self.inner.root)?;
        for layer in built {
            self.place(layer)?;
        }
        sync_dir(&self.inner.root.join("layers"))?;
        let image = self.image(&record);
        index.put(record, &sizes);
        self.write(&index)?;
        // What the reference led to before may have had layers that no image has now. They stay until an
        // image is removed: a container may run on them.
        Ok(Some(image))
    }

    pub(super) fn pulls(&self) -> &super::ensure::Pulls {
        &self.inner.pulls
    }

    fn place(&self, layer: &Built) -> Result<(), ImageError> {
        let target = self.inner.root.join("layers").join(layer.diff_id.hex());
        // Another image brought the same layer first: the same content, so that one stays.
        if target.exists() {
            return Ok(());
        }
        fs::rename(&layer.dir, &target).map_err(|error| ImageError::io("moving a layer to", &target, error))
    }

    fn image(&self, record: &Record) -> Image {
        Image {
            id: record.id.to_string(),
            digest: record.digest(),
            reference: record.reference.clone(),
            layers: record.layers.iter().rev().map(|layer| self.layer_dir(layer)).collect(),
            config: record.config.clone(),
        }
    }

    fn layer_dir(&self, layer: &Digest) -> PathBuf {
        self.inner.root.join("layers").join(layer.hex()).join("fs")
    }

    fn tmp(&self) -> PathBuf {
        self.inner.root.join("tmp")
    }

    fn index_path(&self) -> PathBuf {
        self.inner.root.join("index.json")
    }

    /// Waits for the store's lock; the kernel drops it with its holder.
    fn lock(&self) -> Result<Flock<File>, ImageError> {
        let path = self.inner.root.join("lock");
        let failed = |error| ImageError::io("locking", &path, error);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
    }

    fn index(&self) -> Result<Arc<Index>, ImageError> {
        let path = self.index_path();
        let stamp = stamp(&path)?;
        {
            let cache = self.inner.cache.read().unwrap_or_else(PoisonError::into_inner);
            if cache.0 == stamp {
                return Ok(cache.1.clone());
            }
        }
        let index = Arc::new(read(&path)?);
        *self.inner.cache.write().unwrap_or_else(PoisonError::into_inner) = (stamp, index.clone());
        Ok(index)
    }

    /// Replaces the index file; the caller holds the lock.
    fn write(&self, index: &Index) -> Result<(), ImageError> {
        let path = self.index_path();
        let new = self.inner.root.join("index.json.new");
        let failed = |error: io::Error| ImageError::io("writing the image index", &path, error);
        let text = serde_json::to_vec(index).map_err(|error| failed(error.into()))?;
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &path)).map_err(failed)?;
        sync_dir(&self.inner.root)
    }

    /// Removes layers that no image has; the caller holds the lock. A layer is first moved to a stage, so that
    /// a half removed one is never taken for whole.
    fn sweep(&self, index: &Index, in_use: impl Fn(&Path) -> bool) -> Result<(), ImageError> {
        let used = index.used();
        let layers = self.inner.root.join("layers");
        let failed = |error| ImageError::io("removing unused layers from", &layers, error);
        let mut stage = None;
        for entry in fs::read_dir(&layers).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if used.iter().any(|layer| *name == *layer.hex()) || in_use(&entry.path().join("fs")) {
                continue;
            }
            let stage = match &stage {
                Some(stage) => stage,
                None => stage.insert(self.stage()?),
            };
            fs::rename(entry.path(), stage.path().join(&name)).map_err(failed)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Index, ImageError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|source| ImageError::Index { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
        Err(error) => Err(ImageError::io("reading the image index", path, error)),
    }
}

fn stamp(path: &Path) -> Result<Option<Stamp>, ImageError> {
    match fs::metadata(path) {
        Ok(meta) => {
            Ok(Some(Stamp { inode: meta.ino(), mtime: (meta.mtime(), meta.mtime_nsec()), size: meta.len() }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ImageError::io("reading the image index", path, error)),
    }
}

/// Writes out the whole file system: one call for the many files of an image.
fn sync(path: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::io("writing out", path, error);
    let dir = File::open(path).map_err(failed)?;
    nix::unistd::syncfs(&dir).map_err(|errno| failed(errno.into()))
}

fn sync_dir(path: &Path) -> Result<(), ImageError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| ImageError::io("writing out", path, error))
}
