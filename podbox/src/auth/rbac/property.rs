//! What holds for any rules and any question: the index finds what reading every rule finds, and nobody is let grant what
//! lets others do more than they can do themselves.

use super::rule::ResourceNames;
use super::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

const VERBS: &[&str] = &["get", "list", "create", "*"];
const GROUPS: &[&str] = &["", "apps", "*"];
const RESOURCES: &[&str] = &["pods", "pods/log", "x/log", "*/log", "deployments", "*"];
const NAMES: &[&str] = &["a", "b"];
const URLS: &[&str] = &["/a", "/a/*", "/a/b", "/a*", "*"];

fn some(words: &'static [&'static str], least: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(words, least..=words.len().min(3))
        .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let resources = (some(VERBS, 1), some(GROUPS, 1), some(RESOURCES, 1), some(NAMES, 0)).prop_map(
        |(verbs, groups, resources, names)| Rule { verbs, groups, resources, names, urls: Vec::new() },
    );
    let paths =
        (some(VERBS, 1), some(URLS, 1)).prop_map(|(verbs, urls)| Rule { verbs, urls, ..Rule::default() });
    prop_oneof![4 => resources, 1 => paths]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 0..5)
}

/// Verb, group, resource, subresource, name; or verb and path.
type Question = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

fn question() -> impl Strategy<Value = Question> {
    let verb = || select(&["get", "list", "create", "delete"][..]);
    let resource = (
        verb(),
        select(&["", "apps", "batch"][..]),
        select(&["pods", "deployments", "x", "y"][..]),
        select(&["", "log", "scale"][..]),
        select(&["", "a", "b", "c"][..]),
    )
        .prop_map(|(verb, group, resource, part, name)| (verb, group, resource, part, name, ""));
    let path = (verb(), select(&["/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b"][..]))
        .prop_map(|(verb, path)| (verb, "", "", "", "", path));
    prop_oneof![4 => resource, 1 => path]
}

fn asked<'a>(user: &'a User, question: Question) -> Attributes<'a> {
    let (verb, group, resource, subresource, name, path) = question;
    Attributes { verb, group, resource, subresource, name, path, ..Attributes::of(user) }
}

/// What upstream documents, read from every rule in turn.
fn plainly_allowed(rules: &[Rule], question: Question) -> bool {
    let (verb, group, resource, part, name, path) = question;
    let listed = |list: &[String], word: &str| list.iter().any(|each| each == "*" || each == word);
    rules.iter().any(|rule| {
        if !listed(&rule.verbs, verb) {
            return false;
        }
        if resource.is_empty() {
            return rule.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => url == path,
            });
        }
        let whole = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
        let wild = format!("*/{part}");
        listed(&rule.groups, group)
            && (listed(&rule.resources, &whole) || (!part.is_empty() && rule.resources.contains(&wild)))
            && (rule.names.is_empty() || rule.names.iter().any(|each| each == name))
    })
}

/// A cluster in which `jane` has these rules everywhere.
fn cluster(rules: &[Rule]) -> Rbac {
    let rules: Vec<_> = rules.iter().map(Rule::value).collect();
    let mut rbac = Rbac::default();
    rbac.put("clusterroles", &json!({"metadata": {"name": "r"}, "rules": rules})).unwrap();
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "jane"}],
    });
    rbac.put("clusterrolebindings", &binding).unwrap();
    rbac
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_reading_every_rule_finds(rules in rules(), question in question()) {
        let user = User::authenticated("jane", []);
        let asked = asked(&user, question);
        let found = Rules::new(rules.clone()).allow(&asked, &ResourceNames::of(&asked));
        prop_assert_eq!(found, plainly_allowed(&rules, question));
    }

    #[test]
    fn nobody_is_let_grant_more_than_they_may(
        held in rules(),
        granted in rules(),
        questions in prop::collection::vec(question(), 20),
    ) {
        let (rbac, jane) = (cluster(&held), User::authenticated("jane", []));
        let object = json!({
            "metadata": {"name": "n"}, "rules": granted.iter().map(Rule::value).collect::<Vec<_>>(),
        });
        let write = Attributes { verb: "create", group: GROUP, resource: "clusterroles", ..Attributes::of(&jane) };
        // Everything in everything includes the right to escalate.
        let escalates = rbac.decide(&Attributes { verb: "escalate", ..write }).allowed();
        if rbac.claim(&write, &object, None).is_ok_and(|claim| claim.judge(&write, &object).is_ok()) && !escalates {
            for question in questions {
                prop_assert!(!plainly_allowed(&granted, question) || plainly_allowed(&held, question), "{:?}", question);
            }
        }
        if granted.iter().all(|rule| held.contains(rule)) {
            prop_assert!(rbac.claim(&write, &object, None).is_ok_and(|claim| claim.judge(&write, &object).is_ok()));
        }
    }
}
