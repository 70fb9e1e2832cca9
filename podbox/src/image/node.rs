//! The image store as pods see it: [`Images`] over a [`Store`], with errors in upstream's terms.

use super::progress::Progress;
use super::{ImageError, Store};
use crate::api::error::chain;
use crate::api::image::Image;
use crate::api::images::{Images, PullFailure, PullPolicy, Pulled};
use crate::api::keyring::Keyring;
use std::fmt;
use std::sync::Arc;

/// A node's images.
pub struct NodeImages {
    store: Store,
    progress: Arc<dyn Progress>,
}

impl fmt::Debug for NodeImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeImages")
    }
}

impl NodeImages {
    /// The images of a store; pulls tell how they go to `progress`.
    pub fn new(store: Store, progress: Arc<dyn Progress>) -> Self {
        NodeImages { store, progress }
    }

    /// What has them.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Images for NodeImages {
    fn here(&self, reference: &str, policy: PullPolicy) -> Result<Option<Image>, PullFailure> {
        self.store.here(reference, policy).map_err(|error| failure(&error))
    }

    fn admits(&self, reference: &str, keyring: Option<&Keyring>) -> Result<bool, PullFailure> {
        self.store.admits(reference, keyring).map_err(|error| failure(&error))
    }

    async fn pull(&self, reference: &str, keyring: &Keyring) -> Result<Pulled, PullFailure> {
        let pulled = self.store.get(reference, keyring, Arc::clone(&self.progress)).await;
        pulled.map_err(|error| failure(&error))
    }
}

fn failure(error: &ImageError) -> PullFailure {
    let message = match error {
        // Already in one line: it was told to all who waited for the same pull.
        ImageError::Shared { message, .. } => message.clone(),
        other => chain(other),
    };
    PullFailure { reason: error.reason(), message }
}
