//! Who is who: pods and containers as every other module names them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What the names of pods' links on the host begin with.
pub const LINK_PREFIX: &str = "pb";

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

impl PodRef {
    /// The name of the host's end of its link: 15 bytes, all that a link's name may have, 65 bits of them from
    /// the uid. Should two pods' names ever be the same, the kernel refuses to make the second link.
    pub fn link_name(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let hash = Sha256::digest(self.uid.as_bytes());
        let digits = hash.iter().take(13).map(|byte| DIGITS[usize::from(byte % 32)] as char);
        LINK_PREFIX.chars().chain(digits).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodRef {
        PodRef { namespace: "default".into(), name: "web".into(), uid: uid.into() }
    }

    #[test]
    fn link_names_fit_the_kernel_and_follow_the_uid_alone() {
        let name = pod("4a5c0e3e-0d0e-4c3e-9d83-3d2f0c1f7a11").link_name();
        assert_eq!(name.len(), 15);
        assert!(name.starts_with(LINK_PREFIX) && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
        let namesake = PodRef { name: "other".into(), ..pod("4a5c0e3e-0d0e-4c3e-9d83-3d2f0c1f7a11") };
        assert_eq!(name, namesake.link_name());
        assert_ne!(name, pod("4a5c0e3e-0d0e-4c3e-9d83-3d2f0c1f7a12").link_name());
    }
}
