//! What pods ask of a node's labels and name, and what nodes ask of pods: selectors, affinity, taints. Pure.

use crate::api::identity::QosClass;
use crate::api::pressure::Condition;
use crate::api::selector::{Labels, Requirement, Test};
use crate::pod::resources;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

/// The taint that a node closed to new pods stands for.
const CLOSED: &str = "node.kubernetes.io/unschedulable";
/// The one field of nodes that terms can ask for.
const NAME: &str = "metadata.name";

/// Whether the node takes no new pods, and this one does not bear that.
pub(super) fn is_closed(pod: &Pod, node: &Node) -> bool {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let taint = Taint { key: CLOSED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    closed && !tolerates(pod, &taint)
}

/// The first of the node's taints of these effects that a pod does not bear.
pub(super) fn untolerated<'a>(pod: &Pod, node: &'a Node, effects: &[&str]) -> Option<&'a Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut taints = taints.filter(|taint| effects.contains(&taint.effect.as_str()));
    taints.find(|taint| !tolerates(pod, taint))
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    // Who asked for something bears that memory is short, as if it said so: others go first.
    let memory = taint.key == Condition::Memory.taint() && taint.effect == "NoSchedule";
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    memory && resources::qos(pod) != QosClass::BestEffort
        || tolerations.into_iter().any(|toleration| bears(toleration, taint))
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |field: &Option<String>| field.clone().unwrap_or_default();
    let any_or = |field: &Option<String>, value: &str| {
        let field = given(field);
        field.is_empty() || field == value
    };
    any_or(&toleration.effect, &taint.effect)
        && any_or(&toleration.key, &taint.key)
        && match given(&toleration.operator).as_str() {
            "Exists" => true,
            "" | "Equal" => given(&toleration.value) == given(&taint.value),
            _ => false,
        }
}

/// Whether the node is one that the pod asks for.
pub(super) fn is_met(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selector = Labels::of_map(spec.node_selector.iter().flatten());
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    selector.matches(|key| label(node, key))
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_is_met(term, node)))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// A term that asks for nothing is met by no node.
fn term_is_met(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == NAME);
    !(expressions.is_empty() && fields.is_empty())
        && all_are_met(expressions, |key| label(node, key))
        && all_are_met(fields, field)
}

fn all_are_met<'a>(asked: &[NodeSelectorRequirement], get: impl Fn(&str) -> Option<&'a str>) -> bool {
    let asked: Option<Vec<Requirement>> = asked.iter().map(requirement).collect();
    asked.is_some_and(|asked| Labels(asked).matches(get))
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
