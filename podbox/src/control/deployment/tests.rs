//! Rollouts step by step in a world of ReplicaSets whose pods are numbers, and the bounds of every step.

use super::*;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Edit, Failure};
use crate::control::meta::Head;
use crate::control::template;
use crate::control::tests::template;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

/// A Deployment and what it makes: ReplicaSets whose pods are numbers.
struct World {
    deployment: Value,
    sets: BTreeMap<String, Value>,
    now: i64,
    made: i64,
    said: Vec<String>,
}

impl World {
    fn new(replicas: i32, strategy: Value) -> World {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {
                "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "x"}}, "strategy": strategy, "template": template("one"),
            },
            "status": {},
        });
        World { deployment, sets: BTreeMap::new(), now: 1000, made: 0, said: Vec::new() }
    }

    fn rolling(replicas: i32, surge: Value, unavailable: Value) -> World {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        World::new(replicas, json!({"type": "RollingUpdate", "rollingUpdate": rolling}))
    }

    fn edit(&mut self, spec: Value) {
        Edit::Merge(json!({"spec": spec})).apply(&mut self.deployment);
        let generation = object::generation(&self.deployment) + 1;
        object::set(&mut self.deployment, "generation", generation);
    }

    fn at(kind: &'static str, name: &str) -> Target {
        Target { api_version: "apps/v1".into(), kind: kind.into(), namespace: "n".into(), name: name.into() }
    }

    fn look(&self, attempt: Attempt<'_>) -> Actions {
        let desired = Workload::new(World::at("Deployment", "web"), self.deployment.clone(), 1);
        let sets =
            self.sets.iter().map(|(name, set)| Set::new(World::at("ReplicaSet", name), set.clone(), 1));
        let others_run = |new: &str| {
            self.sets
                .values()
                .any(|set| object::uid(set) != new && super::super::number(&set["status"]["replicas"]) > 0)
        };
        let taken = |name: &str| self.sets.contains_key(name);
        let observed = Observed { sets: sets.collect(), others_run: &others_run, taken: &taken };
        reconcile(&desired, &observed, attempt, Timestamp::from_second(self.now).unwrap())
    }

    /// Does what is to be done next; tells whether anything was.
    fn step(&mut self) -> bool {
        let actions = self.look(Attempt::default());
        for action in &actions.actions {
            self.said.extend(action.done.iter().map(|said| said.message.clone()));
            match &action.write {
                Write::Create(set) => {
                    let (name, mut set) = (object::name(set).to_owned(), set.clone());
                    object::set(&mut set, "uid", name.clone());
                    object::set(&mut set, "generation", 1);
                    // A second between any two, so that they have an order.
                    self.made += 1;
                    let age = Timestamp::from_second(self.made).unwrap();
                    object::set(&mut set, "creationTimestamp", age.to_string());
                    set["status"] = json!({"observedGeneration": 1});
                    assert!(self.sets.insert(name, set).is_none());
                }
                Write::Edit { at, part, edit, .. } => {
                    let object = match &*at.kind {
                        "Deployment" => &mut self.deployment,
                        _ => self.sets.get_mut(&at.name).unwrap(),
                    };
                    assert_eq!(*part == "status", at.kind == "Deployment");
                    edit.apply(object);
                }
                Write::Delete { at, .. } | Write::Remove { at, .. } => drop(self.sets.remove(&at.name)),
            }
        }
        !actions.actions.is_empty()
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not end: {:#?}", self.look(Attempt::default()));
    }

    /// ReplicaSets have the pods that they should; those of images that are not `bad` are available.
    fn pods(&mut self, bad: &str) {
        for set in self.sets.values_mut() {
            let replicas = set["spec"]["replicas"].clone();
            let good = set["spec"]["template"]["spec"]["containers"][0]["image"] != bad;
            let available = if good { replicas.clone() } else { 0.into() };
            set["status"] = json!({
                "observedGeneration": 1, "replicas": replicas, "readyReplicas": available, "availableReplicas": available,
            });
        }
    }

    /// Until all is quiet.
    fn roll(&mut self, bad: &str) {
        for _ in 0..200 {
            self.settle();
            let before = self.sets.clone();
            self.pods(bad);
            if self.sets == before {
                return;
            }
        }
        panic!("it does not end");
    }

    /// Images and sizes, oldest first.
    fn sizes(&self) -> Vec<(String, i64)> {
        let mut sets: Vec<&Value> = self.sets.values().collect();
        sets.sort_by_key(|set| object::text(set, "creationTimestamp").to_owned());
        let image = |set: &Value| {
            set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
        };
        sets.into_iter().map(|set| (image(set), set["spec"]["replicas"].as_i64().unwrap())).collect()
    }

    /// Available pods that are not about to go: each ReplicaSet takes its useless ones first.
    fn available(&self) -> i64 {
        let of = |set: &Value| {
            let available = set["status"]["availableReplicas"].as_i64().unwrap_or(0);
            available.min(set["spec"]["replicas"].as_i64().unwrap_or(0))
        };
        self.sets.values().map(of).sum()
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, i64)]) {
        let found = self.sizes();
        let found: Vec<(&str, i64)> = found.iter().map(|(image, size)| (image.as_str(), *size)).collect();
        assert_eq!(found, expected);
    }

    fn condition(&self, of: &str) -> (String, String, String) {
        let conditions = condition::of(&self.deployment);
        let found = condition::get(&conditions, of).cloned().unwrap_or_default();
        let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"), word("message"))
    }

    fn set(&self, image: &str) -> &Value {
        let is = |set: &&Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == image;
        self.sets.values().find(is).unwrap()
    }
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str()
}

#[test]
fn a_rollout_goes_step_by_step_and_says_so() {
    let mut world = World::rolling(4, json!("25%"), json!("25%"));
    world.roll("");
    world.check(&[("one", 4)]);
    let name = world.sets.keys().next().unwrap().clone();
    assert_eq!(world.said, [format!("Scaled up replica set {name} from 0 to 4")]);
    let done = (
        "True".to_owned(),
        "NewReplicaSetAvailable".to_owned(),
        format!("ReplicaSet {name:?} has successfully progressed."),
    );
    assert_eq!(world.condition("Progressing"), done);
    assert_eq!(world.condition("Available").1, "MinimumReplicasAvailable");
    world.said.clear();
    world.edit(json!({"template": template("two")}));
    world.settle();
    world.check(&[("one", 3), ("two", 2)]);
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetCreated");
    world.roll("");
    world.check(&[("one", 0), ("two", 4)]);
    assert_eq!(world.deployment["status"]["updatedReplicas"], 4);
    assert_eq!(annotation(&world.deployment, revision::REVISION), Some("2"));
    assert_eq!(annotation(world.set("one"), revision::REVISION), Some("1"));
}

#[test]
fn a_bad_image_stalls_and_is_rolled_back() {
    let mut world = World::rolling(4, json!(1), json!(1));
    world.roll("");
    world.edit(json!({"template": template("bad")}));
    world.roll("bad");
    world.check(&[("one", 3), ("bad", 2)]);
    assert_eq!(world.condition("Available").1, "MinimumReplicasAvailable");
    world.now += 700;
    world.roll("bad");
    let (status, reason, message) = world.condition("Progressing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ProgressDeadlineExceeded"));
    assert!(message.ends_with("has timed out progressing."), "{message}");
    world.edit(json!({"template": template("one")}));
    world.roll("bad");
    world.check(&[("one", 4), ("bad", 0)]);
    let back = world.set("one");
    assert_eq!(annotation(back, revision::REVISION), Some("3"));
    assert_eq!(annotation(back, "deployment.kubernetes.io/revision-history"), Some("1"));
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn to_recreate_is_to_end_all_before_any_is_made() {
    let mut world = World::new(3, json!({"type": "Recreate"}));
    world.roll("");
    world.edit(json!({"template": template("two")}));
    world.settle();
    world.check(&[("one", 0)]);
    world.roll("");
    world.check(&[("one", 0), ("two", 3)]);
    // The one before is there already: it waits all the same.
    world.edit(json!({"template": template("one")}));
    world.settle();
    world.check(&[("one", 0), ("two", 0)]);
    world.roll("");
    world.check(&[("one", 3), ("two", 0)]);
}

#[test]
fn what_is_paused_is_scaled_but_not_rolled_out() {
    let mut world = World::rolling(2, json!(1), json!(0));
    world.roll("");
    world.edit(json!({"paused": true, "template": template("two"), "replicas": 5}));
    world.roll("");
    world.check(&[("one", 5)]);
    assert_eq!(
        world.condition("Progressing"),
        ("Unknown".into(), "DeploymentPaused".into(), "Deployment is paused".into())
    );
    world.edit(json!({"paused": null}));
    world.step();
    assert_eq!(world.condition("Progressing").1, "DeploymentResumed");
    world.roll("");
    world.check(&[("one", 0), ("two", 5)]);
}

#[test]
fn in_the_middle_of_a_rollout_all_are_scaled_in_proportion() {
    let mut world = World::rolling(10, json!(3), json!(2));
    world.roll("");
    world.edit(json!({"template": template("bad")}));
    world.roll("bad");
    // The documentation's own example.
    world.check(&[("one", 8), ("bad", 5)]);
    world.edit(json!({"replicas": 15}));
    world.roll("bad");
    world.check(&[("one", 11), ("bad", 7)]);
}

#[test]
fn a_set_that_has_the_right_size_by_chance_does_not_hold_the_rollout_back() {
    let mut world = World::rolling(3, json!(1), json!(0));
    world.roll("");
    // Whoever scaled it last wrote the size for a Deployment that wanted seven.
    let set = world.sets.values_mut().next().unwrap();
    set["metadata"]["annotations"][revision::DESIRED] = "7".into();
    world.edit(json!({"template": template("two")}));
    world.roll("");
    world.check(&[("one", 0), ("two", 3)]);
}

#[test]
fn who_wants_all_replaced_at_once_and_more_of_them_in_the_middle_of_a_rollout_gets_it() {
    let mut world = World::rolling(10, json!(3), json!(2));
    world.roll("");
    world.edit(json!({"template": template("bad")}));
    world.roll("bad");
    world.edit(json!({"strategy": {"type": "Recreate", "rollingUpdate": null}, "replicas": 7}));
    world.roll("");
    world.check(&[("one", 0), ("bad", 7)]);
}

#[test]
fn a_name_that_is_taken_is_not_used() {
    let mut world = World::rolling(1, json!(1), json!(0));
    let name = format!("web-{}", template::hash(&template("one"), 0));
    let mut other =
        json!({"metadata": {"name": name, "uid": "o", "labels": {"app": "y"}}, "spec": {"replicas": 0}});
    other["metadata"]["ownerReferences"] = json!([{"uid": "somebody", "controller": true}]);
    world.sets.insert(name.clone(), other);
    world.step();
    assert_eq!(world.deployment["status"]["collisionCount"], 1);
    let other = world.sets[&name].clone();
    world.step();
    assert_eq!((world.sets.len(), &world.sets[&name]), (2, &other));
}

#[test]
fn old_replica_sets_are_kept_as_many_as_asked_for() {
    let mut world = World::rolling(1, json!(1), json!(0));
    world.edit(json!({"revisionHistoryLimit": 2}));
    for image in ["a", "b", "c", "d", "e"] {
        world.edit(json!({"template": template(image)}));
        world.roll("");
    }
    world.check(&[("c", 0), ("d", 0), ("e", 1)]);
}

#[test]
fn annotations_are_passed_on_but_for_those_that_are_its_own() {
    let mut world = World::rolling(1, json!(1), json!(0));
    world.deployment["metadata"]["annotations"] = json!({"kubernetes.io/change-cause": "first", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    world.roll("");
    let set = world.set("one");
    assert_eq!(annotation(set, "kubernetes.io/change-cause"), Some("first"));
    assert_eq!(annotation(set, "kubectl.kubernetes.io/last-applied-configuration"), None);
    assert_eq!(annotation(set, revision::DESIRED), Some("1"));
    assert_eq!(annotation(set, revision::MAX), Some("2"));
}

#[test]
fn what_cannot_be_made_is_told() {
    let world = World::rolling(1, json!(1), json!(0));
    let failure = Failure { creating: true, message: "quota".into() };
    let actions = world.look(Attempt { failure: Some(&failure), pausing: true });
    assert!(actions.paused && format!("{actions:?}").contains("ReplicaSetCreateError"));
}

#[test]
fn only_sets_that_it_selects_are_its_own() {
    let mut world = World::rolling(1, json!(1), json!(0));
    let free =
        json!({"metadata": {"name": "free", "uid": "f", "labels": {"app": "x"}}, "spec": {"replicas": 0}});
    world.sets.insert("free".into(), free);
    world.step();
    assert_eq!(Head::read(world.sets["free"].to_string().as_bytes()).controller().unwrap().uid, "d");
    world.sets.get_mut("free").unwrap()["metadata"]["labels"]["app"] = "y".into();
    world.step();
    assert!(world.sets["free"]["metadata"]["ownerReferences"].is_null());
}

proptest! {
    /// However pods come and go meanwhile: never more than allowed, none available is taken that may not be missing, and it ends.
    #[test]
    fn bounds_are_kept(
        replicas in 0i32..12,
        surge in 0i32..5,
        unavailable in 0i32..5,
        steps in prop::collection::vec((0u8..5, 0usize..4, 0i64..12), 0..60),
    ) {
        let mut world = World::rolling(replicas, json!(surge), json!(unavailable));
        world.roll("");
        for (what, which, number) in steps {
            let index = which % world.sets.len().max(1);
            let set = world.sets.values_mut().nth(index);
            match (what, set) {
                (0, _) => world.edit(json!({"template": template(&format!("i{which}"))})),
                // Pods come and go as they like, within their ReplicaSet's size.
                (1, Some(set)) => {
                    let size = set["spec"]["replicas"].as_i64().unwrap();
                    let available = number.min(size);
                    set["status"] = json!({"observedGeneration": 1, "replicas": size, "availableReplicas": available, "readyReplicas": available});
                }
                _ => {
                    let before = world.sizes();
                    let available = world.available();
                    world.step();
                    let slack = Workload::new(World::at("Deployment", "web"), world.deployment.clone(), 1).slack();
                    let total: i64 = world.sizes().iter().map(|(_, size)| size).sum();
                    let was: i64 = before.iter().map(|(_, size)| size).sum();
                    prop_assert!(total <= i64::from(replicas + slack.surge) || total <= was, "{before:?} became {:?}", world.sizes());
                    let left = world.available();
                    let least = i64::from(replicas - slack.unavailable);
                    prop_assert!(left >= least.min(available), "{before:?} became {:?}: {left} are left", world.sizes());
                }
            }
        }
        world.roll("");
        let newest = world.sizes().iter().filter(|(_, size)| *size > 0).count();
        prop_assert!(newest <= 1);
        prop_assert_eq!(world.sizes().iter().map(|(_, size)| size).sum::<i64>(), i64::from(replicas));
    }
}
