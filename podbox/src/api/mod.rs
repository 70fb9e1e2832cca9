//! The words that podbox's modules exchange. Rank 0: data and pure functions, no effects.

pub mod admission;
pub mod apply;
pub mod attribution;
pub mod decode;
pub mod discovery;
pub mod ephemeral;
pub mod error;
pub mod event;
pub mod field;
#[cfg(test)]
mod hostile;
pub mod hostports;
pub mod identity;
pub mod image;
pub mod images;
pub mod key;
pub mod keyring;
pub mod kinds;
pub mod lifecycle;
pub mod logs;
pub mod manifest;
pub mod object;
pub mod objects;
pub mod oom;
pub mod patch;
pub mod pressure;
pub mod print;
pub mod probe;
pub mod probed;
pub mod proto;
pub mod quantity;
pub mod quote;
#[cfg(test)]
pub mod recorded;
pub mod requests;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod stats;
pub mod status;
pub mod streams;
pub mod support;
pub mod timeline;
pub mod trigger;
pub mod user;
pub mod wish;
pub mod witness;
