//! One StatefulSet and what becomes of its pods: in which order they come, are replaced and go, and what stays of them.

mod order;
mod storage;
mod updates;

use super::*;
use crate::api::object;
use crate::control::action::{Action, Write};
use crate::control::key::Key;
use crate::control::pods::Pods;
use crate::control::revision::LABEL;
use crate::control::tests::template;
use jiff::SignedDuration;
use serde_json::json;
use std::collections::BTreeMap;

struct World {
    set: Value,
    /// Pods, revisions and claims.
    objects: BTreeMap<(String, String), Value>,
    now: Timestamp,
    said: Vec<String>,
    made: usize,
    /// Pods have no grace.
    at_once: bool,
}

impl World {
    fn new(spec: Value) -> World {
        let mut set = json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "set", "generation": 1},
            "spec": {
                "replicas": 3, "serviceName": "all", "selector": {"matchLabels": {"app": "x"}}, "template": template("one"),
                "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            },
        });
        set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let now = Timestamp::from_second(1_000_000).unwrap();
        World { set, objects: BTreeMap::new(), now, said: Vec::new(), made: 0, at_once: false }
    }

    fn parallel(mut spec: Value) -> World {
        spec["podManagementPolicy"] = "Parallel".into();
        World::new(spec)
    }

    fn of(&self, kind: &str) -> Vec<(&str, &Value)> {
        let all = self.objects.iter().filter(|((of, _), _)| of == kind);
        all.map(|((_, name), object)| (name.as_str(), object)).collect()
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    fn get_mut(&mut self, kind: &str, name: &str) -> &mut Value {
        self.objects.get_mut(&(kind.to_owned(), name.to_owned())).unwrap_or_else(|| panic!("no {name}"))
    }

    fn look(&self) -> Actions {
        self.look_at(Attempt::default())
    }

    fn look_at(&self, attempt: Attempt<'_>) -> Actions {
        let mut pods = Pods::default();
        for (name, pod) in self.of("Pod") {
            pods.note(&Key::new("n", name), &serde_json::to_vec(pod).unwrap()).unwrap();
        }
        let at = |kind: &'static str, name: &str| Target {
            api_version: "apps/v1".into(),
            kind: kind.into(),
            namespace: "n".into(),
            name: name.into(),
        };
        let revisions = self.of("ControllerRevision").into_iter();
        let revisions =
            revisions.map(|(name, object)| Revision::new(at("ControllerRevision", name), object.clone(), 1));
        let foreign = |name: &str| {
            pods.get(&Key::new("n", name)).is_some_and(|pod| pod.controller.as_deref() != Some("set"))
        };
        let revision = |name: &str| self.get("ControllerRevision", name).is_some();
        let claim = |name: &str| self.get("PersistentVolumeClaim", name).cloned();
        let observed = Observed {
            pods: pods.controlled_by("set").chain(pods.free("n", |_| true)).collect(),
            revisions: revisions.collect(),
            pod: &foreign,
            revision: &revision,
            claim: &claim,
        };
        let set = StatefulSet::new(at("StatefulSet", "web"), self.set.clone(), 1).unwrap();
        reconcile(&set, &observed, attempt, self.now)
    }

    /// Does what is to be done next; tells whether anything was.
    fn step(&mut self) -> bool {
        let actions = self.look();
        let any = !actions.actions.is_empty();
        actions.actions.into_iter().for_each(|action| self.apply(action));
        any
    }

    fn apply(&mut self, action: Action) {
        self.said.extend(action.done.map(|said| said.message));
        match action.write {
            Write::Create(mut object) => {
                self.made += 1;
                let (kind, name) =
                    (object["kind"].as_str().unwrap().to_owned(), object::name(&object).to_owned());
                object::set(&mut object, "uid", format!("{name}#{}", self.made));
                object::set(&mut object, "creationTimestamp", self.now.to_string());
                if kind == "Pod" {
                    object["status"]["phase"] = "Pending".into();
                }
                assert!(self.objects.insert((kind, name), object).is_none(), "there are two of one name");
            }
            Write::Edit { part: "status", edit, .. } => edit.apply(&mut self.set),
            Write::Edit { at, edit, .. } => edit.apply(self.get_mut(&at.kind, &at.name)),
            Write::Delete { at, .. } if &*at.kind == "Pod" => self.delete(&at.name),
            Write::Delete { at, .. } | Write::Remove { at, .. } => {
                drop(self.objects.remove(&(at.kind.to_string(), at.name)))
            }
        }
    }

    fn delete(&mut self, pod: &str) {
        if self.at_once {
            self.objects.remove(&("Pod".to_owned(), pod.to_owned()));
            return;
        }
        let now = self.now.to_string();
        object::set(self.get_mut("Pod", pod), "deletionTimestamp", now);
    }

    /// Nodes have ended those that are to go.
    fn sweep(&mut self) {
        self.objects.retain(|(kind, _), object| kind != "Pod" || !object::deleting(object));
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not come to rest: {:#?}", self.look());
    }

    fn phase(&mut self, pod: &str, phase: &str) {
        let now = self.now.to_string();
        let ready = if phase == "Running" { "True" } else { "False" };
        self.get_mut("Pod", pod)["status"] = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]});
        self.settle();
    }

    /// Every pod that is not of image `bad` runs, and those that are to go are gone, until nothing more comes of it.
    fn run(&mut self) {
        for _ in 0..1000 {
            self.settle();
            let waits = |pod: &Value| {
                object::deleting(pod)
                    || pod["status"]["phase"] == "Pending" && pod["spec"]["containers"][0]["image"] != "bad"
            };
            let Some(name) =
                self.of("Pod").into_iter().find(|(_, pod)| waits(pod)).map(|(name, _)| name.to_owned())
            else {
                match self.look().wake_at {
                    Some(at) => self.now = at,
                    None => return,
                }
                continue;
            };
            match object::deleting(self.get("Pod", &name).unwrap()) {
                true => drop(self.objects.remove(&("Pod".to_owned(), name))),
                false => self.phase(&name, "Running"),
            }
        }
        panic!("it does not come to rest");
    }

    fn edit(&mut self, spec: Value) {
        self.set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let generation = object::generation(&self.set) + 1;
        object::set(&mut self.set, "generation", generation);
        self.settle();
    }

    /// Names and images of the pods that stay.
    fn pods(&self) -> Vec<String> {
        let stay = self.of("Pod").into_iter().filter(|(_, pod)| !object::deleting(pod));
        stay.map(|(name, pod)| {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
            format!("{} {image}", name.trim_start_matches("web-"))
        })
        .collect()
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.pods(), expected);
    }

    #[track_caller]
    fn status(&self, field: &str, expected: impl Into<Value>) {
        assert_eq!(self.set["status"][field], expected.into(), "{field} of {:#}", self.set["status"]);
    }

    /// Numbers and images of revisions, oldest first.
    fn revisions(&self) -> Vec<(i64, String)> {
        let image = |data: &Value| {
            data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
        };
        let all = self.of("ControllerRevision").into_iter();
        let mut all: Vec<_> =
            all.map(|(_, one)| (one["revision"].as_i64().unwrap(), image(&one["data"]))).collect();
        all.sort();
        all
    }
}

#[test]
fn pods_come_one_after_the_other_and_go_the_other_way_round() {
    let mut world = World::new(json!({}));
    world.settle();
    world.check(&["0 one"]);
    world.status("replicas", 1);
    world.phase("web-0", "Running");
    world.check(&["0 one", "1 one"]);
    world.phase("web-1", "Running");
    world.phase("web-2", "Running");
    let counts = ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"];
    counts.into_iter().for_each(|field| world.status(field, 3));
    world.status("collisionCount", 0);
    world.status("observedGeneration", 1);
    assert_eq!(world.set["status"]["currentRevision"], world.set["status"]["updateRevision"]);

    let pod = world.get("Pod", "web-1").unwrap();
    let revision = world.of("ControllerRevision")[0].0;
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("all")));
    let labels = json!({
        "app": "x", LABEL: revision, "statefulset.kubernetes.io/pod-name": "web-1", "apps.kubernetes.io/pod-index": "1",
    });
    assert_eq!(pod["metadata"]["labels"], labels);

    world.edit(json!({"replicas": 1}));
    world.check(&["0 one", "1 one"]);
    world.settle();
    world.check(&["0 one", "1 one"]);
    world.sweep();
    world.settle();
    world.check(&["0 one"]);
    world.run();
    world.status("replicas", 1);
    let of = |verb: &str, pod: u8| format!("{verb} Pod web-{pod} in StatefulSet web successful");
    let said = [("create", 0), ("create", 1), ("create", 2), ("delete", 2), ("delete", 1)];
    assert_eq!(world.said, said.map(|(verb, pod)| of(verb, pod)));
}

#[test]
fn all_come_and_go_at_once_where_that_is_asked_for() {
    let mut world = World::parallel(json!({"replicas": 4}));
    world.settle();
    world.check(&["0 one", "1 one", "2 one", "3 one"]);
    world.edit(json!({"replicas": 1}));
    world.check(&["0 one"]);
}

#[test]
fn a_pod_that_has_ended_rests_no_longer_since_the_clock_was_set_back() {
    let mut world = World::new(json!({"replicas": 1}));
    world.run();
    world.phase("web-0", "Failed");
    world.now = world.now.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    world.settle();
    assert!(object::deleting(world.get("Pod", "web-0").unwrap()));
}

#[test]
fn ordinals_begin_where_they_are_to() {
    let mut world = World::new(json!({"replicas": 2, "ordinals": {"start": 5}}));
    world.run();
    world.check(&["5 one", "6 one"]);
    world.edit(json!({"ordinals": {"start": 6}}));
    world.check(&["5 one", "6 one", "7 one"]);
    world.run();
    world.check(&["6 one", "7 one"]);
}

#[test]
fn ended_pods_are_made_anew_however_they_ended() {
    let mut world = World::new(json!({}));
    world.run();
    for phase in ["Failed", "Succeeded"] {
        // Not without any pause, though, if it was made just now.
        world.phase("web-1", phase);
        world.check(&["0 one", "1 one", "2 one"]);
        world.now = world.look().wake_at.unwrap();
        world.settle();
        world.check(&["0 one", "2 one"]);
        world.run();
        world.check(&["0 one", "1 one", "2 one"]);
    }
}

#[test]
fn who_a_pod_is_is_mended_and_whose_name_is_taken_waits() {
    let mut world = World::new(json!({"replicas": 2}));
    let metadata = json!({"name": "web-1", "uid": "other", "labels": {"app": "y"}});
    world.objects.insert(
        ("Pod".into(), "web-1".into()),
        json!({"metadata": metadata, "spec": {"containers": [{"image": "other"}]}}),
    );
    world.run();
    world.check(&["0 one", "1 other"]);
    assert!(world.look().actions.is_empty());
    world.objects.remove(&("Pod".into(), "web-1".into()));
    world.run();
    world.check(&["0 one", "1 one"]);
    world.get_mut("Pod", "web-0")["metadata"]["labels"] = json!({"app": "x"});
    world.settle();
    assert_eq!(world.get("Pod", "web-0").unwrap()["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    assert!(world.said.contains(&"update Pod web-0 in StatefulSet web successful".to_owned()));
}

#[test]
fn only_pods_that_are_called_as_the_sets_are_adopted() {
    let mut world = World::new(json!({"replicas": 1}));
    for name in ["web-0", "web-00", "web-x", "webs-0", "web-1-2"] {
        let metadata = json!({"name": name, "uid": name, "labels": {"app": "x"}});
        world.objects.insert(("Pod".into(), name.into()), json!({"metadata": metadata, "spec": {}}));
    }
    world.settle();
    let owned = |(_, pod): &(&str, &Value)| pod["metadata"]["ownerReferences"].is_array();
    let all = world.of("Pod");
    let names: Vec<&str> = all.iter().filter(|pod| owned(pod)).map(|(name, _)| *name).collect();
    assert_eq!(names, ["web-0"]);
}

#[test]
fn a_pod_counts_once_it_was_ready_for_long_enough() {
    let mut world = World::new(json!({"minReadySeconds": 10}));
    world.settle();
    world.phase("web-0", "Running");
    world.check(&["0 one"]);
    world.status("readyReplicas", 1);
    world.status("availableReplicas", 0);
    assert_eq!(world.look().wake_at, Timestamp::from_second(1_000_010).ok());
    world.now = world.now.checked_add(SignedDuration::from_secs(10)).unwrap();
    world.settle();
    world.check(&["0 one", "1 one"]);
}

#[test]
fn what_failed_is_left_until_its_pause_is_over() {
    let mut world = World::new(json!({}));
    world.run();
    world.objects.remove(&("Pod".into(), "web-1".into()));
    let actions = world.look_at(Attempt { failure: None, pausing: true });
    assert!(actions.paused);
    assert!(matches!(actions.actions[..], [Action { write: Write::Edit { part: "status", .. }, .. }]));
}

#[test]
fn one_that_goes_only_counts() {
    let mut world = World::new(json!({}));
    world.run();
    object::set(&mut world.set, "deletionTimestamp", "2026-01-01T00:00:00Z");
    world.objects.retain(|(kind, name), _| kind == "Pod" && name != "web-1");
    world.settle();
    assert_eq!(world.objects.len(), 2);
    world.status("replicas", 2);
}
