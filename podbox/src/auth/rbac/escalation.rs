//! Nobody grants what they do not hold: judging writes of roles and bindings. Pure.
//!
//! A rule is broken down into one for each verb, group, resource and name; each of these must be covered by one rule of
//! the writer's. Who may `escalate` a role, or `bind` it, need not hold its rules.
//!
//! What is to be compared is taken out of what is granted first ([`Rbac::claim`]), so that the comparing, which may take
//! long, keeps nobody else's questions waiting.
//!
//! **Invariant:** however many rules somebody gathers and however long they are, one write is judged in a bounded number
//! of comparisons; one that takes more is refused.

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
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

/// Rules that are needed, and the words for who does not hold them if they are not the usual ones.
type Needed = Vec<(Vec<Rule>, Option<&'static str>)>;

/// What is read of a role.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    rules: Option<Vec<rbac::PolicyRule>>,
    aggregation_rule: Option<rbac::AggregationRule>,
}

/// What the writer of a role or a binding has to hold, and holds.
#[derive(Debug, Default)]
pub struct Claim {
    needed: Needed,
    held: Vec<Rule>,
    /// Roles that the writer is bound to and that are not there.
    gone: Vec<String>,
}

impl Rbac {
    /// What a write of a role or a binding, as it will be stored, takes; of other resources, nothing. `asked` is the
    /// request, `old` what is there.
    pub fn claim(&self, asked: &Attributes<'_>, new: &Value, old: Option<&Value>) -> Result<Claim, ApiError> {
        let relevant = concerns(asked.group, asked.resource) && asked.subresource.is_empty();
        if !relevant || asked.user.is_master() || old.is_some_and(|old| same_but_for_collection(new, old)) {
            return Ok(Claim::default());
        }
        let needed = match asked.resource {
            "roles" | "clusterroles" => self.needed_by_role(asked, new, old)?,
            _ => self.needed_by_binding(asked, new)?,
        };
        if needed.is_empty() {
            return Ok(Claim::default());
        }
        let (held, gone) = self.rules_for(asked.user, asked.namespace);
        Ok(Claim { needed, held: held.into_iter().cloned().collect(), gone })
    }

    fn needed_by_role(
        &self,
        asked: &Attributes<'_>,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<Needed, ApiError> {
        if self.decide(&Attributes { verb: "escalate", ..*asked }).allowed() {
            return Ok(Vec::new());
        }
        let granted = Granted::deserialize(new).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let aggregates = |object: &Value| !object["aggregationRule"].is_null();
        let changed = granted.aggregation_rule.is_some() || old.is_some_and(aggregates);
        // What it will gather, nobody knows yet.
        let all = "must have cluster-admin privileges to use an aggregationRule";
        let all = changed.then(|| (everything(), Some(all)));
        let rules = granted.rules.unwrap_or_default().into_iter().map(Rule::from).collect();
        Ok(all.into_iter().chain([(rules, None)]).collect())
    }

    fn needed_by_binding(&self, asked: &Attributes<'_>, new: &Value) -> Result<Needed, ApiError> {
        let role = rbac::RoleRef::deserialize(&new["roleRef"])
            .map_err(|error| error.to_string())
            .and_then(|role| RoleRef::read(&role))
            .map_err(ApiError::bad_request)?;
        let bind = Attributes { verb: "bind", resource: role.resource(), name: &role.name, ..*asked };
        if self.decide(&bind).allowed() {
            return Ok(Vec::new());
        }
        match self.roles.rules(&role, asked.namespace) {
            Ok(rules) => Ok(vec![(rules.all().to_vec(), None)]),
            Err(_) => Err(ApiError::not_found(GROUP, role.kind().to_lowercase().as_str(), &role.name)),
        }
    }
}

impl Claim {
    /// Refuses a write that gives away more than its writer has.
    pub fn judge(&self, asked: &Attributes<'_>, new: &Value) -> Result<(), ApiError> {
        let refused = |why: &str| refused(GROUP, asked.resource, object::name(new), why);
        let steps = Steps::new(limits::RULE_STEPS);
        for (rules, words) in &self.needed {
            let missing = missing(&self.held, rules, &steps).map_err(|why| refused(&why))?;
            if !missing.is_empty() {
                return Err(refused(&words.map_or_else(|| self.lacking(asked.user, missing), str::to_owned)));
            }
        }
        Ok(())
    }

    fn lacking(&self, user: &User, missing: Vec<Rule>) -> String {
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            groups(user),
            describe(missing)
        );
        if !self.gone.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", self.gone.join(", ")));
        }
        why
    }
}

/// How many comparisons are left.
struct Steps(Cell<usize>);

impl Steps {
    fn new(most: usize) -> Steps {
        Steps(Cell::new(most))
    }

    /// Takes as many as a list has words; none are left at the end.
    fn take(&self, list: &[String]) -> bool {
        self.0.set(self.0.get().saturating_sub(list.len() + 1));
        self.0.get() > 0
    }

    fn over(&self) -> bool {
        self.0.get() == 0
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
fn missing(held: &[Rule], rules: &[Rule], steps: &Steps) -> Result<Vec<Rule>, String> {
    let covered =
        |rule: &Rule| held.iter().any(|held| steps.over() || covers(held, rule, steps)) && !steps.over();
    let mut missing = Vec::new();
    let mut looked = 0;
    for rule in rules {
        if covered(rule) {
            continue;
        }
        let lists = [&rule.verbs, &rule.groups, &rule.resources, &rule.names, &rule.urls];
        let parts = lists.iter().fold(1_usize, |parts, list| parts.saturating_mul(list.len().max(1)));
        looked = parts.saturating_add(looked);
        if looked > limits::RULE_PARTS {
            let most = limits::RULE_PARTS;
            return Err(format!("its rules mean more than {most} permissions, more than can be looked at"));
        }
        missing.extend(parts_of(rule).into_iter().filter(|part| !covered(part)));
        if steps.over() {
            let most = limits::RULE_STEPS;
            return Err(format!(
                "to compare its rules with those that its writer holds takes more than {most} steps; split it into smaller \
                 roles, or bind the writer to fewer"
            ));
        }
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

/// Whether all that one rule allows, another allows too. Without steps left, the answer is no.
fn covers(held: &Rule, rule: &Rule, steps: &Steps) -> bool {
    let among = |list: &[String], word: &str| steps.take(list) && has(list, word);
    let all = |held: &[String], words: &[String]| words.iter().all(|word| among(held, word));
    let resource = |word: &String| {
        let part = || word.split_once('/').map(|(_, part)| format!("*/{part}"));
        among(&held.resources, word) || part().is_some_and(|wild| among(&held.resources, &wild))
    };
    let url = |path: &String| steps.take(&held.urls) && held.urls.iter().any(|held| url_matches(held, path));
    let name = |name: &String| steps.take(&held.names) && held.names.contains(name);
    let names = || held.names.is_empty() || (!rule.names.is_empty() && rule.names.iter().all(name));
    all(&held.verbs, &rule.verbs)
        && all(&held.groups, &rule.groups)
        && rule.resources.iter().all(resource)
        && names()
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
