//! Pulls one image: manifest, configuration, then its missing layers, a few at a time, each unpacked as soon as it
//! is whole. Everything is built in a stage that goes away with a failed pull; the commit makes it an image.

use super::access::Access;
use super::digest::Digest;
use super::document::{self, Blob, Described, Document, Manifest};
use super::error::ImageError;
use super::layer::{self, Name};
use super::load::{COMMIT_TRIES, layer_dir, record};
use super::progress::Progress;
use super::reference;
use super::registry::Registry;
use super::stage::Stage;
use super::store::{Built, Store};
use crate::api::image::Image;
use crate::api::keyring::Login;
use crate::limits;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

impl Store {
    /// Pulls an image from its registry, as this user or nobody in particular, whether or not it is here; layers that are here are not fetched again.
    pub async fn pull(
        &self,
        reference: &str,
        login: Option<&Login>,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, ImageError> {
        let reference = reference::parse(reference)?;
        let name = reference::key(&reference);
        let registry = Arc::new(Registry::new(&reference, login)?);
        let (manifest, digests) = choose(&registry, &name).await?;
        let config = registry.document("its configuration", &manifest.config).await?;
        let described = document::describe(&name, &config)?;
        document::agree(&name, manifest.layers.len(), &described)?;
        let pull = Pull { store: self.clone(), registry, name, progress };
        for _ in 0..COMMIT_TRIES {
            let stage = Arc::new(self.stage()?);
            let built = pull.layers(&stage, &manifest, &described).await?;
            let id = &manifest.config.digest;
            let mut record = record(&pull.name, id.clone(), digests.clone(), &described);
            record.access = Access::by(login, id);
            let store = self.clone();
            let committed = blocking(&pull.name, move || {
                let image = store.commit(record, &built);
                drop(stage);
                image
            });
            if let Some(image) = committed.await? {
                return Ok(image);
            }
        }
        Err(ImageError::Worker { reference: pull.name })
    }
}

/// Follows the reference to this machine's manifest; with the digests it may be asked for by.
async fn choose(registry: &Registry, name: &str) -> Result<(Manifest, Vec<Digest>), ImageError> {
    let (bytes, digest) = registry.manifest(None).await?;
    let index = match document::parse(name, &bytes)? {
        Document::Manifest(manifest) => return Ok((manifest, vec![digest])),
        Document::Index(index) => index,
    };
    let chosen = document::blob(name, document::choose(name, &index)?)?;
    let (bytes, _) = registry.manifest(Some(&chosen.digest)).await?;
    match document::parse(name, &bytes)? {
        Document::Manifest(manifest) => Ok((manifest, vec![chosen.digest, digest])),
        Document::Index(_) => Err(ImageError::Invalid {
            image: name.to_owned(),
            what: "its manifest".to_owned(),
            reason: "an index in an index".to_owned(),
        }),
    }
}

/// What all layers of one pull share.
#[derive(Clone)]
struct Pull {
    store: Store,
    registry: Arc<Registry>,
    name: String,
    progress: Arc<dyn Progress>,
}

impl Pull {
    async fn layers(
        &self,
        stage: &Arc<Stage>,
        manifest: &Manifest,
        described: &Described,
    ) -> Result<Vec<Built>, ImageError> {
        let places = Arc::new(Semaphore::new(limits::LAYER_DOWNLOADS));
        let mut tasks = JoinSet::new();
        let mut seen = BTreeSet::new();
        for (blob, diff_id) in manifest.layers.iter().zip(&described.diff_ids) {
            if self.store.has_layer(diff_id)? || !seen.insert(diff_id) {
                continue;
            }
            let (pull, places) = (self.clone(), places.clone());
            let (stage, blob, diff_id) = (stage.clone(), blob.clone(), diff_id.clone());
            tasks.spawn(async move {
                let _place = places.acquire().await;
                pull.layer(stage, blob, diff_id).await
            });
        }
        let mut built = Vec::new();
        // The first failure ends the others: dropping the set aborts them.
        while let Some(done) = tasks.join_next().await {
            built.push(done.map_err(|_| ImageError::Worker { reference: self.name.clone() })??);
        }
        Ok(built)
    }

    /// The stage is kept until the layer's own work has ended, even if the pull was given up meanwhile.
    async fn layer(&self, stage: Arc<Stage>, blob: Blob, diff_id: Digest) -> Result<Built, ImageError> {
        let path = stage.path().join(format!("{}.stored", diff_id.hex()));
        self.progress.begin(&blob.digest, blob.size);
        self.registry.layer(&blob, &path, &*self.progress).await?;
        let name = self.name.clone();
        let digest = blob.digest.clone();
        let built = blocking(&self.name, move || {
            let dir = layer_dir(&stage, &diff_id);
            let failed = |error| ImageError::io("reading a layer from", &path, error);
            let stored = File::open(&path).map_err(failed)?;
            let bytes = layer::build(Name { image: &name, diff_id: &diff_id }, stored, blob.size, &dir)?;
            fs::remove_file(&path).map_err(failed)?;
            Ok(Built { diff_id, dir, bytes })
        })
        .await?;
        self.progress.done(&digest);
        Ok(built)
    }
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(
    reference: &str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(ImageError::Worker { reference: reference.to_owned() }),
    }
}
