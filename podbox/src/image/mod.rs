//! Images: pulled from registries, loaded from archives, unpacked into layers that overlayfs stacks.
//!
//! [`Store`] is the door. Bytes pass `reference` → `registry` or `source` → `layer` (`compression`, `tarball`, `unpack`,
//! `tree`) → `store`. Everything that comes in is hostile until its digest is proven, and a layer's entries are
//! hostile even then. Nothing here knows of pods or containers: who uses which layer, the caller says.

mod access;
mod compression;
mod digest;
mod document;
mod ensure;
mod error;
#[cfg(test)]
mod hostile;
mod index;
mod layer;
mod load;
mod node;
mod path;
mod pax;
mod progress;
mod pull;
mod reference;
mod registry;
mod source;
mod stage;
mod store;
mod tarball;
mod tree;
mod unpack;

pub use digest::Digest;
pub use error::{EntryError, ImageError};
pub use index::Record;
pub use node::NodeImages;
pub use path::PathError;
pub use progress::{Progress, Silent, for_people};
pub use store::Store;
