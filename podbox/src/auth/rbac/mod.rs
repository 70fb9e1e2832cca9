//! Roles and bindings: who may do what. Pure: it is told of every role and binding, and answers from memory.
//!
//! A question looks up the asker's name and groups, and of the roles bound to them only the rules that name the
//! resource; nobody else's bindings cost anything. An aggregated role has the rules of those that its selectors match,
//! computed when one of them changes.
//!
//! **Invariant:** what cannot be read allows nothing.

mod binding;
pub mod default;
mod escalation;
mod role;
mod rule;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use super::attributes::Attributes;
use crate::api::object;
use crate::api::user::User;
use binding::{Binding, Grants};
use role::Roles;
use rule::{ResourceNames, Rules};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

pub use binding::Subject;
pub use rule::Rule;

/// The group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Everything that was granted.
#[derive(Debug, Default)]
pub struct Rbac {
    roles: Roles,
    /// By namespace, empty for the cluster, and name.
    bindings: HashMap<(String, String), Arc<Binding>>,
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
}

/// What was decided, and why.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Masters may do everything, whatever the roles say.
    Master,
    /// A binding allows it.
    Granted(&'a Binding, &'a Subject),
    /// Nothing does. Roles that are bound to the asker but are not there are told.
    Denied(Vec<String>),
}

impl Decision<'_> {
    /// Whether it may be done.
    pub fn allowed(&self) -> bool {
        !matches!(self, Decision::Denied(_))
    }

    /// Why, in upstream's words; may be empty.
    pub fn reason(&self) -> String {
        match self {
            Decision::Master => String::new(),
            Decision::Granted(binding, subject) => format!("RBAC: allowed by {}", binding.describe(subject)),
            Decision::Denied(missing) => match missing.as_slice() {
                [] => String::new(),
                [one] => format!("RBAC: {one}"),
                many => format!("RBAC: [{}]", many.join(", ")),
            },
        }
    }
}

/// Whether objects of this resource are what [`Rbac`] has to be told of.
pub fn concerns(group: &str, resource: &str) -> bool {
    group == GROUP && ["roles", "clusterroles", "rolebindings", "clusterrolebindings"].contains(&resource)
}

impl Rbac {
    /// Takes in a new or changed object of the resource `roles`, `clusterroles`, `rolebindings` or
    /// `clusterrolebindings`. One that cannot be read grants nothing, and is told.
    pub fn put(&mut self, resource: &str, object: &Value) -> Result<(), String> {
        let (namespace, name) = (object::namespace(object).to_owned(), object::name(object).to_owned());
        let read = match resource {
            "roles" | "clusterroles" => {
                role::read(object).map(|role| self.roles.put(&namespace, &name, role))
            }
            _ => Binding::read(object, resource == "clusterrolebindings").map(|binding| self.bind(binding)),
        };
        read.map_err(|why| {
            self.remove(resource, &namespace, &name);
            format!("{resource} {name:?} grants nothing: {why}")
        })
    }

    /// Forgets one.
    pub fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        match resource {
            "roles" | "clusterroles" => self.roles.remove(namespace, name),
            _ => self.unbind(namespace, name),
        }
    }

    fn bind(&mut self, binding: Binding) {
        self.unbind(&binding.namespace, &binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            if let Some((map, key)) = self.index(subject, &binding.namespace) {
                map.entry(key).or_default().add(&binding);
            }
        }
        self.bindings.insert((binding.namespace.clone(), binding.name.clone()), binding);
    }

    fn unbind(&mut self, namespace: &str, name: &str) {
        let Some(binding) = self.bindings.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        for subject in &binding.subjects {
            let Some((map, key)) = self.index(subject, namespace) else { continue };
            if map.get_mut(&key).is_some_and(|grants| grants.take(&binding)) {
                map.remove(&key);
            }
        }
    }

    fn index(
        &mut self,
        subject: &Subject,
        namespace: &str,
    ) -> Option<(&mut HashMap<String, Grants>, String)> {
        match subject {
            Subject::Group(name) => Some((&mut self.groups, name.clone())),
            _ => Some((&mut self.users, subject.user(namespace)?)),
        }
    }

    /// The bindings that concern a user in a namespace, those of the whole cluster first.
    fn bindings<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Binding>> + 'a {
        let grants = move || {
            let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            self.users.get(&user.name).into_iter().chain(groups)
        };
        let places = [Some(""), (!namespace.is_empty()).then_some(namespace)];
        places.into_iter().flatten().flat_map(move |place| grants().flat_map(move |grants| grants.of(place)))
    }

    /// The rules that a binding gives.
    fn rules(&self, binding: &Binding) -> Result<&Rules, String> {
        self.roles.rules(&binding.role, &binding.namespace)
    }

    /// Whether what is asked may be done.
    pub fn decide<'a>(&'a self, asked: &Attributes<'a>) -> Decision<'a> {
        if asked.user.is_master() {
            return Decision::Master;
        }
        let names = ResourceNames::of(asked);
        let mut missing = Vec::new();
        for binding in self.bindings(asked.user, asked.namespace) {
            match self.rules(binding) {
                Ok(rules) if rules.allow(asked, &names) => {
                    if let Some(subject) = binding.subject_of(asked.user) {
                        return Decision::Granted(binding, subject);
                    }
                }
                Ok(_) => {}
                Err(gone) if missing.contains(&gone) => {}
                Err(gone) => missing.push(gone),
            }
        }
        Decision::Denied(missing)
    }

    /// Every rule that holds for a user in a namespace, and the roles that are bound to the user but are not there.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<&Rule>, Vec<String>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashSet::new();
        for binding in self.bindings(user, namespace) {
            if !seen.insert(Arc::as_ptr(binding)) {
                continue;
            }
            match self.rules(binding) {
                Ok(rules) => found.extend(rules.all()),
                Err(gone) if missing.contains(&gone) => {}
                Err(gone) => missing.push(gone),
            }
        }
        (found, missing)
    }

    /// Aggregated cluster roles whose own `rules` are not what they aggregate: name and what they should be. Whoever shows
    /// such a role shows these.
    pub fn aggregated(&self) -> Vec<(String, Vec<Rule>)> {
        self.roles.outdated()
    }
}
