//! Roles, and the aggregation of cluster roles. Pure.

use super::GROUP;
use super::binding::RoleRef;
use super::rule::{Rule, Rules};
use crate::api::selector::Labels;
use k8s_openapi::api::rbac::v1::{AggregationRule, PolicyRule};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is read of a role.
#[derive(Debug)]
pub(super) struct Role {
    rules: Vec<Rule>,
    /// Of a cluster role that aggregates: what it does.
    selectors: Option<Vec<Labels>>,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    rules: Option<Vec<PolicyRule>>,
    aggregation_rule: Option<AggregationRule>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
}

pub(super) fn read(object: &Value) -> Result<Role, String> {
    let parts = Parts::deserialize(object).map_err(|error| error.to_string())?;
    let selectors = parts.aggregation_rule.map(|rule| {
        let selectors = rule.cluster_role_selectors.unwrap_or_default();
        selectors.iter().map(Labels::of).collect()
    });
    let rules = parts.rules.unwrap_or_default().into_iter().map(Rule::from).collect();
    Ok(Role { rules, selectors, labels: parts.metadata.labels.unwrap_or_default() })
}

impl Role {
    fn selects(&self, other: &Role) -> bool {
        let matches = |selector: &Labels| selector.matches(|key| other.labels.get(key).map(String::as_str));
        self.selectors.iter().flatten().any(matches)
    }
}

/// A cluster role and what it comes to.
#[derive(Debug)]
struct ClusterRole {
    role: Role,
    effective: Rules,
}

/// All roles.
#[derive(Debug, Default)]
pub(super) struct Roles {
    of_cluster: BTreeMap<String, ClusterRole>,
    by_namespace: HashMap<String, HashMap<String, Rules>>,
}

impl Roles {
    /// Takes one in; a cluster role has no namespace.
    pub(super) fn put(&mut self, namespace: &str, name: &str, role: Role) {
        if !namespace.is_empty() {
            let rules = Rules::new(role.rules);
            self.by_namespace.entry(namespace.to_owned()).or_default().insert(name.to_owned(), rules);
            return;
        }
        let mut affected = role.selectors.is_some() || self.aggregators(&role);
        let effective = Rules::new(role.rules.clone());
        if let Some(old) = self.of_cluster.insert(name.to_owned(), ClusterRole { role, effective }) {
            affected |= self.aggregators(&old.role);
        }
        if affected {
            self.aggregate();
        }
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        if namespace.is_empty() {
            let old = self.of_cluster.remove(name);
            if old.is_some_and(|old| self.aggregators(&old.role)) {
                self.aggregate();
            }
        } else if let Some(there) = self.by_namespace.get_mut(namespace) {
            there.remove(name);
            if there.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// Whether any role aggregates this one.
    fn aggregators(&self, role: &Role) -> bool {
        self.of_cluster.values().any(|other| other.role.selects(role))
    }

    fn aggregate(&mut self) {
        let aggregated: Vec<(String, Rules)> = self
            .of_cluster
            .iter()
            .filter(|(_, each)| each.role.selectors.is_some())
            .map(|(name, _)| (name.clone(), Rules::new(self.gather(name))))
            .collect();
        for (name, rules) in aggregated {
            if let Some(each) = self.of_cluster.get_mut(&name) {
                each.effective = rules;
            }
        }
    }

    /// The rules of all that a role aggregates, directly or through others, in the order of names, each once.
    fn gather(&self, name: &str) -> Vec<Rule> {
        let mut found: Vec<Rule> = Vec::new();
        let mut seen = BTreeSet::from([name]);
        let mut open: Vec<&str> = vec![name];
        let mut plain: BTreeSet<&str> = BTreeSet::new();
        while let Some(aggregator) = open.pop().and_then(|name| self.of_cluster.get(name)) {
            for (name, other) in &self.of_cluster {
                if !aggregator.role.selects(&other.role) || !seen.insert(name) {
                    continue;
                }
                if other.role.selectors.is_some() {
                    open.push(name);
                } else {
                    plain.insert(name);
                }
            }
        }
        for rule in
            plain.into_iter().filter_map(|name| self.of_cluster.get(name)).flat_map(|each| &each.role.rules)
        {
            if !found.contains(rule) {
                found.push(rule.clone());
            }
        }
        found
    }

    /// What a role allows that is bound in this namespace.
    pub(super) fn rules(&self, role: &RoleRef, namespace: &str) -> Result<&Rules, String> {
        let found = match role.cluster {
            true => self.of_cluster.get(&role.name).map(|each| &each.effective),
            false => self.by_namespace.get(namespace).and_then(|roles| roles.get(&role.name)),
        };
        let gone = || format!("{}.{GROUP} {:?} not found", role.kind().to_lowercase(), role.name);
        found.ok_or_else(gone)
    }

    /// Aggregated roles that do not say what they come to.
    pub(super) fn outdated(&self) -> Vec<(String, Vec<Rule>)> {
        let differ = |each: &&ClusterRole| {
            each.role.selectors.is_some() && each.role.rules.as_slice() != each.effective.all()
        };
        let all = self.of_cluster.iter().filter(|(_, each)| differ(each));
        all.map(|(name, each)| (name.clone(), each.effective.all().to_vec())).collect()
    }
}
