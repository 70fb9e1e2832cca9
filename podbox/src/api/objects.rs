//! The seam between podbox's own parts and the API: what they write. They read from the store.

use super::kinds::Name;
use super::lifecycle::Propagation;
use super::status::ApiError;
use serde_json::Value;
use std::future::Future;
use std::time::SystemTime;

/// Where nodes' leases are.
pub const NODE_LEASES: &str = "kube-node-lease";

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its apiVersion.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; empty where there is none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// A pod.
    pub fn pod(namespace: &str, name: &str) -> ObjectRef {
        ObjectRef { api_version: "v1", kind: "Pod", namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A node.
    pub fn node(name: &str) -> ObjectRef {
        ObjectRef { api_version: "v1", kind: "Node", namespace: String::new(), name: name.to_owned() }
    }

    /// A node's lease.
    pub fn lease(node: &str) -> ObjectRef {
        let (api_version, kind) = ("coordination.k8s.io/v1", "Lease");
        ObjectRef { api_version, kind, namespace: NODE_LEASES.to_owned(), name: node.to_owned() }
    }
}

/// A token of a pod's service account, as a volume asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenWanted {
    /// For whom it is; empty for the API itself.
    pub audience: String,
    /// How long it is to be good.
    pub seconds: i64,
}

/// A token, and until when it is good.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub token: String,
    /// From then on it is not.
    pub expires: SystemTime,
}

impl std::fmt::Debug for Token {
    // It lets in whoever has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(until {:?})", self.expires)
    }
}

/// Writes objects, under the name of the part that does.
pub trait Objects: Send + Sync + 'static {
    /// Creates an object unless one of its name is there.
    fn ensure(&self, object: Value) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Changes an object; `change` may be asked more than once.
    fn update(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> impl Future<Output = Result<Value, ApiError>> + Send;

    /// Changes an object's status; `change` may be asked more than once.
    fn update_status(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> impl Future<Output = Result<Value, ApiError>> + Send;

    /// Gives a pod to a node.
    fn bind(
        &self,
        pod: &ObjectRef,
        uid: &str,
        node: &str,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// A token that says that its bearer is the pod's service account, good as long as the pod is there.
    fn token(
        &self,
        pod: &ObjectRef,
        uid: &str,
        account: &str,
        wanted: &TokenWanted,
    ) -> impl Future<Output = Result<Token, ApiError>> + Send;

    /// Takes an object away at once, if it still is the one of this uid.
    fn remove(&self, object: &ObjectRef, uid: &str) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// Which object, of a kind that may have come at run time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its apiVersion.
    pub api_version: Name,
    /// Its kind.
    pub kind: Name,
    /// Its namespace; empty where there is none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// As what an object was seen: a write to one that is not so any more is a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of this uid; empty for any.
    pub uid: String,
    /// At this revision, if it counts.
    pub revision: Option<u64>,
}

/// Writes what a controller decided, from what it saw.
pub trait Writes: Clone + Send + Sync + 'static {
    /// Creates an object; gives back its name.
    fn create(&self, object: Value) -> impl Future<Output = Result<String, ApiError>> + Send;

    /// Changes an object or a part of it; `edit` may be asked more than once. Tells whether anything was different.
    fn edit(
        &self,
        at: &Target,
        part: &'static str,
        seen: &Seen,
        edit: impl Fn(&mut Value) + Send + Sync,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;

    /// Deletes an object, with its own grace. Tells whether anything was different: one that goes already may not be.
    fn delete(
        &self,
        at: &Target,
        seen: &Seen,
        propagation: Option<Propagation>,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;

    /// Deletes an object without any grace; tells the same.
    fn remove(&self, at: &Target, seen: &Seen) -> impl Future<Output = Result<bool, ApiError>> + Send;
}
