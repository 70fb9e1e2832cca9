//! What pods ask of nodes (their labels and names), and which taints of nodes they bear. For who looks for a node, for who runs one
//! pod on each, and for the node itself. Pure.
//!
//! A wish is read from a manifest once and held against many nodes. Invariant: what cannot be read as a requirement is met
//! by no node.

use super::pressure::Condition;
use super::rules::pod::status::qos;
use super::selector::{Labels, Requirement, Test};
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};
use std::collections::{BTreeMap, BTreeSet};

/// The one field of nodes that terms can ask for.
const NAME: &str = "metadata.name";

/// A node's labels.
pub type NodeLabels = BTreeMap<String, String>;

/// What a pod requires of a node: its selector, and its affinity.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    selector: Labels,
    required: Option<Terms>,
    names: Option<BTreeSet<String>>,
}

impl Wish {
    /// A pod's.
    pub fn of(pod: &Pod) -> Wish {
        let Some(spec) = &pod.spec else { return Wish::default() };
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        Wish {
            selector: Labels::of_map(spec.node_selector.iter().flatten()),
            required: required.map(Terms::of),
            names: required.and_then(names),
        }
    }

    /// Whether it asks for nodes by their names, and the one of this name is not among them.
    pub fn excludes(&self, name: &str) -> bool {
        self.names.as_ref().is_some_and(|names| !names.contains(name))
    }

    /// Whether the node of this name and these labels is one that the pod asks for.
    pub fn is_met(&self, name: &str, labels: &NodeLabels) -> bool {
        self.selector.matches(|key| labels.get(key).map(String::as_str))
            && self.required.as_ref().is_none_or(|required| required.are_met(name, labels))
    }
}

/// The names of which one is asked for, whatever else is, if each term names some.
fn names(selector: &NodeSelector) -> Option<BTreeSet<String>> {
    let of = |term: &NodeSelectorTerm| {
        let fields = term.match_fields.iter().flatten();
        let named = fields.filter(|field| (field.key.as_str(), field.operator.as_str()) == (NAME, "In"));
        let sets = named.map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
        sets.reduce(|all, others| all.intersection(&others).cloned().collect())
    };
    let terms = selector.node_selector_terms.iter().map(of).collect::<Option<Vec<_>>>()?;
    Some(terms.into_iter().flatten().collect())
}

/// Terms of which one is enough.
#[derive(Clone, Debug, Default)]
pub struct Terms(Vec<Term>);

impl Terms {
    /// From a node selector.
    pub fn of(selector: &NodeSelector) -> Terms {
        Terms(selector.node_selector_terms.iter().map(Term::of).collect())
    }

    /// Whether a node is as one of them asks.
    pub fn are_met(&self, name: &str, labels: &NodeLabels) -> bool {
        self.0.iter().any(|term| term.is_met(name, labels))
    }
}

/// What is asked of a node's labels and of its name. None if no node is so: a term that asks for nothing is met by none.
#[derive(Clone, Debug)]
pub struct Term(Option<(Labels, Labels)>);

impl Term {
    /// From a term of a node selector.
    pub fn of(term: &NodeSelectorTerm) -> Term {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        if expressions.is_empty() && fields.is_empty() {
            return Term(None);
        }
        let read = |asked: &[NodeSelectorRequirement]| {
            asked.iter().map(requirement).collect::<Option<Vec<_>>>().map(Labels)
        };
        Term(read(expressions).zip(read(fields)))
    }

    /// Whether a node is so.
    pub fn is_met(&self, name: &str, labels: &NodeLabels) -> bool {
        self.0.as_ref().is_some_and(|(expressions, fields)| {
            expressions.matches(|key| labels.get(key).map(String::as_str))
                && fields.matches(|key| (key == NAME).then_some(name))
        })
    }
}

/// None if it is no requirement that any node could meet.
fn requirement(asked: &NodeSelectorRequirement) -> Option<Requirement> {
    let values = asked.values.as_deref().unwrap_or_default();
    let set = || values.iter().cloned().collect();
    let number = || values.first()?.parse::<i64>().ok();
    let test = match asked.operator.as_str() {
        "In" => Test::In(set()),
        "NotIn" => Test::NotIn(set()),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::Absent,
        "Gt" => Test::Greater(number()?),
        "Lt" => Test::Less(number()?),
        _ => return None,
    };
    Some(Requirement { key: asked.key.clone(), test })
}

/// Which taints a pod bears.
#[derive(Clone, Debug, Default)]
pub struct Tolerance {
    tolerations: Vec<Toleration>,
    /// It asks for something: who does bears that memory is short, as if it said so. Others go first.
    asks: bool,
}

impl Tolerance {
    /// A pod's.
    pub fn of(pod: &Pod) -> Tolerance {
        let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
        Tolerance { tolerations: tolerations.cloned().collect(), asks: qos(pod) != "BestEffort" }
    }

    /// Whether it bears a taint.
    pub fn bears(&self, taint: &Taint) -> bool {
        let memory = taint.key == Condition::Memory.taint() && taint.effect == "NoSchedule";
        memory && self.asks || self.tolerations.iter().any(|toleration| bears(toleration, taint))
    }

    /// Of taints of these effects, the first that it does not bear.
    pub fn unborne<'a>(&self, taints: &'a [Taint], effects: &[&str]) -> Option<&'a Taint> {
        let mut taints = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.find(|taint| !self.bears(taint))
    }
}

/// Whether a toleration is for a taint.
pub fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let any_or = |field: &Option<String>, value: &str| {
        let field = field.as_deref().unwrap_or_default();
        field.is_empty() || field == value
    };
    any_or(&toleration.effect, &taint.effect)
        && any_or(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "Exists" => true,
            "" | "Equal" => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        serde_yaml::from_str(&format!("{{metadata: {{name: p}}, spec: {{containers: [], {spec}}}}}")).unwrap()
    }

    #[track_caller]
    fn check(spec: &str, met: bool) {
        let labels = [("disk", "ssd"), ("size", "7")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(Wish::of(&pod(spec)).is_met("n", &labels.into()), met, "{spec}");
    }

    #[test]
    fn selectors_and_affinity_choose_by_labels_and_name() {
        check("nodeSelector: {}", true);
        check("nodeSelector: {disk: ssd}", true);
        check("nodeSelector: {disk: hdd}", false);
        check("nodeSelector: {disk: ssd, other: x}", false);
        for (terms, met) in [
            ("{matchExpressions: [{key: disk, operator: In, values: [hdd, ssd]}]}", true),
            ("{matchExpressions: [{key: disk, operator: NotIn, values: [ssd]}]}", false),
            ("{matchExpressions: [{key: none, operator: NotIn, values: [ssd]}]}", true),
            ("{matchExpressions: [{key: disk, operator: Exists}]}", true),
            ("{matchExpressions: [{key: disk, operator: DoesNotExist}]}", false),
            ("{matchExpressions: [{key: size, operator: Gt, values: ['6']}]}", true),
            ("{matchExpressions: [{key: size, operator: Gt, values: ['7']}]}", false),
            ("{matchExpressions: [{key: size, operator: Lt, values: ['8']}]}", true),
            ("{matchExpressions: [{key: disk, operator: Lt, values: ['8']}]}", false),
            ("{matchFields: [{key: metadata.name, operator: In, values: [n]}]}", true),
            ("{matchFields: [{key: metadata.name, operator: NotIn, values: [n]}]}", false),
            (
                "{matchExpressions: [{key: disk, operator: Exists}], matchFields: [{key: metadata.name, operator: In, values: [m]}]}",
                false,
            ),
            ("{}", false),
            ("{}, {matchExpressions: [{key: disk, operator: Exists}]}", true),
        ] {
            let required =
                format!("requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}");
            check(&format!("affinity: {{nodeAffinity: {{{required}}}}}"), met);
        }
    }

    #[track_caller]
    fn bears(taint: &str, spec: &str, borne: bool) {
        let taint: Taint = serde_yaml::from_str(taint).unwrap();
        assert_eq!(Tolerance::of(&pod(spec)).bears(&taint), borne, "{spec} beside {taint:?}");
    }

    #[test]
    fn taints_keep_away_who_does_not_bear_them() {
        for (tolerations, borne) in [
            ("", false),
            ("{operator: Exists}", true),
            ("{key: k, operator: Exists}", true),
            ("{key: k, value: v}", true),
            ("{key: k, value: w}", false),
            ("{key: k, operator: Equal, value: v, effect: NoSchedule}", true),
            ("{key: k, operator: Exists, effect: NoExecute}", false),
        ] {
            let spec = format!("tolerations: [{tolerations}]");
            bears("{key: k, value: v, effect: NoSchedule}", &spec, borne);
        }
        let memory = "{key: node.kubernetes.io/memory-pressure, effect: NoSchedule}";
        bears(memory, "", false);
        let asks: Pod =
            serde_yaml::from_str("{spec: {containers: [{name: c, resources: {requests: {cpu: 1m}}}]}}")
                .unwrap();
        assert!(Tolerance::of(&asks).bears(&serde_yaml::from_str(memory).unwrap()));
    }
}
