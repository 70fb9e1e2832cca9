//! What a StatefulSet's pods are called, and what they are made with so that they are who they are. Pure.

use super::StatefulSet;
use super::claims;
use crate::api::objects::Seen;
use crate::control::action::{Action, Edit, Saying, Write};
use crate::control::pods::Member;
use crate::control::revision::{LABEL, Revision};
use serde_json::{Value, json};

/// The label that has a pod's name, so that a Service can be for one pod.
const NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label that has a pod's ordinal.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of a set's pod; none if it is not called as one of the set's.
pub fn ordinal(set: &str, pod: &str) -> Option<i64> {
    parent(pod).filter(|(name, _)| *name == set).map(|(_, ordinal)| ordinal)
}

/// The set that a name is of, and the ordinal. Whatever is not as a set would have written it is not of a set.
pub fn parent(name: &str) -> Option<(&str, i64)> {
    let (set, digits) = name.rsplit_once('-')?;
    let ordinal: u32 = digits.parse().ok()?;
    (ordinal.to_string() == digits).then_some((set, ordinal.into()))
}

/// What is said of a change of a pod, done and failed, in upstream's words.
pub fn said(set: &StatefulSet, verb: &str, pod: &str) -> (Option<Saying>, Option<Saying>) {
    let of = format!("{verb} Pod {pod} in StatefulSet {}", set.name());
    let (done, failed) = match verb {
        "create" => ("SuccessfulCreate", "FailedCreate"),
        "delete" => ("SuccessfulDelete", "FailedDelete"),
        _ => ("SuccessfulUpdate", "FailedUpdate"),
    };
    let done = Saying::normal(done, format!("{of} successful"));
    (Some(done), Some(Saying::warning(failed, format!("{of} failed error: "))))
}

/// The name of a set's pod.
pub fn name(set: &StatefulSet, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// A pod of this ordinal and revision is made.
pub fn create(set: &StatefulSet, ordinal: i64, revision: &Revision) -> Action {
    let name = name(set, ordinal);
    let mut pod = set.workload.pod_of(&revision.template());
    pod["metadata"]["generateName"] = format!("{}-", set.name()).into();
    pod["metadata"]["name"] = name.clone().into();
    pod["metadata"]["labels"][LABEL] = revision.name().into();
    for (label, value) in labels(&name, ordinal) {
        pod["metadata"]["labels"][label] = value.into();
    }
    pod["spec"]["hostname"] = name.clone().into();
    if let Some(service) = set.spec.service_name.as_deref().filter(|service| !service.is_empty()) {
        pod["spec"]["subdomain"] = service.into();
    }
    claims::mount(set, ordinal, &mut pod);
    let (done, failed) = said(set, "create", &name);
    Action { write: Write::Create(pod), done, failed }
}

fn labels(name: &str, ordinal: i64) -> [(&'static str, String); 2] {
    [(NAME, name.to_owned()), (INDEX, ordinal.to_string())]
}

/// A pod gets the labels that say who it is, if it has lost them.
pub fn mend(set: &StatefulSet, pod: &Member, ordinal: i64) -> Option<Action> {
    let wrong = labels(pod.key.name(), ordinal);
    let wrong = wrong.into_iter().filter(|(label, value)| pod.labels.get(*label) != Some(value));
    let wrong: serde_json::Map<String, Value> =
        wrong.map(|(label, value)| (label.to_owned(), value.into())).collect();
    if wrong.is_empty() {
        return None;
    }
    let edit = Edit::Merge(json!({"metadata": {"labels": wrong}}));
    let seen = Seen { uid: pod.uid.to_string(), revision: None };
    let (done, failed) = said(set, "update", pod.key.name());
    Some(Action { write: Write::Edit { at: pod.target(), part: "", seen, edit }, done, failed })
}

/// The end of a pod.
pub fn delete(set: &StatefulSet, pod: &Member) -> Action {
    let seen = Seen { uid: pod.uid.to_string(), revision: None };
    let (done, failed) = said(set, "delete", pod.key.name());
    Action { write: Write::Delete { at: pod.target(), seen, propagation: None }, done, failed }
}

/// The revision that a pod says it is of.
pub fn revision(pod: &Member) -> &str {
    pod.labels.get(LABEL).map_or("", String::as_str)
}
