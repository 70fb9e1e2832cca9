//! Brings images from files into the store.

use super::access::Access;
use super::digest::Digest;
use super::document;
use super::error::ImageError;
use super::index::{Record, distinct};
use super::layer::{self, Name};
use super::reference;
use super::source::{Found, Source};
use super::stage::Stage;
use super::store::{Built, Store};
use crate::api::image::Image;
use crate::clock;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// How often a commit is tried again because another process removed a layer meanwhile.
pub(super) const COMMIT_TRIES: usize = 3;

impl Store {
    /// Loads every image of an OCI layout directory, an OCI archive or a docker-save archive. `tag` names the
    /// only image in it, whatever it is called there.
    pub fn load(&self, path: &Path, tag: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let stage = self.stage()?;
        let source = Source::open(path, stage.path())?;
        let found = source.images()?;
        if tag.is_some() && found.len() != 1 {
            return Err(ImageError::AmbiguousTag { path: path.to_owned(), count: found.len() });
        }
        // All names first: a bad one should not leave half of the archive loaded.
        let mut named = Vec::new();
        for image in &found {
            named.push((image, names(image, path, tag)?));
        }
        let mut images = Vec::new();
        for (image, names) in named {
            for name in names {
                images.push(self.load_one(&source, image, &name)?);
            }
        }
        Ok(images)
    }

    fn load_one(&self, source: &Source, found: &Found, name: &str) -> Result<Image, ImageError> {
        let config = source.bytes(&found.config)?;
        let described = document::describe(name, &config)?;
        document::agree(name, found.layers.len(), &described)?;
        for _ in 0..COMMIT_TRIES {
            let stage = self.stage()?;
            let mut built: Vec<Built> = Vec::new();
            for (member, diff_id) in found.layers.iter().zip(&described.diff_ids) {
                if self.has_layer(diff_id)? || built.iter().any(|b| b.diff_id == *diff_id) {
                    continue;
                }
                let (stored, size) = source.open_member(member)?;
                let dir = layer_dir(&stage, diff_id);
                let bytes = layer::build(Name { image: name, diff_id }, stored, size, &dir)?;
                built.push(Built { diff_id: diff_id.clone(), dir, bytes });
            }
            let record = record(name, Digest::of(&config), found.digests.clone(), &described);
            if let Some(image) = self.commit(record, &built)? {
                return Ok(image);
            }
        }
        Err(ImageError::Worker { reference: name.to_owned() })
    }
}

/// Where a layer is built in a stage.
pub(super) fn layer_dir(stage: &Stage, diff_id: &Digest) -> std::path::PathBuf {
    stage.path().join(diff_id.hex())
}

/// What the index is to remember; the size comes with the commit.
pub(super) fn record(
    name: &str,
    id: Digest,
    digests: Vec<Digest>,
    described: &document::Described,
) -> Record {
    Record {
        reference: name.to_owned(),
        id,
        digests,
        layers: distinct(&described.diff_ids),
        size: 0,
        created: described.created.clone(),
        pulled_at: clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        access: Access::Open,
        config: described.config.clone(),
    }
}

fn names(image: &Found, path: &Path, tag: Option<&str>) -> Result<Vec<String>, ImageError> {
    let given: Vec<&str> = match tag {
        Some(tag) => vec![tag],
        None => image.names.iter().map(String::as_str).collect(),
    };
    if given.is_empty() {
        return Err(ImageError::Unnamed { path: path.to_owned() });
    }
    given.into_iter().map(|name| reference::parse(name).map(|r| reference::key(&r))).collect()
}
