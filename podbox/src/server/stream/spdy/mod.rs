//! SPDY/3.1, as far as Kubernetes' clients speak it: streams that they open, with headers that say what each is for.
//!
//! They know nothing of flow control, so there is none here either: a stream whose reader is slow holds up the
//! others on its connection once [`SPDY_QUEUE`](crate::limits::SPDY_QUEUE) chunks of it wait. It opens no streams of
//! its own, and takes no notice of priorities and settings.

mod frame;
mod headers;
mod session;

pub use headers::Headers;
pub use session::{Incoming, Outgoing, Stream, serve};

/// What a client did that is not SPDY/3.1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Another version's frame.
    #[error("a frame of SPDY version {0}")]
    Version(u16),
    /// A frame that cannot be so long or so short.
    #[error("a frame of kind {kind} with {length} bytes")]
    Length {
        /// Its kind.
        kind: u16,
        /// Its bytes.
        length: usize,
    },
    /// Headers that are not what they should be.
    #[error("a stream's headers: {0}")]
    Headers(&'static str),
}
