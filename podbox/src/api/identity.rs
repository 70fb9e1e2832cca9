//! Who is who: pods and containers as every other module names them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A pod, by its names and its uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: unique over time, where the names are not.
    pub uid: String,
}

/// One run of one container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerRef {
    /// The pod it belongs to.
    pub pod: PodRef,
    /// The container's name in the pod.
    pub name: String,
    /// How many runs of this container came before this one.
    pub attempt: u32,
}

impl ContainerRef {
    /// `NAME-ATTEMPT`: unique in the pod, safe as a file name (names are DNS labels), and the name of
    /// its cgroup and of its directory.
    pub fn key(&self) -> String {
        format!("{}-{}", self.name, self.attempt)
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.pod, self.name, self.attempt)
    }
}

/// A pod's quality of service class, as Kubernetes derives it from requests and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// Every container has limits of cpu and memory, and requests equal to them.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has.
    BestEffort,
}

impl QosClass {
    /// The name of its cgroup below podbox's own.
    pub fn cgroup(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "guaranteed",
            QosClass::Burstable => "burstable",
            QosClass::BestEffort => "besteffort",
        }
    }
}
