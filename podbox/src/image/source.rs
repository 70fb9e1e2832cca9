//! Images as files: an OCI layout directory, the same in a tar archive, or what `docker save` writes.
//!
//! Which one it is, is told by what is in it. Members are read where they lie; a compressed archive is unpacked
//! into the work directory first.

use super::compression::decompress;
use super::digest::{Digest, Hashing};
use super::document::{self, Blob, Document, Manifest};
use super::error::ImageError;
use super::path::LayerPath;
use crate::limits;
use oci_spec::image::ImageIndex;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image that a source holds.
#[derive(Debug)]
pub struct Found {
    /// What it is called there; several for several tags.
    pub names: Vec<String>,
    /// Digests of its manifest, and of the index it was chosen from.
    pub digests: Vec<Digest>,
    /// The member with its configuration.
    pub config: Member,
    /// The members with its layers, the lowest first.
    pub layers: Vec<Member>,
}

/// A file of the source.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its path in the source.
    pub path: String,
    /// What its bytes must be; docker-save archives do not say.
    pub digest: Option<Digest>,
}

/// Where the files are.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Directory,
    Archive { file: File, members: HashMap<LayerPath, Place> },
}

#[derive(Clone, Debug)]
enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// Another member: how docker-save archives name a layer twice.
    Link(LayerPath),
}

impl Source {
    /// Opens it; `work` takes an archive that is compressed.
    pub fn open(path: &Path, work: &Path) -> Result<Source, ImageError> {
        let failed = |error| ImageError::io("opening", path, error);
        if fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Source { path: path.to_owned(), files: Files::Directory });
        }
        let file = plain(File::open(path).map_err(failed)?, &work.join("archive"), path)?;
        let members =
            members(&file).map_err(|_| unusable(path, "it is not a tar archive, or damaged".to_owned()))?;
        Ok(Source { path: path.to_owned(), files: Files::Archive { file, members } })
    }

    /// The images in it.
    pub fn images(&self) -> Result<Vec<Found>, ImageError> {
        if let Some(index) = self.document("index.json")? {
            return self.layout(&index);
        }
        match self.document("manifest.json")? {
            Some(manifest) => self.docker(&manifest),
            None => Err(unusable(&self.path, "it has neither index.json nor manifest.json".to_owned())),
        }
    }

    /// A member's bytes, verified where its digest is known.
    pub fn bytes(&self, member: &Member) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(&member.path)?.ok_or_else(|| self.missing(&member.path))?;
        self.verified(member, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// A member to read from its beginning, and its size; verified where its digest is known.
    pub fn open_member(&self, member: &Member) -> Result<(impl Read + Send + use<>, u64), ImageError> {
        let failed = |error| ImageError::io("reading", &self.path, error);
        if member.digest.is_some() {
            let (stored, _) = self.stored(&member.path)?.ok_or_else(|| self.missing(&member.path))?;
            let (actual, _) = Hashing::new(stored).finish().map_err(failed)?;
            self.verified(member, actual)?;
        }
        self.stored(&member.path)?.ok_or_else(|| self.missing(&member.path))
    }

    fn layout(&self, index: &[u8]) -> Result<Vec<Found>, ImageError> {
        let index: ImageIndex = serde_json::from_slice(index)
            .map_err(|error| unusable(&self.path, format!("index.json: {error}")))?;
        let label = self.path.display().to_string();
        let mut found: Vec<Found> = Vec::new();
        let part = |d: &oci_spec::image::Descriptor| name(d).is_none() && d.platform().is_some();
        // Entries for several platforms and no names are one image, as in an index of a registry.
        if index.manifests().len() > 1 && index.manifests().iter().all(part) {
            let chosen = document::blob(&label, document::choose(&label, &index)?)?;
            return Ok(vec![self.manifest(&label, &chosen, Vec::new(), Vec::new())?]);
        }
        for descriptor in index.manifests() {
            let blob = document::blob(&label, descriptor)?;
            let names: Vec<String> = name(descriptor).into_iter().collect();
            match found.iter_mut().find(|f| f.digests.contains(&blob.digest)) {
                Some(same) => same.names.extend(names),
                None => found.push(self.manifest(&label, &blob, names, Vec::new())?),
            }
        }
        Ok(found)
    }

    /// Follows a descriptor to a manifest, through an index if there is one.
    fn manifest(
        &self,
        label: &str,
        blob: &Blob,
        names: Vec<String>,
        mut digests: Vec<Digest>,
    ) -> Result<Found, ImageError> {
        digests.push(blob.digest.clone());
        let bytes = self.bytes(&member(blob))?;
        match document::parse(label, &bytes)? {
            Document::Manifest(Manifest { config, layers }) => Ok(Found {
                names,
                digests,
                config: member(&config),
                layers: layers.iter().map(member).collect(),
            }),
            Document::Index(_) if digests.len() > 1 => {
                Err(unusable(&self.path, "an index in an index in an index".to_owned()))
            }
            Document::Index(index) => {
                let chosen = document::blob(label, document::choose(label, &index)?)?;
                self.manifest(label, &chosen, names, digests)
            }
        }
    }

    fn docker(&self, manifest: &[u8]) -> Result<Vec<Found>, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Saved {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Vec<String>,
        }
        let saved: Vec<Saved> = serde_json::from_slice(manifest)
            .map_err(|error| unusable(&self.path, format!("manifest.json: {error}")))?;
        let member = |path| Member { path, digest: None };
        let image = |saved: Saved| Found {
            names: saved.repo_tags.unwrap_or_default(),
            digests: Vec::new(),
            config: member(saved.config),
            layers: saved.layers.into_iter().map(member).collect(),
        };
        Ok(saved.into_iter().map(image).collect())
    }

    /// A small member whole; `None` if there is none of this name.
    fn document(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some((stored, size)) = self.stored(path)? else { return Ok(None) };
        if size > limits::IMAGE_DOCUMENT_BYTES {
            return Err(unusable(&self.path, format!("{path} has {size} bytes, too many for a document")));
        }
        let mut bytes = Vec::new();
        let read = stored.take(limits::IMAGE_DOCUMENT_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| ImageError::io("reading", &self.path, error))?;
        Ok(Some(bytes))
    }

    fn stored(&self, path: &str) -> Result<Option<(io::Take<File>, u64)>, ImageError> {
        let failed = |error| ImageError::io("reading", &self.path, error);
        let key = LayerPath::parse(path.as_bytes())
            .map_err(|error| unusable(&self.path, format!("member {path:?}: {error}")))?;
        match &self.files {
            Files::Directory => match File::open(self.path.join(key.as_path())) {
                Ok(file) => {
                    let size = file.metadata().map_err(failed)?.len();
                    Ok(Some((file.take(size), size)))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            },
            Files::Archive { file, members } => {
                let Some((offset, size)) = place(members, &key) else { return Ok(None) };
                // A descriptor of its own, as the position is shared by duplicates.
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                let mut file = File::open(link).map_err(failed)?;
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
                Ok(Some((file.take(size), size)))
            }
        }
    }

    fn verified(&self, member: &Member, actual: Digest) -> Result<(), ImageError> {
        match &member.digest {
            Some(expected) if *expected != actual => Err(ImageError::Digest {
                image: self.path.display().to_string(),
                what: member.path.clone(),
                expected: expected.to_string(),
                actual: actual.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn missing(&self, member: &str) -> ImageError {
        unusable(&self.path, format!("{member} is missing from it"))
    }
}

fn name(descriptor: &oci_spec::image::Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    NAMES.iter().find_map(|key| annotations.get(*key)).filter(|name| !name.is_empty()).cloned()
}

fn member(blob: &Blob) -> Member {
    Member { path: format!("blobs/sha256/{}", blob.digest.hex()), digest: Some(blob.digest.clone()) }
}

fn place(members: &HashMap<LayerPath, Place>, path: &LayerPath) -> Option<(u64, u64)> {
    match members.get(path)? {
        Place::At { offset, size } => Some((*offset, *size)),
        // One hop: docker-save never links to a link.
        Place::Link(target) => match members.get(target)? {
            Place::At { offset, size } => Some((*offset, *size)),
            Place::Link(_) => None,
        },
    }
}

fn members(file: &File) -> io::Result<HashMap<LayerPath, Place>> {
    let mut archive = tar::Archive::new(file);
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let Ok(path) = LayerPath::parse(&entry.path_bytes()) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_file() {
            members.insert(path, Place::At { offset: entry.raw_file_position(), size: entry.size() });
        } else if kind.is_symlink() || kind.is_hard_link() {
            let link = entry.link_name_bytes();
            if let Some(target) = link.and_then(|link| target(&path, &link, kind.is_symlink())) {
                members.insert(path, Place::Link(target));
            }
        }
        if members.len() > limits::ARCHIVE_MEMBERS {
            return Err(io::Error::other("too many members"));
        }
    }
    Ok(members)
}

/// What a link in the archive leads to: a symbolic one counts from its own directory.
fn target(path: &LayerPath, link: &[u8], symbolic: bool) -> Option<LayerPath> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let own;
    if symbolic {
        own = path.split()?.0.to_string().into_bytes();
        parts.extend(own.split(|b| *b == b'/'));
    }
    for part in link.split(|b| *b == b'/') {
        if part == b".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    LayerPath::parse(&parts.join(&b'/')).ok()
}

/// The archive, decompressed into `spare` if it is compressed.
fn plain(mut file: File, spare: &Path, path: &Path) -> Result<File, ImageError> {
    let failed = |error| ImageError::io("reading", path, error);
    let mut magic = [0; 4];
    let n = file.read(&mut magic).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if !magic[..n].starts_with(&[0x1f, 0x8b]) && magic != [0x28, 0xb5, 0x2f, 0xfd] {
        return Ok(file);
    }
    let unpacking = |error| ImageError::io("decompressing an archive", spare, error);
    let mut stored = decompress(file).map_err(failed)?.take(limits::LAYER_BYTES);
    let mut out = File::options().read(true).write(true).create_new(true).open(spare).map_err(unpacking)?;
    io::copy(&mut stored, &mut out).map_err(unpacking)?;
    out.rewind().map_err(unpacking)?;
    Ok(out)
}

fn unusable(path: &Path, reason: String) -> ImageError {
    ImageError::Source { path: path.to_owned(), reason }
}
