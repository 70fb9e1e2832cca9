//! Has an image here when a pod needs it: by policy from this node or from its registry, and once for all that
//! ask for it at the same time.

use super::error::ImageError;
use super::progress::Progress;
use super::reference;
use super::registry::Credentials;
use super::store::Store;
use crate::api::error::chain;
use crate::api::image::Image;
use crate::api::images::PullPolicy;
use crate::{clock, metrics as names};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

type Shared = Arc<OnceCell<Result<Image, (&'static str, String)>>>;

/// Pulls under way, by reference. An entry goes when its pull has ended, however that was.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    by_reference: Mutex<HashMap<String, Shared>>,
}

impl Pulls {
    fn join(&self, key: &str) -> Shared {
        self.by_reference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key.to_owned())
            .or_default()
            .clone()
    }

    fn leave(&self, key: &str, pull: &Shared) {
        let mut pulls = self.by_reference.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who come later start anew, as a tag may have moved; who is in, stays in.
        if pulls.get(key).is_some_and(|current| Arc::ptr_eq(current, pull)) {
            pulls.remove(key);
        }
    }
}

impl Store {
    /// The image, as the policy says. Callers that ask for one reference at the same time share one pull.
    pub async fn ensure(
        &self,
        reference: &str,
        policy: PullPolicy,
        credentials: &Credentials,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, ImageError> {
        if policy != PullPolicy::Always {
            if let Some(image) = self.resolve(reference)? {
                return Ok(image);
            }
            if policy == PullPolicy::Never {
                return Err(ImageError::NotPresent { reference: reference.to_owned() });
            }
        }
        let key = reference::key(&reference::parse(reference)?);
        let pull = self.pulls().join(&key);
        let run = || async {
            let started = clock::instant();
            let done = self.pull(&key, credentials, progress).await;
            metrics::histogram!(names::IMAGE_PULL_SECONDS).record(started.elapsed());
            let result = done.as_ref().map_or_else(ImageError::reason, |_| "pulled");
            metrics::counter!(names::IMAGE_PULLS, "result" => result).increment(1);
            done.map_err(|error| (error.reason(), chain(&error)))
        };
        // If the one who pulls is cancelled, another of those who wait goes on with it.
        let done = pull.get_or_init(run).await.clone();
        self.pulls().leave(&key, &pull);
        done.map_err(|(reason, message)| ImageError::Shared { reference: key, reason, message })
    }
}
