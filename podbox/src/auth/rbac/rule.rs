//! One rule of a role, what it allows, and the rules of a role indexed by resource. Pure.

use crate::auth::attributes::Attributes;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Everything, wherever a rule lists something.
pub const ALL: &str = "*";

/// A rule: about resources, or about paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What may be done.
    pub verbs: Vec<String>,
    /// In which groups.
    pub groups: Vec<String>,
    /// To which resources: `pods`, `pods/log`, `*/scale`.
    pub resources: Vec<String>,
    /// To which objects; to all if there are none.
    pub names: Vec<String>,
    /// To which paths: `/healthz`, `/api/*`.
    pub urls: Vec<String>,
}

impl From<PolicyRule> for Rule {
    fn from(rule: PolicyRule) -> Rule {
        Rule {
            verbs: rule.verbs,
            groups: rule.api_groups.unwrap_or_default(),
            resources: rule.resources.unwrap_or_default(),
            names: rule.resource_names.unwrap_or_default(),
            urls: rule.non_resource_urls.unwrap_or_default(),
        }
    }
}

/// Whether a list has a word, or everything.
pub(super) fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|each| each == word || each == ALL)
}

/// Whether a path of a rule, which may end in a star, means this one.
pub(super) fn url_matches(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|start| path.starts_with(start.trim_end_matches('*')))
}

impl Rule {
    /// As a role has it.
    pub fn value(&self) -> Value {
        let lists = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        let some = lists.into_iter().filter(|(key, list)| *key == "verbs" || !list.is_empty());
        Value::Object(some.map(|(key, list)| (key.to_owned(), json!(list))).collect::<Map<_, _>>())
    }

    /// Whether it allows what is asked, of which the resource is known to match.
    fn allows_resource(&self, asked: &Attributes<'_>) -> bool {
        has(&self.verbs, asked.verb)
            && has(&self.groups, asked.group)
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    fn allows_path(&self, asked: &Attributes<'_>) -> bool {
        has(&self.verbs, asked.verb) && self.urls.iter().any(|url| url_matches(url, asked.path))
    }
}

/// The rules of a role, so that a question looks only at those that name its resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// Rules by what they list of resources, `pods/log`, `*/scale` and `*` included.
    by_resource: HashMap<String, Vec<usize>>,
    /// Rules that list paths.
    of_paths: Vec<usize>,
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Rules {
        let mut by_resource: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            for resource in &rule.resources {
                by_resource.entry(resource.clone()).or_default().push(index);
            }
        }
        let of_paths = (0..rules.len()).filter(|index| !rules[*index].urls.is_empty()).collect();
        Rules { rules, by_resource, of_paths }
    }

    pub(super) fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule allows what is asked. `names` is what the question's resource may be listed as.
    pub(super) fn allow(&self, asked: &Attributes<'_>, names: &ResourceNames) -> bool {
        if !asked.is_resource() {
            return self.of_paths.iter().any(|index| self.rules[*index].allows_path(asked));
        }
        names.each(asked.resource).any(|name| {
            let rules = self.by_resource.get(name);
            rules.is_some_and(|rules| rules.iter().any(|index| self.rules[*index].allows_resource(asked)))
        })
    }
}

/// What a rule may call the resource of one question; made once per question.
pub(super) struct ResourceNames {
    /// `pods/log` and `*/log`, if the question is about a part.
    part: Option<[String; 2]>,
}

impl ResourceNames {
    pub(super) fn of(asked: &Attributes<'_>) -> ResourceNames {
        let part = match asked.subresource {
            "" => None,
            part => Some([format!("{}/{part}", asked.resource), format!("*/{part}")]),
        };
        ResourceNames { part }
    }

    fn each<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a str> {
        let [exact, wild] = match &self.part {
            Some([exact, wild]) => [exact.as_str(), wild.as_str()],
            None => [resource, ALL],
        };
        [exact, wild, ALL].into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::user::User;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace()
            .map(|word| if word == "''" { String::new() } else { word.to_owned() })
            .collect()
    }

    #[track_caller]
    fn check(rule: [&str; 4], asked: [&str; 5], expected: bool) {
        let [verbs, groups, resources, names] = rule.map(words);
        let rules = Rules::new(vec![Rule { verbs, groups, resources, names, urls: Vec::new() }]);
        let user = User::default();
        let [verb, group, resource, subresource, name] = asked;
        let asked = Attributes { verb, group, resource, subresource, name, ..Attributes::of(&user) };
        assert_eq!(rules.allow(&asked, &ResourceNames::of(&asked)), expected, "{rule:?} {asked:?}");
    }

    #[test]
    fn rules_about_resources_match_as_documented() {
        let pods = ["get list", "''", "pods", ""];
        check(pods, ["get", "", "pods", "", "a"], true);
        check(pods, ["list", "", "pods", "", ""], true);
        check(pods, ["watch", "", "pods", "", ""], false);
        check(pods, ["get", "apps", "pods", "", "a"], false);
        check(pods, ["get", "", "pods", "log", "a"], false);
        check(pods, ["*", "", "pods", "", "a"], false);

        check(["*", "*", "*", ""], ["get", "apps", "deployments", "scale", "a"], true);
        check(["get", "''", "pods/log", ""], ["get", "", "pods", "log", "a"], true);
        check(["get", "''", "pods/log", ""], ["get", "", "pods", "", "a"], false);
        check(["update", "*", "*/scale", ""], ["update", "apps", "deployments", "scale", "a"], true);
        check(["update", "*", "*/scale", ""], ["update", "apps", "deployments", "status", "a"], false);
        check(["update", "*", "*/scale", ""], ["update", "apps", "deployments", "", "a"], false);
        check(["update", "*", "pods/*", ""], ["update", "", "pods", "log", "a"], false);

        let named = ["get update list create", "''", "configmaps", "a b"];
        check(named, ["get", "", "configmaps", "", "a"], true);
        check(named, ["get", "", "configmaps", "", "c"], false);
        // A list or a create of what has no name yet is not covered by names.
        check(named, ["list", "", "configmaps", "", ""], false);
        check(named, ["create", "", "configmaps", "", ""], false);
    }

    #[test]
    fn rules_about_paths_match_as_documented() {
        for (rule, path, expected) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/healthz/*", "/healthz/ping", true),
            ("/healthz/*", "/healthz", false),
            ("/api*", "/apis", true),
            ("*", "/metrics", true),
            ("/a*/b", "/ax/b", false),
        ] {
            assert_eq!(url_matches(rule, path), expected, "{rule} {path}");
        }
    }
}
