//! Pods: what Kubernetes says of them, and the steps that follow from it.

pub mod observed;
pub mod plan;
pub mod restart;
pub mod status;
