//! One layer, from its stored bytes to a directory whose content has been proven to be what the image names.

use super::compression::decompress;
use super::digest::{Digest, Hashing};
use super::error::{EntryError, ImageError, is_full};
use super::tarball::Tarball;
use super::unpack::{Bounds, UnpackError, unpack};
use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// What a layer is called in errors.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The image it is unpacked for.
    pub image: &'a str,
    /// The digest of its archive, unpacked: its identity.
    pub diff_id: &'a Digest,
}

/// Unpacks the stored bytes into `dir/fs`, which must not exist; tells the bytes of content. What is there
/// after an error is the caller's to remove.
pub fn build(name: Name<'_>, stored: impl Read + Send, size: u64, dir: &Path) -> Result<u64, ImageError> {
    let fs = dir.join("fs");
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&fs)
        .map_err(|error| ImageError::io("making the layer's directory", &fs, error))?;
    let bounds = Bounds::of_stored(size);
    // Headers come on top of the content; whatever follows the archive's end may not go on for ever either.
    let stream = bounds.bytes.saturating_add(bounds.entries.saturating_mul(3 * 512));
    let plain = decompress(stored).map_err(|error| corrupt(name, error))?.take(stream);
    let mut archive = Tarball::new(Hashing::new(plain));
    let bytes = unpack(&mut archive, &fs, bounds).map_err(|error| failed(name, dir, error))?;
    let (actual, _) = archive.into_inner().finish().map_err(|error| corrupt(name, error))?;
    if actual == *name.diff_id {
        return Ok(bytes);
    }
    Err(ImageError::Digest {
        image: name.image.to_owned(),
        what: "an unpacked layer".to_owned(),
        expected: name.diff_id.to_string(),
        actual: actual.to_string(),
    })
}

fn failed(name: Name<'_>, dir: &Path, error: UnpackError) -> ImageError {
    let (image, layer) = (name.image.to_owned(), name.diff_id.clone());
    match error {
        UnpackError::Stream(source) => corrupt(name, source),
        UnpackError::Entry(_, EntryError::Sys { source, .. }) if is_full(&source) => {
            ImageError::DiskFull { path: dir.to_owned(), what: "unpacking an image" }
        }
        UnpackError::Entry(entry, source) => {
            ImageError::Entry { image, layer, entry, source: Box::new(source) }
        }
        UnpackError::TooLarge(what, limit) => ImageError::TooLarge { image, layer, what, limit },
    }
}

fn corrupt(name: Name<'_>, source: io::Error) -> ImageError {
    ImageError::Layer { image: name.image.to_owned(), layer: name.diff_id.clone(), source }
}
