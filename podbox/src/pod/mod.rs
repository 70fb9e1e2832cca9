//! Pods: what Kubernetes says of them, and the steps that follow from it.

pub mod admit;
pub mod change;
pub mod compose;
pub mod desired;
pub mod environ;
pub mod ephemeral;
pub mod evict;
pub mod fit;
pub mod memory;
pub mod mounts;
pub mod naming;
pub mod notice;
pub mod observed;
pub mod plan;
pub mod probe;
pub mod references;
pub mod resize;
pub mod resolver;
pub mod resources;
pub mod restart;
pub mod security;
pub mod services;
pub mod shape;
pub mod sources;
pub mod status;
pub mod volumes;
