//! The image store as pods see it: [`Images`] over a [`Store`], with errors in upstream's terms.

use super::progress::Progress;
use super::registry::Credentials;
use super::{ImageError, Store};
use crate::api::error::chain;
use crate::api::image::Image;
use crate::api::images::{Images, PullFailure, PullPolicy};
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
}

impl Images for NodeImages {
    async fn ensure(&self, reference: &str, policy: PullPolicy) -> Result<Image, PullFailure> {
        let progress = Arc::clone(&self.progress);
        let had = self.store.ensure(reference, policy, &Credentials::Anonymous, progress).await;
        had.map_err(|error| {
            let message = match &error {
                // Already in one line: it was told to all who waited for the same pull.
                ImageError::Shared { message, .. } => message.clone(),
                other => chain(other),
            };
            PullFailure { reason: error.reason(), message }
        })
    }
}
