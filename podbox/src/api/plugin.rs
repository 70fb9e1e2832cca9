//! What makes a volume, by upstream's names: metrics have them.

use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plugin {
    /// `configMap`.
    ConfigMap,
    /// `downwardAPI`.
    DownwardApi,
    /// `emptyDir`.
    EmptyDir,
    /// `hostPath`.
    HostPath,
    /// `persistentVolumeClaim`.
    Local,
    /// `projected`.
    Projected,
    /// `secret`.
    Secret,
}

impl Plugin {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Plugin::ConfigMap => "kubernetes.io/configmap",
            Plugin::DownwardApi => "kubernetes.io/downward-api",
            Plugin::EmptyDir => "kubernetes.io/empty-dir",
            Plugin::HostPath => "kubernetes.io/host-path",
            Plugin::Local => "kubernetes.io/local-volume",
            Plugin::Projected => "kubernetes.io/projected",
            Plugin::Secret => "kubernetes.io/secret",
        }
    }
}
