//! All controllers in a simulated world: one seed, one thread, a clock that moves when it is told to. Pods start, crash and are
//! taken away; writes meet conflicts; the control plane ends between any two writes and begins anew. When that is over, there is what was
//! asked for, and after all was deleted there is nothing.

mod daemons;
mod nodes;
mod sets;

use crate::api::kinds::{Kind, Kinds};
use crate::api::lifecycle::{self, Deleted, Deletion, Propagation};
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Actions, Failure, Write};
use crate::control::catalog::Catalog;
use crate::control::controllers::{Controllers, Now, Outcome};
use crate::control::key::{Key, Work};
use crate::control::source::{Found, Source};
use crate::control::tests::{MEANT, template};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PODS: &str = "/pods";
/// Nothing that was put off waits for longer, in seconds.
const QUIET: u64 = 1500;
const SETS: &str = "apps/replicasets";
const DEPLOYMENTS: &str = "apps/deployments";
const SLICES: &str = "discovery.k8s.io/endpointslices";

/// The objects, and who is told of their changes.
struct World {
    kinds: Kinds,
    objects: Objects,
    controllers: Controllers,
    /// Actions under way, and the step of each that is next.
    running: Vec<(Work, bool, Actions, Outcome)>,
    revision: u64,
    seconds: u64,
    /// What happened, for a second run to be compared with.
    told: Vec<String>,
}

#[derive(Default)]
struct Objects(BTreeMap<(String, Key), (Value, u64)>);

impl Source for Objects {
    fn get(&self, collection: &str, key: &Key) -> Option<Found> {
        let (object, revision) = self.0.get(&(collection.to_owned(), key.clone()))?;
        Some(Found { bytes: serde_json::to_vec(object).unwrap().into(), revision: *revision })
    }

    fn named(&self, collection: &str, name: &str) -> Vec<Found> {
        let keys = self.0.keys().filter(|(of, key)| of == collection && key.name() == name);
        keys.filter_map(|(of, key)| self.get(of, key)).collect()
    }
}

impl World {
    fn new() -> World {
        let kinds = Kinds::new();
        let controllers = Controllers::new(Catalog::new(&kinds));
        let (objects, told) = (Objects::default(), Vec::new());
        let mut world =
            World { kinds, objects, controllers, running: Vec::new(), revision: 1, seconds: 1_000_000, told };
        (0..3).for_each(|number| assert!(world.create(nodes::node(number).1)));
        world.beat();
        world
    }

    fn now(&self) -> Now {
        let wall = Timestamp::from_second(self.seconds.cast_signed()).unwrap();
        Now { wall, since: Duration::from_secs(self.seconds) }
    }

    fn kind(&self, at: &Target) -> Arc<Kind> {
        Arc::clone(self.kinds.kind(&at.api_version, &at.kind).unwrap())
    }

    fn put(&mut self, kind: &Kind, mut object: Value) {
        self.revision += 1;
        object::set(&mut object, "resourceVersion", self.revision.to_string());
        let key = Key::new(object::namespace(&object), object::name(&object));
        let collection = kind.collection();
        let id = self.controllers.catalog().collection(&collection).unwrap();
        self.controllers.note(id, &key, &serde_json::to_vec(&object).unwrap());
        self.objects.0.insert((collection, key), (object, self.revision));
    }

    fn remove(&mut self, kind: &Kind, key: &Key) {
        let collection = kind.collection();
        let id = self.controllers.catalog().collection(&collection).unwrap();
        if let Some((last, _)) = self.objects.0.remove(&(collection, key.clone())) {
            self.controllers.forget(id, key, &serde_json::to_vec(&last).unwrap());
        }
    }

    fn create(&mut self, mut object: Value) -> bool {
        let word = |field: &str| object[field].as_str().unwrap().to_owned();
        let kind = Arc::clone(self.kinds.kind(&word("apiVersion"), &word("kind")).unwrap());
        self.revision += 1;
        if object::name(&object).is_empty() {
            let name = format!("{}{}", object::text(&object, "generateName"), self.revision);
            object::set(&mut object, "name", name);
        }
        let key = Key::new(object::namespace(&object), object::name(&object));
        if self.objects.get(&kind.collection(), &key).is_some() {
            return false;
        }
        lifecycle::born(&mut object, &kind, format!("uid-{}", self.revision), self.now().wall.into());
        if kind.kind == "Pod" {
            object["status"]["phase"] = "Pending".into();
        }
        self.put(&kind, object);
        true
    }

    fn there(&self, at: &Target, seen: &Seen) -> Option<(Value, u64)> {
        let kind = self.kind(at);
        let found = self.objects.0.get(&(kind.collection(), Key::new(&at.namespace, &at.name)))?;
        (seen.uid.is_empty() || seen.uid == object::uid(&found.0)).then(|| found.clone())
    }

    fn edit(&mut self, at: &Target, part: &str, edit: impl Fn(&mut Value)) {
        let kind = self.kind(at);
        let Some((old, _)) = self.there(at, &Seen::default()) else { return };
        let mut new = old.clone();
        edit(&mut new);
        if part != "status" {
            lifecycle::count(&mut new, &old, &kind);
        }
        match lifecycle::released(&new, &old, &kind) {
            true => self.remove(&kind, &Key::new(&at.namespace, &at.name)),
            false if new != old => self.put(&kind, new),
            false => {}
        }
    }

    fn delete(&mut self, at: &Target, propagation: Option<Propagation>) {
        let kind = self.kind(at);
        let Some((old, _)) = self.there(at, &Seen::default()) else { return };
        let deletion = Deletion { grace_seconds: None, propagation };
        match lifecycle::delete(&old, &kind, deletion, self.now().wall.into()) {
            Deleted::Marked(new) => self.put(&kind, new),
            Deleted::Unchanged => {}
            Deleted::Gone(_) => self.remove(&kind, &Key::new(&at.namespace, &at.name)),
        }
    }

    /// Begins what is to be done.
    fn reconcile(&mut self) {
        while let Some((work, actions)) = self.controllers.next(self.now(), &self.objects, 1000) {
            self.told.push(format!("{work:?}"));
            self.running.push((work, actions.paused, actions, Outcome::default()));
        }
    }

    /// Takes one step of one of the actions under way; `fault` makes it meet another's change.
    fn step(&mut self, which: usize, fault: bool) {
        self.reconcile();
        if self.running.is_empty() {
            return;
        }
        let index = which % self.running.len();
        let (work, paused, mut actions, mut outcome) = self.running.swap_remove(index);
        if let Some(action) = actions.actions.pop() {
            match self.write(action.write, fault) {
                Ok(changed) => outcome.changed |= changed,
                Err(None) => outcome.conflict = true,
                Err(Some(failure)) => outcome.failure = Some(failure),
            }
        }
        match actions.actions.is_empty() {
            true => self.controllers.ended(&work, paused, outcome, self.now()),
            false => self.running.push((work, paused, actions, outcome)),
        }
    }

    fn write(&mut self, write: Write, fault: bool) -> Result<bool, Option<Failure>> {
        let before = self.revision;
        match write {
            _ if fault => return Err(None),
            Write::Create(object) => {
                if !self.create(object) {
                    return Err(Some(Failure { creating: true, message: "it is there".into() }));
                }
            }
            Write::Edit { at, part, seen, edit } => {
                let Some((_, revision)) = self.there(&at, &seen) else { return Ok(false) };
                if seen.revision.is_some_and(|seen| seen != revision) {
                    return Err(None);
                }
                self.edit(&at, part, |object| edit.apply(object));
            }
            Write::Remove { at, seen } => {
                let Some((mut old, _)) = self.there(&at, &seen) else { return Ok(false) };
                let kind = self.kind(&at);
                object::set(&mut old, "deletionTimestamp", object::time(self.now().wall.into()));
                object::set(&mut old, "deletionGracePeriodSeconds", 0);
                match object::finalizers(&old).is_empty() {
                    true => self.remove(&kind, &Key::new(&at.namespace, &at.name)),
                    false => self.put(&kind, old),
                }
                return Ok(true);
            }
            Write::Delete { at, seen, propagation } => {
                let Some((_, revision)) = self.there(&at, &seen) else { return Ok(false) };
                if seen.revision.is_some_and(|seen| seen != revision) {
                    return Err(None);
                }
                self.delete(&at, propagation);
                return Ok(true);
            }
        }
        Ok(self.revision != before)
    }

    /// The control plane ends where it is, and begins anew with what there is.
    fn restart(&mut self) {
        self.running.clear();
        self.controllers = Controllers::new(Catalog::new(&self.kinds));
        let all: Vec<_> = self
            .objects
            .0
            .iter()
            .map(|((of, key), (object, _))| (of.clone(), key.clone(), object.clone()))
            .collect();
        for (collection, key, object) in all {
            let id = self.controllers.catalog().collection(&collection).unwrap();
            self.controllers.note(id, &key, &serde_json::to_vec(&object).unwrap());
        }
    }

    fn list(&self, collection: &str) -> Vec<Value> {
        let all = self.objects.0.iter().filter(|((of, _), _)| of == collection);
        all.map(|(_, (object, _))| object.clone()).collect()
    }

    /// What nodes do: a pod is bound and runs, or goes once it is to go; with `crash`, it fails instead.
    fn node(&mut self, which: usize, crash: bool) {
        let pods = self.list(PODS);
        let Some(pod) = pods.get(which % pods.len().max(1)) else { return };
        let at = target("v1", "Pod", object::name(pod));
        if object::deleting(pod) {
            // Nothing of it is left there; its finalizers may hold it.
            self.edit(&at, "", |pod| object::set(pod, "deletionGracePeriodSeconds", 0));
            if object::finalizers(pod).is_empty() {
                let kind = self.kind(&at);
                self.remove(&kind, &Key::new(&at.namespace, &at.name));
            }
            return;
        }
        let meant = pod.pointer(MEANT).and_then(Value::as_str);
        if self.is_lost(pod) {
            return;
        }
        let node = meant.map_or_else(|| format!("node-{}", which % 3), str::to_owned);
        let now = object::time(self.now().wall.into());
        let ip = format!("10.0.0.{}", which % 250);
        self.edit(&at, "status", |pod| {
            pod["spec"]["nodeName"] = node.clone().into();
            pod["status"]["phase"] = if crash { "Failed" } else { "Running" }.into();
            pod["status"]["podIP"] = ip.clone().into();
            let ready = if crash { "False" } else { "True" };
            pod["status"]["conditions"] =
                json!([{"type": "Ready", "status": ready, "lastTransitionTime": now}]);
        });
    }

    /// Whether a pod is meant for a node that is not there: it waits, until its controller takes it back.
    fn is_lost(&self, pod: &Value) -> bool {
        let meant = pod.pointer(MEANT).and_then(Value::as_str);
        meant.is_some_and(|node| self.objects.get("/nodes", &Key::new("", node)).is_none())
    }

    /// Until nothing is to be done, with pods that run.
    fn settle(&mut self) {
        // Nodes are looked at for ever, so that there is always a time at which to go on.
        let mut busy = self.seconds;
        for _ in 0..5000 {
            self.reconcile();
            if !self.running.is_empty() {
                busy = self.seconds;
                self.step(0, false);
                continue;
            }
            // Before pods come to them: of one that seems silent they would be evicted, again and again.
            if self.beat() {
                continue;
            }
            let pods = self.list(PODS);
            let waits = |pod: &Value| {
                object::deleting(pod) || pod["status"]["phase"] == "Pending" && !self.is_lost(pod)
            };
            if let Some(index) = pods.iter().position(waits) {
                self.node(index, false);
                continue;
            }
            // Only a pause is left, or nothing.
            match self.controllers.next_time() {
                Some(at) if at > self.now().since && self.seconds < busy + QUIET => {
                    self.seconds = at.as_secs() + 1;
                    self.beat();
                }
                _ => return,
            }
        }
        panic!("it does not come to rest: {:#?}", self.told.iter().rev().take(20).collect::<Vec<_>>());
    }
}

fn target(api_version: &'static str, kind: &'static str, name: &str) -> Target {
    Target { api_version: api_version.into(), kind: kind.into(), namespace: "n".into(), name: name.into() }
}

fn deployment(replicas: u64, recreate: bool) -> Value {
    let strategy = match recreate {
        true => json!({"type": "Recreate"}),
        false => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        }
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2, "strategy": strategy,
            "selector": {"matchLabels": {"app": "x"}}, "template": template("i0"),
        },
        "status": {},
    })
}

fn service() -> Value {
    let spec =
        json!({"selector": {"app": "x"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n"}, "spec": spec})
}

/// Plays a scenario; gives back what was told.
fn play(
    replicas: u64,
    recreate: bool,
    steps: &[(u8, usize)],
    end: Propagation,
) -> Result<Vec<String>, TestCaseError> {
    let mut world = World::new();
    world.create(service());
    world.create(deployment(replicas, recreate));
    let web = target("apps/v1", "Deployment", "web");
    let mut wanted = replicas;
    for (what, which) in steps {
        match what {
            0..=9 => world.step(*which, false),
            10 => world.step(*which, true),
            11..=15 => world.node(*which, false),
            16 => world.node(*which, true),
            17 => world.restart(),
            18 => world.edit(&web, "", |web| web["spec"]["template"] = template(&format!("i{}", which % 4))),
            19 => {
                wanted = (which % 9) as u64;
                world.edit(&web, "", |web| web["spec"]["replicas"] = wanted.into());
            }
            20 => {
                let pods = world.list(PODS);
                if let Some(pod) = pods.get(which % pods.len().max(1)) {
                    world.delete(&target("v1", "Pod", object::name(pod)), None);
                }
            }
            _ => world.seconds += *which as u64,
        }
        for pod in world.list(PODS) {
            let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
            prop_assert!(controllers <= 1, "two controllers share {pod:#}");
        }
    }
    world.settle();
    let image = world.list(DEPLOYMENTS)[0]["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let good =
        |pod: &Value| pod["status"]["phase"] == "Running" && pod["spec"]["containers"][0]["image"] == image;
    let running = world.list(PODS).iter().filter(|pod| good(pod)).count() as u64;
    prop_assert_eq!(running, wanted);
    let status = &world.list(DEPLOYMENTS)[0]["status"];
    prop_assert_eq!(status["availableReplicas"].as_u64().unwrap_or(0), wanted);
    let endpoints: usize =
        world.list(SLICES).iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).sum();
    prop_assert_eq!(endpoints as u64, wanted);

    world.delete(&web, Some(end));
    world.settle();
    let orphaned = end == Propagation::Orphan;
    prop_assert_eq!(world.list(DEPLOYMENTS).len(), 0);
    prop_assert_eq!(world.list(SETS).is_empty(), !orphaned);
    if orphaned {
        for set in world.list(SETS) {
            world.delete(&target("apps/v1", "ReplicaSet", object::name(&set)), Some(Propagation::Background));
        }
        world.settle();
    }
    world.delete(&target("v1", "Service", "web"), None);
    world.settle();
    let left: Vec<_> = world.objects.0.keys().filter(|(of, _)| !nodes::stay(of)).collect();
    prop_assert!(left.is_empty(), "these are left: {left:?}");
    Ok(world.told)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_as_it_should_and_each_time_alike(
        replicas in 0u64..7,
        recreate in any::<bool>(),
        steps in prop::collection::vec((0u8..23, 0usize..1000), 0..150),
        end in prop::sample::select(vec![Propagation::Background, Propagation::Foreground, Propagation::Orphan]),
    ) {
        let told = play(replicas, recreate, &steps, end)?;
        prop_assert_eq!(told, play(replicas, recreate, &steps, end)?);
    }
}
