//! What controllers work on: objects of any kind by where they are, and what is to be reconciled.

pub use crate::api::key::Key;

/// A kind, by its place in the [catalogue](super::catalog::Catalog).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u16);

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its kind.
    pub kind: KindId,
    /// Which one.
    pub key: Key,
}

/// What is to be reconciled: a key of the work queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// A Deployment.
    Deployment(Key),
    /// A ReplicaSet.
    ReplicaSet(Key),
    /// A ReplicationController.
    ReplicationController(Key),
    /// A StatefulSet.
    StatefulSet(Key),
    /// A DaemonSet.
    DaemonSet(Key),
    /// A CronJob.
    CronJob(Key),
    /// A Job.
    Job(Key),
    /// A pod that a Job holds, as long as there is one.
    Held(Key),
    /// The endpoints of a Service.
    Endpoints(Key),
    /// The status of a PodDisruptionBudget.
    Budget(Key),
    /// A node.
    Node(Key),
    /// A node whose lease was renewed.
    Beat(Key),
    /// A pod whose node does not answer.
    Unready(Key),
    /// A pod that may have to leave its node.
    TaintEviction(Key),
    /// A pod that says that it goes for others' sake, and does not go.
    Disrupted(Key),
    /// A pod that nobody else may take away.
    PodGarbage(Key),
    /// Pods that have ended, and are too many.
    EndedPods,
    /// Any object, as the dependent of its owners and as the owner of its dependents.
    Garbage(Place),
}
