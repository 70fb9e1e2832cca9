//! Nobody grants what they do not hold: judging writes of roles and bindings. Pure.
//!
//! A rule is broken down into one for each verb, group, resource and name; each of these must be covered by one rule of
//! the writer's. Who may `escalate` a role, or `bind` it, need not hold its rules.

use super::binding::RoleRef;
use super::rule::{ALL, Rule, has, url_matches};
use super::{GROUP, Rbac, concerns};
use crate::api::object;
use crate::api::status::ApiError;
use crate::api::user::User;
use crate::auth::attributes::{Attributes, refused};
use crate::limits;
use k8s_openapi::api::rbac::v1 as rbac;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// What is read of a role.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    rules: Option<Vec<rbac::PolicyRule>>,
    aggregation_rule: Option<rbac::AggregationRule>,
}

impl Rbac {
    /// Judges a write of a role or a binding, as it will be stored; other resources pass. `asked` is the request, `old` what
    /// is there.
    pub fn guard(&self, asked: &Attributes<'_>, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let relevant = concerns(asked.group, asked.resource) && asked.subresource.is_empty();
        if !relevant || asked.user.is_master() || old.is_some_and(|old| same_but_for_collection(new, old)) {
            return Ok(());
        }
        match asked.resource {
            "roles" | "clusterroles" => self.guard_role(asked, new, old),
            _ => self.guard_binding(asked, new),
        }
    }

    fn guard_role(&self, asked: &Attributes<'_>, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        if self.decide(&Attributes { verb: "escalate", ..*asked }).allowed() {
            return Ok(());
        }
        let granted = Granted::deserialize(new).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let refused = |why: &str| Err(refused(GROUP, asked.resource, object::name(new), why));
        let aggregates = |object: &Value| !object["aggregationRule"].is_null();
        let changed = granted.aggregation_rule.is_some() || old.is_some_and(aggregates);
        // What it will gather, nobody knows yet.
        if changed && self.confirm(asked, &everything()).is_err() {
            return refused("must have cluster-admin privileges to use an aggregationRule");
        }
        let rules: Vec<Rule> = granted.rules.unwrap_or_default().into_iter().map(Rule::from).collect();
        self.confirm(asked, &rules).or_else(|why| refused(&why))
    }

    fn guard_binding(&self, asked: &Attributes<'_>, new: &Value) -> Result<(), ApiError> {
        let role = rbac::RoleRef::deserialize(&new["roleRef"])
            .map_err(|error| error.to_string())
            .and_then(|role| RoleRef::read(&role))
            .map_err(ApiError::bad_request)?;
        let bind = Attributes { verb: "bind", resource: role.resource(), name: &role.name, ..*asked };
        if self.decide(&bind).allowed() {
            return Ok(());
        }
        let Ok(rules) = self.roles.rules(&role, asked.namespace) else {
            return Err(ApiError::not_found(GROUP, role.kind().to_lowercase().as_str(), &role.name));
        };
        let refused = |why: String| refused(GROUP, asked.resource, object::name(new), &why);
        self.confirm(asked, rules.all()).map_err(refused)
    }

    /// Whether the asker holds all of these rules where the write is; if not, the refusal.
    fn confirm(&self, asked: &Attributes<'_>, rules: &[Rule]) -> Result<(), String> {
        let (held, gone) = self.rules_for(asked.user, asked.namespace);
        let missing = missing(&held, rules)?;
        if missing.is_empty() {
            return Ok(());
        }
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            asked.user.name,
            groups(asked.user),
            describe(missing)
        );
        if !gone.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", gone.join(", ")));
        }
        Err(why)
    }
}

/// A rule about all resources, and one about all paths.
fn everything() -> Vec<Rule> {
    let all = || vec![ALL.to_owned()];
    vec![
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), urls: all(), ..Rule::default() },
    ]
}

/// Whether two versions differ at most in what the garbage collector changes.
fn same_but_for_collection(new: &Value, old: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            object::set(&mut object, field, Value::Null);
        }
        object
    };
    stripped(new) == stripped(old)
}

/// The parts of `rules` that no rule in `held` covers.
fn missing(held: &[&Rule], rules: &[Rule]) -> Result<Vec<Rule>, String> {
    let mut missing = Vec::new();
    let mut looked = 0;
    for rule in rules.iter().filter(|rule| !held.iter().any(|held| covers(held, rule))) {
        let lists = [&rule.verbs, &rule.groups, &rule.resources, &rule.names, &rule.urls];
        let parts = lists.iter().fold(1_usize, |parts, list| parts.saturating_mul(list.len().max(1)));
        looked = parts.saturating_add(looked);
        if looked > limits::RULE_PARTS {
            let most = limits::RULE_PARTS;
            return Err(format!("its rules mean more than {most} permissions, more than can be looked at"));
        }
        missing.extend(parts_of(rule).into_iter().filter(|part| !held.iter().any(|held| covers(held, part))));
    }
    Ok(missing)
}

/// A rule for each verb, group, resource and name, and for each verb and path.
fn parts_of(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut parts = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = Rule {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                match rule.names.as_slice() {
                    [] => parts.push(part),
                    names => parts.extend(names.iter().map(|name| Rule { names: one(name), ..part.clone() })),
                }
            }
        }
    }
    for url in &rule.urls {
        for verb in &rule.verbs {
            parts.push(Rule { verbs: one(verb), urls: one(url), ..Rule::default() });
        }
    }
    parts
}

/// Whether all that one rule allows, another allows too.
fn covers(held: &Rule, rule: &Rule) -> bool {
    let all = |held: &[String], words: &[String]| words.iter().all(|word| has(held, word));
    let resource = |word: &String| {
        let part = || word.split_once('/').map(|(_, part)| format!("*/{part}"));
        has(&held.resources, word) || part().is_some_and(|wild| held.resources.contains(&wild))
    };
    let url = |path: &String| held.urls.iter().any(|held| url_matches(held, path));
    let names = held.names.is_empty()
        || (!rule.names.is_empty() && rule.names.iter().all(|name| held.names.contains(name)));
    all(&held.verbs, &rule.verbs)
        && all(&held.groups, &rule.groups)
        && rule.resources.iter().all(resource)
        && names
        && rule.urls.iter().all(url)
}

/// What is missing, a line each; verbs for the same thing share one.
fn describe(missing: Vec<Rule>) -> String {
    let mut places: HashMap<Rule, usize> = HashMap::new();
    let mut merged: Vec<Rule> = Vec::new();
    for rule in missing {
        let about = Rule { verbs: Vec::new(), ..rule.clone() };
        match places.get(&about) {
            Some(place) if rule.urls.is_empty() => merged[*place].verbs.extend(rule.verbs),
            _ => {
                places.insert(about, merged.len());
                merged.push(rule);
            }
        }
    }
    let lines: BTreeSet<String> = merged.iter().map(line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &Rule) -> String {
    let lists = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ];
    let some = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let parts: Vec<_> = some.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    format!("{{{}}}", parts.join(", "))
}

fn quoted(list: &[String]) -> String {
    let words: Vec<_> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn groups(user: &User) -> String {
    quoted(&user.groups)
}
