//! A binding: whom it gives which role, and the index from people to bindings. Pure.

use super::GROUP;
use crate::api::object;
use crate::api::user::{User, account_name};
use k8s_openapi::api::rbac::v1 as rbac;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Whom a binding means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user, by name.
    User(String),
    /// A group.
    Group(String),
    /// A service account: namespace, which may be empty for the binding's own, and name.
    Account(String, String),
}

impl Subject {
    /// The user name it means, in a binding of this namespace; groups mean none.
    pub(super) fn user(&self, binding: &str) -> Option<String> {
        match self {
            Subject::User(name) => Some(name.clone()),
            Subject::Group(_) => None,
            Subject::Account(namespace, name) => {
                let namespace = if namespace.is_empty() { binding } else { namespace };
                (!namespace.is_empty()).then(|| account_name(namespace, name))
            }
        }
    }

    fn is(&self, user: &User, binding: &str) -> bool {
        match self {
            Subject::User(name) => *name == user.name,
            Subject::Group(name) => user.groups.contains(name),
            Subject::Account(..) => self.user(binding).is_some_and(|name| name == user.name),
        }
    }

    fn describe(&self) -> String {
        match self {
            Subject::User(name) => format!("User {name:?}"),
            Subject::Group(name) => format!("Group {name:?}"),
            Subject::Account(namespace, name) => {
                format!("ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}

/// The role of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// Whether it is a ClusterRole.
    pub cluster: bool,
    /// Its name.
    pub name: String,
}

impl RoleRef {
    pub(super) fn kind(&self) -> &'static str {
        if self.cluster { "ClusterRole" } else { "Role" }
    }

    pub(super) fn resource(&self) -> &'static str {
        if self.cluster { "clusterroles" } else { "roles" }
    }

    /// As a binding has it.
    pub(super) fn read(role: &rbac::RoleRef) -> Result<RoleRef, String> {
        let group = role.api_group.as_deref().unwrap_or_default();
        let cluster = match role.kind.as_str() {
            "ClusterRole" if group == GROUP => true,
            "Role" if group == GROUP => false,
            kind => return Err(format!("it binds a {kind:?} of the group {group:?}")),
        };
        Ok(RoleRef { cluster, name: role.name.clone() })
    }
}

/// A RoleBinding, or a ClusterRoleBinding.
#[derive(Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its namespace; empty for one of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it gives.
    pub role: RoleRef,
    /// Whom.
    pub subjects: Vec<Subject>,
}

/// What is read of the object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    role_ref: rbac::RoleRef,
    subjects: Option<Vec<rbac::Subject>>,
}

impl Binding {
    pub(super) fn read(object: &Value, cluster: bool) -> Result<Binding, String> {
        let parts = Parts::deserialize(object).map_err(|error| error.to_string())?;
        let role = RoleRef::read(&parts.role_ref)?;
        let namespace = object::namespace(object).to_owned();
        if cluster != namespace.is_empty() || (cluster && !role.cluster) {
            return Err("its role or its place is not for a binding of this kind".to_owned());
        }
        let subjects = parts.subjects.unwrap_or_default().into_iter().filter_map(subject).collect();
        Ok(Binding { namespace, name: object::name(object).to_owned(), role, subjects })
    }

    /// The first of its subjects that means this user.
    pub(super) fn subject_of(&self, user: &User) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.is(user, &self.namespace))
    }

    pub(super) fn describe(&self, subject: &Subject) -> String {
        let (kind, name) = match self.namespace.as_str() {
            "" => ("ClusterRoleBinding", self.name.clone()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        let (role, to) = (&self.role, subject.describe());
        format!("{kind} {name:?} of {} {:?} to {to}", role.kind(), role.name)
    }
}

/// Kinds that nobody has mean nobody.
fn subject(subject: rbac::Subject) -> Option<Subject> {
    match subject.kind.as_str() {
        "User" => Some(Subject::User(subject.name)),
        "Group" => Some(Subject::Group(subject.name)),
        "ServiceAccount" => Some(Subject::Account(subject.namespace.unwrap_or_default(), subject.name)),
        _ => None,
    }
}

/// The bindings of one user or group, by namespace; of the whole cluster without one.
#[derive(Debug, Default)]
pub(super) struct Grants(HashMap<String, Vec<Arc<Binding>>>);

impl Grants {
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Binding>> {
        self.0.get(namespace).into_iter().flatten()
    }

    /// Adds one, in the order of names; once, however often it names the subject.
    pub(super) fn add(&mut self, binding: &Arc<Binding>) {
        let there = self.0.entry(binding.namespace.clone()).or_default();
        if let Err(place) = there.binary_search_by(|other| other.name.cmp(&binding.name)) {
            there.insert(place, Arc::clone(binding));
        }
    }

    /// Takes one out. Says whether none is left.
    pub(super) fn take(&mut self, binding: &Arc<Binding>) -> bool {
        if let Some(there) = self.0.get_mut(&binding.namespace) {
            there.retain(|other| other.name != binding.name);
            if there.is_empty() {
                self.0.remove(&binding.namespace);
            }
        }
        self.0.is_empty()
    }
}
