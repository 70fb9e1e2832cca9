//! What of a pod may change once it is there.
//!
//! By the pod itself: images, an active deadline that gets no later, tolerations that are added, a negative grace
//! period that becomes one second, scheduling gates that are removed (and where they lead, while there are any).
//! By `ephemeralcontainers`: those that are added. By `resize`: cpu and memory of containers.

use super::status::qos;
use crate::api::field::{Errors, Path};
use crate::api::rules::check::{changes, json, text};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements, Toleration};
use std::collections::{BTreeMap, BTreeSet};

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn spec(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}

/// What is wrong with changing a pod through itself.
pub fn pod(new: &Pod, old: &Pod, errors: &mut Errors, path: &Path) {
    let (at, mut new, old) = (path.child("spec"), spec(new), spec(old));
    if new.containers.len() != old.containers.len() {
        return errors.forbidden(&at.child("containers"), "pod updates may not add or remove containers");
    }
    let (init, before) = (new.init_containers.as_deref(), old.init_containers.as_deref());
    if init.unwrap_or_default().len() != before.unwrap_or_default().len() {
        let why = "pod updates may not add or remove containers";
        return errors.forbidden(&at.child("initContainers"), why);
    }
    deadline(errors, &at.child("activeDeadlineSeconds"), &new, &old);
    let gated = old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    tolerations(errors, &at.child("tolerations"), &new, &old);
    gates(errors, &at.child("schedulingGates"), &new, &old);
    allow(&mut new, &old);
    if gated {
        allow_gated(errors, &at, &mut new, &old);
    }
    if new != old {
        errors.forbidden(&at, format!("{MAY_CHANGE}\n{}", changes(&json(&old), &json(&new))));
    }
}

/// Puts back what may differ, so that what is left may not.
fn allow(new: &mut PodSpec, old: &PodSpec) {
    let images = |new: &mut [Container], old: &[Container]| {
        new.iter_mut().zip(old).for_each(|(new, old)| new.image.clone_from(&old.image));
    };
    images(&mut new.containers, &old.containers);
    images(
        new.init_containers.as_deref_mut().unwrap_or_default(),
        old.init_containers.as_deref().unwrap_or_default(),
    );
    new.active_deadline_seconds = old.active_deadline_seconds;
    new.tolerations.clone_from(&old.tolerations);
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
}

/// Before it is scheduled, a pod may be told more narrowly where to go.
fn allow_gated(errors: &mut Errors, path: &Path, new: &mut PodSpec, old: &PodSpec) {
    let keeps = |key: &String, value: &String| {
        new.node_selector.as_ref().and_then(|selector| selector.get(key)) == Some(value)
    };
    if old.node_selector.iter().flatten().all(|(key, value)| keeps(key, value)) {
        new.node_selector.clone_from(&old.node_selector);
    } else {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), json(&new.node_selector), why);
        new.node_selector.clone_from(&old.node_selector);
    }
    let nodes = |spec: &PodSpec| {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution)
    };
    // What was not restricted may be; what was may not be widened, which upstream allows only by conjunction.
    if nodes(old).is_none() {
        new.affinity.clone_from(&old.affinity);
    }
}

fn deadline(errors: &mut Errors, path: &Path, new: &PodSpec, old: &PodSpec) {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(path, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(
                path,
                serde_json::Value::Null,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
}

fn tolerations(errors: &mut Errors, path: &Path, new: &PodSpec, old: &PodSpec) {
    let list = |spec: &PodSpec| spec.tolerations.clone().unwrap_or_default();
    // As text, which can be sorted: there may be many.
    let bare = |toleration: &Toleration| {
        json(Toleration { toleration_seconds: None, ..toleration.clone() }).to_string()
    };
    let new: BTreeSet<_> = list(new).iter().map(bare).collect();
    if list(old).iter().map(bare).any(|toleration| !new.contains(&toleration)) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(errors: &mut Errors, path: &Path, new: &PodSpec, old: &PodSpec) {
    let before = old.scheduling_gates.as_deref().unwrap_or_default();
    let added: Vec<_> = new
        .scheduling_gates
        .iter()
        .flatten()
        .filter(|gate| !before.contains(gate))
        .map(|gate| gate.name.as_str())
        .collect();
    if !added.is_empty() {
        let why = format!("only deletion is allowed, but found new scheduling gates '{}'", added.join(","));
        errors.forbidden(path, why);
    }
}

/// Keeps of a pod everything but its ephemeral containers.
pub fn prepare_ephemeral(new: &mut Pod, old: &Pod) {
    let added = new.spec.as_mut().and_then(|spec| spec.ephemeral_containers.take());
    let metadata = new.metadata.clone();
    *new = Pod { metadata, ..old.clone() };
    if let Some(spec) = &mut new.spec {
        spec.ephemeral_containers = added;
        super::default::spec(spec);
    }
}

/// What is wrong with changing a pod's ephemeral containers: they can only be added.
pub fn ephemeral(new: &Pod, old: &Pod, errors: &mut Errors, path: &Path) {
    let parent = path.child("spec");
    let at = parent.child("ephemeralContainers");
    let (new, old) = (spec(new), spec(old));
    let after = new.ephemeral_containers.unwrap_or_default();
    let after: BTreeMap<_, _> = after.iter().map(|container| (container.name.as_str(), container)).collect();
    for before in old.ephemeral_containers.iter().flatten() {
        match after.get(before.name.as_str()) {
            None => {
                let why = format!("existing ephemeral containers {:?} may not be removed\n", before.name);
                errors.forbidden(&at, why);
            }
            Some(container) if *container != before => {
                let changed = changes(&json(before), &json(container));
                let why =
                    format!("existing ephemeral containers {:?} may not be changed\n{changed}", before.name);
                errors.forbidden(&at, why);
            }
            Some(_) => {}
        }
    }
}

/// Keeps of a pod everything but its containers' resources.
pub fn prepare_resize(new: &mut Pod, old: &Pod) {
    let metadata = new.metadata.clone();
    let asked = spec(new);
    *new = Pod { metadata, ..old.clone() };
    let Some(kept) = &mut new.spec else { return };
    let copy = |kept: &mut [Container], asked: &[Container]| {
        for container in kept {
            let Some(asked) = asked.iter().find(|asked| asked.name == container.name) else { continue };
            container.resources.clone_from(&asked.resources);
            container.resize_policy.clone_from(&asked.resize_policy);
        }
    };
    copy(&mut kept.containers, &asked.containers);
    copy(
        kept.init_containers.as_deref_mut().unwrap_or_default(),
        asked.init_containers.as_deref().unwrap_or_default(),
    );
}

/// What is wrong with changing a pod's resources: its class may not change, and only cpu and memory may.
pub fn resize(new: &Pod, old: &Pod, errors: &mut Errors, path: &Path) {
    let at = path.child("spec");
    let class = qos(old);
    if qos(new) != class {
        let why = "Pod QOS Class may not change as a result of resizing";
        return errors.invalid(&at, class, why);
    }
    let (mut new, old) = (spec(new), spec(old));
    let list = at.child("containers");
    for (index, (new, old)) in new.containers.iter_mut().zip(&old.containers).enumerate() {
        let at = list.index(index);
        resizable(errors, &at.child("resources"), new, old);
    }
    let (init, before) = (new.init_containers.as_deref_mut(), old.init_containers.as_deref());
    let list = at.child("initContainers");
    for (index, (new, old)) in init.unwrap_or_default().iter_mut().zip(before.unwrap_or_default()).enumerate()
    {
        if text(&old.restart_policy) == "Always" {
            let at = list.index(index);
            resizable(errors, &at.child("resources"), new, old);
        }
    }
    if new != old {
        let why = "only cpu and memory resources are mutable";
        errors.forbidden(&at, format!("{why}\n{}", changes(&json(&old), &json(&new))));
    }
}

/// Judges and puts back what may differ. What a container is given at most cannot be taken away again.
fn resizable(errors: &mut Errors, path: &Path, new: &mut Container, old: &Container) {
    let none = ResourceRequirements::default();
    let before = old.resources.as_ref().unwrap_or(&none);
    let after = new.resources.get_or_insert_default();
    let lists =
        [("requests", &mut after.requests, &before.requests), ("limits", &mut after.limits, &before.limits)];
    for (word, after, before) in lists {
        for name in ["cpu", "memory"] {
            let had = before.as_ref().and_then(|list| list.get(name)).cloned();
            let has = after.as_ref().is_some_and(|list| list.contains_key(name));
            if had.is_some() && !has {
                errors.forbidden(&path.child(word), format!("resource {word} cannot be removed"));
            }
            let list = after.get_or_insert_default();
            match had {
                Some(amount) => drop(list.insert(name.to_owned(), amount)),
                None => drop(list.remove(name)),
            }
        }
        if before.is_none() && after.as_ref().is_some_and(BTreeMap::is_empty) {
            *after = None;
        }
    }
    if old.resources.is_none() && new.resources.as_ref() == Some(&none) {
        new.resources = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod_of(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn found(judge: fn(&Pod, &Pod, &mut Errors, &Path), new: &Pod, old: &Pod) -> Vec<String> {
        let mut errors = Errors::default();
        judge(new, old, &mut errors, &Path::ROOT);
        errors.0.into_iter().map(|error| format!("{}: {}", error.field, error.detail)).collect()
    }

    #[test]
    fn a_refused_change_is_told_by_its_field() {
        let old = pod_of(json!({"containers": [{"name": "c", "image": "a", "command": ["x"]}]}));
        let new = pod_of(json!({"containers": [{"name": "c", "image": "b", "command": ["y"]}]}));
        let told = found(pod, &new, &old);
        assert_eq!(told.len(), 1);
        assert!(told[0].ends_with("\ncontainers[0].command[0]: \"x\" may not become \"y\""), "{told:?}");
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let old = pod_of(json!({"containers": [], "ephemeralContainers": [{"name": "a", "image": "x"}]}));
        let more = json!({"containers": [], "ephemeralContainers":
            [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]});
        assert_eq!(found(ephemeral, &pod_of(more), &old), Vec::<String>::new());
        assert_eq!(found(ephemeral, &pod_of(json!({"containers": []})), &old).len(), 1);
    }

    #[test]
    fn a_resize_keeps_the_class_and_what_is_no_resource() {
        let with = |cpu: &str, image: &str| {
            pod_of(json!({"containers": [{"name": "c", "image": image,
                "resources": {"requests": {"cpu": cpu}}}]}))
        };
        let old = with("1", "a");
        let mut new = with("2", "b");
        prepare_resize(&mut new, &old);
        assert_eq!(spec(&new).containers[0].image.as_deref(), Some("a"));
        assert_eq!(found(resize, &new, &old), Vec::<String>::new());
        let bare = pod_of(json!({"containers": [{"name": "c", "image": "a"}]}));
        assert_eq!(
            found(resize, &new, &bare)[0],
            "spec: Pod QOS Class may not change as a result of resizing"
        );
    }
}
