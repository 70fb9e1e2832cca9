//! The seam between a pod that needs an image and the store that has or gets it.

use super::image::Image;
use std::future::Future;

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
    /// The image, unpacked on this node.
    fn ensure(
        &self,
        reference: &str,
        policy: PullPolicy,
    ) -> impl Future<Output = Result<Image, PullFailure>> + Send;
}
