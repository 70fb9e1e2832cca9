//! Pods: what Kubernetes says of them, and the steps that follow from it.
