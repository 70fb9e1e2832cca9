//! One DaemonSet over a few nodes: where its pods are, how they are replaced, and what is said of them.

mod updates;

use super::*;
use crate::api::object;
use crate::control::action::{Action, Write};
use crate::control::key::Key;
use crate::control::pods::Pods;
use crate::control::tests::template;
use jiff::SignedDuration;
use std::collections::BTreeMap;

struct World {
    set: Value,
    nodes: Nodes,
    pods: BTreeMap<String, Value>,
    index: Pods,
    failures: Failures,
    revisions: BTreeMap<String, Value>,
    now: Timestamp,
    made: usize,
    said: Vec<String>,
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}})
}

impl World {
    fn new(nodes: usize, spec: Value) -> World {
        let mut set = json!({
            "metadata": {"name": "agent", "namespace": "n", "uid": "set", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template("one"), "revisionHistoryLimit": 10},
        });
        merge(&mut set["spec"], rolling(json!(0), json!(1)));
        merge(&mut set["spec"], spec);
        let mut world = World {
            set,
            nodes: Nodes::default(),
            pods: BTreeMap::new(),
            index: Pods::default(),
            failures: Failures::default(),
            revisions: BTreeMap::new(),
            now: Timestamp::from_second(1_000_000).unwrap(),
            made: 0,
            said: Vec::new(),
        };
        world.failures.begin("set", 1);
        (0..nodes).for_each(|number| world.node(&format!("n{number}"), json!({}), json!([])));
        world
    }

    fn node(&mut self, name: &str, labels: Value, taints: Value) {
        let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        self.nodes.note(&Key::new("", name), &serde_json::to_vec(&node).unwrap()).unwrap();
    }

    fn at(kind: &'static str, name: &str) -> Target {
        Target { api_version: "apps/v1".into(), kind: kind.into(), namespace: "n".into(), name: name.into() }
    }

    fn look(&self, attempt: Attempt<'_>) -> Actions {
        let set = DaemonSet::new(World::at("DaemonSet", "agent"), self.set.clone(), 1).unwrap();
        let revisions = self.revisions.iter();
        let revisions = revisions
            .map(|(name, object)| Revision::new(World::at("ControllerRevision", name), object.clone(), 1));
        let revision = |name: &str| self.revisions.contains_key(name);
        let observed = Observed {
            pods: self.index.controlled_by("set").chain(self.index.free("n", |_| true)).collect(),
            revisions: revisions.collect(),
            revision: &revision,
            nodes: &self.nodes,
            failures: &self.failures,
        };
        reconcile(&set, &observed, attempt, self.now)
    }

    fn step(&mut self) -> bool {
        let actions = self.look(Attempt::default());
        let any = !actions.actions.is_empty();
        self.said.extend(actions.said.into_iter().map(|said| said.message));
        actions.actions.into_iter().for_each(|action| self.apply(action));
        any
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not come to rest: {:#?}", self.look(Attempt::default()));
    }

    fn apply(&mut self, action: Action) {
        match action.write {
            Write::Create(mut object) if object["kind"] == "Pod" => {
                self.made += 1;
                let name = format!("agent-{}", self.made);
                object::set(&mut object, "name", name.clone());
                object::set(&mut object, "uid", name.clone());
                object::set(&mut object, "creationTimestamp", self.now.to_string());
                object["status"]["phase"] = "Pending".into();
                self.put(&name, object);
            }
            Write::Create(mut object) => {
                let name = object::name(&object).to_owned();
                object::set(&mut object, "uid", name.clone());
                self.revisions.insert(name, object);
            }
            Write::Edit { part: "status", edit, .. } => edit.apply(&mut self.set),
            Write::Edit { at, edit, .. } if &*at.kind == "Pod" => {
                self.change(&at.name, |pod| edit.apply(pod))
            }
            Write::Edit { at, edit, .. } => edit.apply(self.revisions.get_mut(&at.name).unwrap()),
            Write::Delete { at, .. } if &*at.kind == "Pod" => {
                let now = self.now.to_string();
                self.change(&at.name, |pod| object::set(pod, "deletionTimestamp", now.clone()));
            }
            Write::Delete { at, .. } | Write::Remove { at, .. } => drop(self.revisions.remove(&at.name)),
        }
    }

    fn put(&mut self, name: &str, pod: Value) {
        let key = Key::new("n", name);
        let (_, before) = self.index.note(&key, &serde_json::to_vec(&pod).unwrap()).unwrap();
        self.failures.note(before.as_deref(), self.index.get(&key).unwrap());
        self.pods.insert(name.to_owned(), pod);
    }

    fn change(&mut self, name: &str, change: impl Fn(&mut Value)) {
        let mut pod = self.pods[name].clone();
        change(&mut pod);
        self.put(name, pod);
    }

    /// Pods that are to go are gone.
    fn sweep(&mut self) {
        let going: Vec<String> =
            self.pods.iter().filter(|(_, pod)| object::deleting(pod)).map(|(name, _)| name.clone()).collect();
        for name in going {
            self.pods.remove(&name);
            self.index.forget(&Key::new("n", &name));
        }
    }

    fn status_of(&mut self, name: &str, phase: &str) {
        let now = self.now.to_string();
        let ready = if phase == "Running" { "True" } else { "False" };
        self.change(name, |pod| {
            let node = self::node_of(pod);
            pod["spec"]["nodeName"] = node.into();
            pod["status"] = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]});
        });
    }

    /// Every pod that is not of image `bad` runs, and those that are to go are gone.
    fn serve(&mut self) {
        self.sweep();
        let waits = |pod: &Value| {
            pod["status"]["phase"] == "Pending" && pod["spec"]["containers"][0]["image"] != "bad"
        };
        let waiting: Vec<String> =
            self.pods.iter().filter(|(_, pod)| waits(pod)).map(|(name, _)| name.clone()).collect();
        waiting.iter().for_each(|name| self.status_of(name, "Running"));
    }

    /// Until nothing more comes of it.
    fn run(&mut self) {
        for _ in 0..100 {
            self.settle();
            let before = self.pods.clone();
            self.serve();
            self.settle();
            if self.pods == before {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn edit(&mut self, spec: Value) {
        merge(&mut self.set["spec"], spec);
        self.settle();
    }

    /// Nodes and images of the pods that stay.
    fn found(&self) -> Vec<String> {
        let stay = self.pods.values().filter(|pod| !object::deleting(pod));
        let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        let mut found: Vec<String> = stay.map(|pod| format!("{} {}", node_of(pod), image(pod))).collect();
        found.sort();
        found
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.found(), expected);
    }

    /// The one on a node.
    fn on(&self, node: &str) -> String {
        let on = |pod: &Value| node_of(pod) == node && !object::deleting(pod);
        self.pods.iter().find(|(_, pod)| on(pod)).map(|(name, _)| name.clone()).unwrap()
    }

    #[track_caller]
    fn status(&self, field: &str, expected: impl Into<Value>) {
        assert_eq!(self.set["status"][field], expected.into(), "{field} of {:#}", self.set["status"]);
    }
}

fn merge(object: &mut Value, fields: Value) {
    object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
}

fn node_of(pod: &Value) -> String {
    let affinity = &pod["spec"]["affinity"];
    let meant = Affinity::deserialize(affinity).ok().and_then(|affinity| affinity.node().map(str::to_owned));
    pod["spec"]["nodeName"].as_str().map(str::to_owned).or(meant).unwrap_or_default()
}

#[test]
fn each_node_that_is_meant_has_one_pod() {
    let mut world = World::new(2, json!({}));
    world.settle();
    world.check(&["n0 one", "n1 one"]);
    world.status("desiredNumberScheduled", 2);
    world.status("numberReady", 0);
    world.status("numberUnavailable", 2);
    world.run();
    for field in ["currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable"] {
        world.status(field, 2);
    }
    world.status("numberUnavailable", Value::Null);
    world.status("observedGeneration", 1);
    world.node("n2", json!({}), json!([]));
    world.nodes.forget(&Key::new("", "n0"));
    world.run();
    // What is left of the node that went is somebody else's.
    world.check(&["n0 one", "n1 one", "n2 one"]);
    world.status("desiredNumberScheduled", 2);
}

#[test]
fn a_pod_is_made_for_its_node_and_for_whatever_befalls_that() {
    let mut world = World::new(1, json!({}));
    object::set(&mut world.set, "annotations", json!({"deprecated.daemonset.template.generation": "4"}));
    let spec = &mut world.set["spec"]["template"]["spec"];
    spec["hostNetwork"] = true.into();
    spec["tolerations"] = json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3},
        {"key": "own", "operator": "Exists"},
    ]);
    world.settle();
    let pod = &world.pods["agent-1"];
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    let keys: Vec<&str> = tolerations
        .iter()
        .map(|one| one["key"].as_str().unwrap().trim_start_matches("node.kubernetes.io/"))
        .collect();
    let borne = [
        "own",
        "not-ready",
        "unreachable",
        "disk-pressure",
        "memory-pressure",
        "pid-pressure",
        "unschedulable",
    ];
    assert_eq!(keys, [&borne[..], &["network-unavailable"]].concat());
    assert!(tolerations.iter().all(|one| one["tolerationSeconds"].is_null()));
    let labels = &pod["metadata"]["labels"];
    let (name, revision) = world.revisions.first_key_value().unwrap();
    assert_eq!(labels[LABEL], name["agent-".len()..]);
    assert_eq!(
        (&labels["pod-template-generation"], &revision["metadata"]["labels"][LABEL]),
        (&json!("4"), &labels[LABEL])
    );
    assert_eq!((node_of(pod), &pod["metadata"]["generateName"]), ("n0".to_owned(), &json!("agent-")));
}

#[test]
fn nodes_are_meant_by_their_labels_and_taints() {
    let place = |spec: Value, labels: Value, taints: Value| {
        let mut world = World::new(0, json!({}));
        merge(&mut world.set["spec"]["template"]["spec"], spec);
        world.node("n", labels, taints);
        let set = DaemonSet::new(World::at("DaemonSet", "agent"), world.set.clone(), 1).unwrap();
        let (name, facts) = world.nodes.iter().next().unwrap();
        Eligible::new(&set).place(name, facts)
    };
    let selector = || json!({"nodeSelector": {"role": "x"}});
    let affinity = |field: &str, key: &str, value: &str| {
        let term = json!({field: [{"key": key, "operator": "In", "values": [value]}]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
    };
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    let (wanted, borne, unwanted) =
        (eligible::Place::Wanted, eligible::Place::Borne, eligible::Place::Unwanted);
    for (spec, labels, taints, expected) in [
        (json!({}), json!({}), json!([]), wanted),
        (selector(), json!({}), json!([]), unwanted),
        (selector(), json!({"role": "x"}), json!([]), wanted),
        (affinity("matchExpressions", "role", "x"), json!({"role": "x"}), json!([]), wanted),
        (affinity("matchExpressions", "role", "x"), json!({"role": "y"}), json!([]), unwanted),
        (affinity("matchFields", "metadata.name", "other"), json!({}), json!([]), unwanted),
        (json!({"nodeName": "other"}), json!({}), json!([]), unwanted),
        (json!({}), json!({}), taint("own", "NoSchedule"), borne),
        (json!({}), json!({}), taint("own", "PreferNoSchedule"), wanted),
        (json!({}), json!({}), taint("own", "NoExecute"), unwanted),
        (json!({"tolerations": [{"operator": "Exists"}]}), json!({}), taint("own", "NoExecute"), wanted),
        (json!({}), json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), wanted),
        (json!({}), json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), wanted),
        (json!({}), json!({}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), borne),
        (
            json!({"hostNetwork": true}),
            json!({}),
            taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
            wanted,
        ),
    ] {
        assert_eq!(place(spec.clone(), labels, taints.clone()), expected, "{spec} {taints}");
    }
}

#[test]
fn pods_stay_or_go_with_what_their_node_is() {
    let mut world = World::new(2, json!({}));
    world.run();
    world.node("n0", json!({}), json!([{"key": "own", "effect": "NoSchedule"}]));
    world.run();
    world.check(&["n0 one", "n1 one"]);
    world.status("numberMisscheduled", 1);
    world.status("desiredNumberScheduled", 1);
    world.node("n0", json!({}), json!([{"key": "own", "effect": "NoExecute"}]));
    world.run();
    world.check(&["n1 one"]);
    world.status("numberMisscheduled", 0);
    // One that was never there goes with its node.
    world.node("n2", json!({}), json!([]));
    world.settle();
    world.check(&["n1 one", "n2 one"]);
    world.nodes.forget(&Key::new("", "n2"));
    world.settle();
    world.check(&["n1 one"]);
}

#[test]
fn of_several_on_a_node_the_oldest_stays() {
    let mut world = World::new(1, json!({}));
    world.run();
    let mut pod = world.pods["agent-1"].clone();
    object::set(&mut pod, "uid", "more");
    object::set(
        &mut pod,
        "creationTimestamp",
        world.now.checked_sub(SignedDuration::from_secs(9)).unwrap().to_string(),
    );
    world.put("more", pod);
    world.settle();
    assert_eq!(world.on("n0"), "more");
    world.check(&["n0 one"]);
}

#[test]
fn ended_pods_are_replaced_later_and_later() {
    let mut world = World::new(1, json!({}));
    world.run();
    let name = world.on("n0");
    world.status_of(&name, "Succeeded");
    world.run();
    assert_eq!(
        world.said,
        [format!("Found succeeded daemon pod n/{name} on node n0, will try to delete it")]
    );
    world.said.clear();
    for pause in [0, 1, 2, 4, 8] {
        let name = world.on("n0");
        world.status_of(&name, "Failed");
        let actions = world.look(Attempt::default());
        if pause > 0 {
            world.settle();
            assert_eq!(world.on("n0"), name);
            assert_eq!(
                world.look(Attempt::default()).wake_at,
                world.now.checked_add(SignedDuration::from_secs(pause)).ok()
            );
            world.now = world.now.checked_add(SignedDuration::from_secs(pause)).unwrap();
        } else {
            assert_eq!(actions.wake_at, None);
        }
        world.run();
        assert_ne!(world.on("n0"), name);
        assert_eq!(
            world.said.pop(),
            Some(format!("Found failed daemon pod n/{name} on node n0, will try to kill it"))
        );
    }
    // Another template begins anew, and so does one that lived for long.
    world.failures.begin("set", 2);
    for _ in 0..2 {
        let name = world.on("n0");
        world.status_of(&name, "Failed");
        world.run();
        assert_ne!(world.on("n0"), name);
        world.now = world.now.checked_add(SignedDuration::from_mins(31)).unwrap();
    }
}

#[test]
fn a_pod_that_fails_again_and_again_rests_though_its_successor_may_surge() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    for _ in 0..20 {
        world.settle();
        let names: Vec<String> = world.pods.keys().cloned().collect();
        assert!(names.len() <= 2, "{names:?}");
        names.iter().for_each(|name| world.status_of(name, "Failed"));
    }
}

#[test]
fn one_that_goes_does_nothing_any_more_and_one_that_pauses_only_counts() {
    let mut world = World::new(2, json!({}));
    world.settle();
    world.pods.clear();
    world.index = Pods::default();
    let actions = world.look(Attempt { failure: None, pausing: true });
    assert!(
        actions.paused
            && matches!(actions.actions[..], [Action { write: Write::Edit { part: "status", .. }, .. }])
    );
    object::set(&mut world.set, "deletionTimestamp", "2026-01-01T00:00:00Z");
    assert_eq!(world.look(Attempt::default()), Actions::none());
}
