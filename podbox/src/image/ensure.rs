//! Has an image here when a pod needs it: by policy from this node or from its registry, and once for all that
//! ask for it at the same time, as the same user.

use super::error::ImageError;
use super::progress::Progress;
use super::reference;
use super::store::Store;
use crate::api::error::chain;
use crate::api::image::Image;
use crate::api::images::{PullPolicy, Pulled};
use crate::api::keyring::{Keyring, Login};
use crate::{clock, metrics as names};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// What is asked for, and as whom: what one user gets is not another's.
type Key = (String, Vec<Login>);

type Shared = Arc<OnceCell<Result<Pulled, (&'static str, String)>>>;

/// Pulls under way. An entry goes when its pull has ended, however that was.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    by_key: Mutex<HashMap<Key, Shared>>,
}

impl Pulls {
    fn join(&self, key: &Key) -> Shared {
        let mut pulls = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.entry(key.clone()).or_default().clone()
    }

    fn leave(&self, key: &Key, pull: &Shared) {
        let mut pulls = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who come later start anew, as a tag may have moved; who is in, stays in.
        if pulls.get(key).is_some_and(|current| Arc::ptr_eq(current, pull)) {
            pulls.remove(key);
        }
    }
}

impl Store {
    /// The image, if it is on this node and the policy does not want its registry asked.
    pub fn here(&self, reference: &str, policy: PullPolicy) -> Result<Option<Image>, ImageError> {
        if policy != PullPolicy::Always
            && let Some(image) = self.resolve(reference)?
        {
            return Ok(Some(image));
        }
        // No registry needs to be asked about what is no name of an image.
        reference::parse(reference)?;
        match policy {
            PullPolicy::Never => Err(ImageError::NotPresent { reference: reference.to_owned() }),
            PullPolicy::Always | PullPolicy::IfNotPresent => Ok(None),
        }
    }

    /// Gets the image from its registry, by the first of the keyring's logins that lets it, or by none if there is none.
    /// Callers that ask at the same time as the same user share one pull.
    pub async fn get(
        &self,
        reference: &str,
        keyring: &Keyring,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled, ImageError> {
        let parsed = reference::parse(reference)?;
        let name = reference::key(&parsed);
        let key = (name, keyring.logins(&reference::repository(&parsed)));
        let pull = self.pulls().join(&key);
        let run = || async {
            let started = clock::instant();
            let done = self.try_each(&key, progress).await;
            let took = started.elapsed();
            metrics::histogram!(names::IMAGE_PULL_SECONDS).record(took);
            let result = done.as_ref().map_or_else(|(reason, _)| *reason, |_| "pulled");
            metrics::counter!(names::IMAGE_PULLS, "result" => result).increment(1);
            let image = done?;
            let bytes = self.size(&image.reference);
            Ok(Pulled { image, took, bytes })
        };
        // If the one who pulls is cancelled, another of those who wait goes on with it.
        let done = pull.get_or_init(run).await.clone();
        self.pulls().leave(&key, &pull);
        done.map_err(|(reason, message)| ImageError::Shared { reference: key.0, reason, message })
    }

    /// Why each login failed, if they all did.
    async fn try_each(
        &self,
        (name, logins): &Key,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, (&'static str, String)> {
        let nobody = logins.is_empty().then_some(None);
        let mut reason = "ErrImagePull";
        let mut messages: Vec<String> = Vec::new();
        for login in nobody.into_iter().chain(logins.iter().map(Some)) {
            match self.pull(name, login, Arc::clone(&progress)).await {
                Ok(image) => return Ok(image),
                Err(error) => {
                    reason = error.reason();
                    messages.push(chain(&error));
                }
            }
        }
        messages.dedup();
        Err((reason, messages.join("; ")))
    }

    /// Bytes of an image's unpacked layers.
    fn size(&self, reference: &str) -> u64 {
        let records = self.list().unwrap_or_default();
        records.iter().find(|record| record.reference == reference).map_or(0, |record| record.size)
    }
}
