//! Container logs for the API: what is asked for, and the seam to the node that has them.

use super::identity::PodRef;
use super::status::ApiError;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::time::SystemTime;

/// What part of a log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Of which container.
    pub container: String,
    /// Of which run: 0 is the first.
    pub attempt: u32,
    /// Go on until the run is over.
    pub follow: bool,
    /// The last so many lines.
    pub tail: Option<usize>,
    /// What was written from then on.
    pub since: Option<SystemTime>,
    /// With the time before each line.
    pub timestamps: bool,
    /// So many bytes at most.
    pub limit: Option<usize>,
}

/// Has the logs of the pods of a node.
pub trait Logs: Send + Sync {
    /// A log as its container wrote it.
    fn open(&self, pod: &PodRef, options: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError>;
}
