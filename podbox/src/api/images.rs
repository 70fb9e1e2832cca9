//! The seam between a pod that needs an image and the store that has or gets it.

use super::image::Image;
use super::keyring::Keyring;
use std::future::Future;
use std::time::Duration;

/// When an image is asked for at its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where this node does not have it.
    IfNotPresent,
    /// Never: it has to be here.
    Never,
}

/// An image that was got from its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// How long the registry took.
    pub took: Duration,
    /// Bytes of its unpacked layers.
    pub bytes: u64,
}

/// Why an image is not to be had, in upstream's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFailure {
    /// ErrImagePull, ErrImageNeverPull, InvalidImageName.
    pub reason: &'static str,
    /// What failed, for people.
    pub message: String,
}

/// Has images, or gets them.
pub trait Images: Send + Sync + 'static {
    /// The image, unpacked on this node; `None` where its registry is to be asked.
    fn here(&self, reference: &str, policy: PullPolicy) -> Result<Option<Image>, PullFailure>;

    /// Whether an image that is here is for whoever has this keyring; without one, whether it is for everybody.
    fn admits(&self, reference: &str, keyring: Option<&Keyring>) -> Result<bool, PullFailure>;

    /// Gets the image from its registry, by whichever login lets it.
    fn pull(
        &self,
        reference: &str,
        keyring: &Keyring,
    ) -> impl Future<Output = Result<Pulled, PullFailure>> + Send;
}
