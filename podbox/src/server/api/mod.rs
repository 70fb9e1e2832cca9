//! The Kubernetes API over the store.

pub mod media;
pub mod path;
pub mod query;
