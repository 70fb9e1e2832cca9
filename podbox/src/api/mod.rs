//! The words that podbox's modules exchange. Rank 0: data and pure functions, no effects.

pub mod attribution;
pub mod default;
pub mod error;
pub mod event;
pub mod identity;
pub mod image;
pub mod images;
pub mod manifest;
pub mod quantity;
pub mod support;
pub mod validate;
