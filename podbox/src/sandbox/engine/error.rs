//! What the engine could not do, for people: what failed, on what, and why.

use crate::api::error::chain;
use crate::api::identity::{ContainerRef, PodRef};
use crate::sandbox::apply::{ApplyError, StepError};
use crate::sandbox::backlog::BacklogError;
use crate::sandbox::cgroup::CgroupError;
use crate::sandbox::client::ClientError;
use crate::sandbox::device::DeviceError;
use crate::sandbox::exec;
use crate::sandbox::log::LogError;
use crate::sandbox::message::{self, Failure};
use crate::sandbox::netns::NetnsError;
use crate::sandbox::plan::PlanError;
use crate::sandbox::record::RecordError;
use crate::sandbox::runtime::Obstacle;
use std::io;
use std::path::PathBuf;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A directory it needs.
    #[error("cannot make {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// The node's cgroups.
    #[error("cannot set up the node's cgroups")]
    Cgroup(#[from] CgroupError),
    /// The device policy.
    #[error("cannot set up the device policy")]
    Device(#[from] DeviceError),
    /// The directory of pinned namespaces.
    #[error("cannot set up the directory of namespaces")]
    Netns(#[from] NetnsError),
    /// What a container left in its termination message file.
    #[error("cannot read the termination message of container {container}")]
    LastWords {
        /// Which.
        container: ContainerRef,
        /// Why.
        source: io::Error,
    },
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] ClientError),
    /// A spec that cannot be planned.
    #[error("{subject}")]
    Plan {
        /// The pod or container.
        subject: String,
        /// Why.
        #[source]
        source: PlanError,
    },
    /// A sandbox was not built.
    #[error("cannot build the sandbox of {pod}")]
    Create {
        /// The pod.
        pod: PodRef,
        /// Why.
        #[source]
        source: Box<ApplyError>,
    },
    /// A volume has not the files that it should have by now.
    #[error("cannot bring volumes of {pod} up to date")]
    Refill {
        /// The pod.
        pod: PodRef,
        /// Why.
        #[source]
        source: Box<ApplyError>,
    },
    /// A container was not started.
    #[error("cannot start container {name}")]
    Start {
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: Box<ApplyError>,
    },
    /// Something stayed.
    #[error("cannot take away all of {subject}: {}", .left.iter().map(|e| chain(e)).collect::<Vec<_>>().join("; "))]
    Remove {
        /// The pod or container.
        subject: String,
        /// What stayed, and why.
        left: Vec<StepError>,
    },
    /// A sandbox's record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The log of a container.
    #[error("cannot follow the output of {container}")]
    Log {
        /// The container.
        container: ContainerRef,
        /// Why.
        #[source]
        source: Box<LogError>,
    },
    /// A container's stdin.
    #[error("cannot watch the stdin of {container}")]
    Stdin {
        /// The container.
        container: ContainerRef,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A port of a pod could not be reached.
    #[error("failed to connect to localhost:{port} inside pod {pod}")]
    Connect {
        /// The pod.
        pod: PodRef,
        /// Which.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pod's sockets could not be asked for.
    #[error("cannot ask for sockets in the network of pod {pod}")]
    Sockets {
        /// The pod.
        pod: PodRef,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel did not say what listens in a pod.
    #[error("cannot tell what listens in pod {pod}")]
    Backlog {
        /// The pod.
        pod: PodRef,
        /// Why.
        #[source]
        source: BacklogError,
    },
    /// No such sandbox.
    #[error("pod {0} has no sandbox")]
    NoSandbox(PodRef),
    /// A pod's sandbox exists already.
    #[error("pod {0} has a sandbox already")]
    SandboxExists(PodRef),
    /// No such container.
    #[error("container {0} was not started")]
    NoContainer(ContainerRef),
    /// A command could not be run in a container.
    #[error("container {name}")]
    Exec {
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: exec::ExecError,
    },
    /// The runtime is shutting down, or a step panicked.
    #[error("the work was given up")]
    Abandoned(#[from] tokio::task::JoinError),
}

impl EngineError {
    /// What was in the way of a start that failed so.
    pub(super) fn obstacle(&self) -> Obstacle {
        let EngineError::Start { source, .. } = self else { return Obstacle::Creation };
        let StepError::Keeper(ClientError::Failed(Failure { step, subject, .. })) = &source.source else {
            return Obstacle::Creation;
        };
        match step.as_str() {
            message::EXEC | message::CHDIR => Obstacle::Program,
            message::SUB_PATH => Obstacle::SubPath(subject.clone()),
            _ => Obstacle::Creation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_failed_says_how_far_it_came() {
        let of = |step: &str, subject: &str| {
            let failure = Failure::errno(step, subject, libc::ENOENT);
            let source = StepError::Keeper(ClientError::Failed(failure));
            let source = Box::new(ApplyError { step: "launch", subject: "web".into(), source, left: vec![] });
            EngineError::Start { name: "web".into(), source }.obstacle()
        };
        assert_eq!(of("exec", "/bin/absent"), Obstacle::Program);
        assert_eq!(of("chdir", "/etc/passwd"), Obstacle::Program);
        assert_eq!(of(message::SUB_PATH, "/data"), Obstacle::SubPath("/data".into()));
        assert_eq!(of("find user", "ghost"), Obstacle::Creation);
        assert_eq!(EngineError::Keeper(ClientError::Silent).obstacle(), Obstacle::Creation);
    }
}
