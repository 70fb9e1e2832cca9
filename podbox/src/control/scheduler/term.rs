//! What pods ask of pods: beside whom, and in which part of the cluster, by the value of a label of the nodes. Pure.

use crate::api::selector::{Labels, Requirement, Test};
use crate::control::meta;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The labels of namespaces, by their names.
pub type Namespaces = BTreeMap<Arc<str>, meta::Labels>;

/// Which pods, and what makes a node one of theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// The label of nodes whose value says what is near.
    pub key: String,
    /// None selects nobody.
    selector: Option<Labels>,
    namespaces: BTreeSet<String>,
    /// And in those whose labels are so.
    labelled: Option<Labels>,
}

impl Term {
    /// From a pod's manifest. Where it says nothing of namespaces, it means the pod's own.
    pub fn of(term: &PodAffinityTerm, pod: &Pod) -> Term {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
        }
        let selector = term.label_selector.as_ref().map(|selector| {
            let mut selector = Labels::of(selector);
            selector.0.extend(keys(&term.match_label_keys, pod, Test::In));
            selector.0.extend(keys(&term.mismatch_label_keys, pod, Test::NotIn));
            selector
        });
        let labelled = term.namespace_selector.as_ref().map(Labels::of);
        Term { key: term.topology_key.clone(), selector, namespaces, labelled }
    }

    /// With its weight, which is negative for who is to be far.
    pub fn weighted(term: &WeightedPodAffinityTerm, sign: i32, pod: &Pod) -> (i32, Term) {
        (sign.saturating_mul(term.weight), Term::of(&term.pod_affinity_term, pod))
    }

    /// Whether pods of a namespace with these labels are among those.
    pub fn selects(&self, namespace: &str, labels: &meta::Labels, namespaces: &Namespaces) -> bool {
        let named = || {
            let labelled = |wanted: &Labels| {
                namespaces.get(namespace).is_some_and(|labels| matches(wanted, labels))
                    // One that is not known yet is in all of them.
                    || wanted.is_empty()
            };
            self.namespaces.contains(namespace) || self.labelled.as_ref().is_some_and(labelled)
        };
        self.selector.as_ref().is_some_and(|selector| matches(selector, labels)) && named()
    }
}

fn matches(selector: &Labels, labels: &meta::Labels) -> bool {
    selector.matches(|key| labels.get(key).map(String::as_str))
}

/// What a pod's own labels add to a selector: those of these keys that it has.
fn keys(keys: &Option<Vec<String>>, pod: &Pod, test: impl Fn(BTreeSet<String>) -> Test) -> Vec<Requirement> {
    let own = |key: &String| pod.metadata.labels.as_ref()?.get(key);
    let one = |key: &String| Some(Requirement { key: key.clone(), test: test([own(key)?.clone()].into()) });
    keys.iter().flatten().filter_map(one).collect()
}

/// How pods are to be spread over the parts of the cluster.
#[derive(Clone, Debug)]
pub struct Spread {
    /// The label of nodes whose value says which part they are in.
    pub key: String,
    /// How many more may be in one part than in the one with fewest.
    pub max_skew: i64,
    /// Whether it must be so.
    pub required: bool,
    /// With fewer parts than these, there is one without any.
    pub min_domains: usize,
    /// Nodes that the pod does not ask for do not count.
    pub by_affinity: bool,
    /// Nodes whose taints it does not bear do not count.
    pub by_taints: bool,
    /// None selects nobody.
    selector: Option<Labels>,
}

impl Spread {
    /// From a pod's manifest.
    pub fn of(given: &TopologySpreadConstraint, pod: &Pod) -> Spread {
        let selector = given.label_selector.as_ref().map(|selector| {
            let mut selector = Labels::of(selector);
            selector.0.extend(keys(&given.match_label_keys, pod, Test::In));
            selector
        });
        Spread {
            key: given.topology_key.clone(),
            max_skew: given.max_skew.into(),
            required: given.when_unsatisfiable == "DoNotSchedule",
            min_domains: given.min_domains.and_then(|number| usize::try_from(number).ok()).unwrap_or(1),
            by_affinity: given.node_affinity_policy.as_deref() != Some("Ignore"),
            by_taints: given.node_taints_policy.as_deref() == Some("Honor"),
            selector,
        }
    }

    /// Whether pods with these labels, of the same namespace, count.
    pub fn counts(&self, labels: &meta::Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| matches(selector, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(term: &str, namespace: &str, expected: bool) {
        let pod: Pod =
            serde_yaml::from_str("{metadata: {name: p, namespace: own, labels: {app: a, hash: h}}}").unwrap();
        let term: PodAffinityTerm = serde_yaml::from_str(&format!("{{topologyKey: k, {term}}}")).unwrap();
        let labels = |of: &[(&str, &str)]| -> meta::Labels {
            of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let namespaces = Namespaces::from([("team".into(), labels(&[("who", "us")]))]);
        let there = labels(&[("app", "a"), ("hash", "h")]);
        assert_eq!(Term::of(&term, &pod).selects(namespace, &there, &namespaces), expected, "{term:?}");
    }

    #[test]
    fn terms_select_by_labels_and_namespaces() {
        let all = "labelSelector: {}";
        check("namespaces: [own]", "own", false);
        check(all, "own", true);
        check(all, "team", false);
        check("labelSelector: {matchLabels: {app: a}}", "own", true);
        check("labelSelector: {matchLabels: {app: b}}", "own", false);
        check(&format!("{all}, namespaces: [team]"), "team", true);
        check(&format!("{all}, namespaces: [team]"), "own", false);
        check(&format!("{all}, namespaceSelector: {{}}"), "any", true);
        check(&format!("{all}, namespaceSelector: {{matchLabels: {{who: us}}}}"), "team", true);
        check(&format!("{all}, namespaceSelector: {{matchLabels: {{who: us}}}}"), "own", false);
        check(&format!("{all}, matchLabelKeys: [hash, other]"), "own", true);
        check(&format!("{all}, mismatchLabelKeys: [hash]"), "own", false);
    }
}
