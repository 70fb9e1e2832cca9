//! A Deployment behind a Service: scaled, updated, paused, its pods taken from it. As long as nobody but its controllers touches its
//! pods, a rolling update keeps to maxSurge and maxUnavailable, and Recreate never lets two templates run at a time.

use super::ending::Ending;
use super::{
    Scenario, Workload, change_image, controlled, expect, image, is_mixed, pods, ready, replicaset, template,
};
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::Actions;
use crate::sim::checks::{self, has_ended, is_ready};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A Deployment.
pub struct Deployment {
    at: Target,
    replicas: usize,
    /// maxSurge and maxUnavailable; none if it recreates.
    bounds: Option<(&'static str, &'static str)>,
    min_ready_seconds: usize,
    /// Whether nothing was done to its pods since it was last complete, but by its controllers.
    calm: bool,
    /// Disturbances that were seen.
    disturbances: usize,
    ending: Ending,
}

const BOUNDS: [Option<(&str, &str)>; 8] = [
    Some(("25%", "25%")),
    Some(("1", "0")),
    Some(("0", "1")),
    Some(("50%", "0")),
    Some(("2", "2")),
    Some(("0", "40%")),
    None,
    None,
];

impl Deployment {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> Deployment {
        let at = target("apps/v1", "Deployment", &namespace, "web");
        let replicas = random.below(7);
        let bounds = random.pick(&BOUNDS).copied().flatten();
        let min_ready_seconds = if random.one_in(3) { 5 } else { 0 };
        let (calm, disturbances, ending) = Default::default();
        Deployment { at, replicas, bounds, min_ready_seconds, calm, disturbances, ending }
    }

    fn object(&self) -> Value {
        let strategy = match self.bounds {
            Some((surge, unavailable)) => json!({
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": amount(surge), "maxUnavailable": amount(unavailable)},
            }),
            None => json!({"type": "Recreate"}),
        };
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "replicas": self.replicas, "revisionHistoryLimit": 2, "minReadySeconds": self.min_ready_seconds,
                "selector": {"matchLabels": {"app": "x"}}, "template": template("i0"), "strategy": strategy,
            },
        })
    }

    /// Its pods: those of its ReplicaSets.
    fn pods<'a>(&'a self, world: &'a World, uid: &'a str) -> impl Iterator<Item = &'a Value> {
        let sets: BTreeSet<&str> = controlled(world, "apps/replicasets", uid).map(object::uid).collect();
        pods(world, &self.at.namespace).filter(move |pod| {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            owners.into_iter().any(|owner| owner["uid"].as_str().is_some_and(|uid| sets.contains(uid)))
        })
    }

    fn bounds_hold(&self, world: &World, web: &Value) -> Result<(), String> {
        let pods: Vec<&Value> = self.pods(world, object::uid(web)).collect();
        let Some((surge, unavailable)) = self.bounds else {
            let live = pods.iter().filter(|pod| !has_ended(pod));
            let hashes: BTreeSet<_> = live.map(|pod| object::label(pod, "pod-template-hash")).collect();
            return match hashes.len() {
                0 | 1 => Ok(()),
                _ => Err(format!("it recreates, and runs two templates at a time: {hashes:?}")),
            };
        };
        let (surge, unavailable) = resolved(surge, unavailable, self.replicas);
        // It counts what its ReplicaSets are to have, as upstream's does: who is not wanted any more there is about to go.
        let wanted = |set: &Value| {
            let own = pods.iter().filter(|pod| checks::controller(pod) == Some(object::uid(set)));
            let there = own.filter(|pod| !object::deleting(pod) && !has_ended(pod)).count();
            there.min(usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0))
        };
        let there: usize = controlled(world, "apps/replicasets", object::uid(web)).map(wanted).sum();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if there > self.replicas + surge {
            return Err(format!("{there} pods, with {} replicas and a surge of {surge}", self.replicas));
        }
        if ready + unavailable < self.replicas {
            let replicas = self.replicas;
            return Err(format!(
                "{ready} ready pods, with {replicas} replicas of which {unavailable} may be unavailable"
            ));
        }
        Ok(())
    }
}

/// A number, or a share in per cent.
fn amount(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

/// maxSurge is rounded up, maxUnavailable down; they are not both nothing.
fn resolved(surge: &str, unavailable: &str, replicas: usize) -> (usize, usize) {
    let part =
        |text: &str, up: bool| match text.strip_suffix('%').and_then(|share| share.parse::<usize>().ok()) {
            Some(share) if up => (share * replicas).div_ceil(100),
            Some(share) => share * replicas / 100,
            None => text.parse().unwrap_or(0),
        };
    match (part(surge, true), part(unavailable, false)) {
        (0, 0) => (0, 1),
        bounds => bounds,
    }
}

/// Whether all that was asked for is there, and was told.
fn is_complete(web: &Value) -> bool {
    let (spec, status) = (&web["spec"], &web["status"]);
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let all = ["replicas", "updatedReplicas", "availableReplicas"].map(count);
    status["observedGeneration"] == web["metadata"]["generation"]
        && all == [spec["replicas"].as_u64().unwrap_or(1); 3]
}

impl Workload for Deployment {
    fn scenario(&self) -> Scenario {
        Scenario::Deployment
    }

    fn create(&mut self, world: &mut World) {
        world.create("user", self.object());
        let spec = json!({"selector": {"app": "x"}, "ports": [{"port": 80}]});
        world.create("user", json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": self.at.namespace}, "spec": spec,
        }));
    }

    fn act(&mut self, world: &mut World) {
        let at = self.at.clone();
        match world.random.below(10) {
            0..=4 => {
                let change = change_image(world);
                world.edit(("user", "changes the template of web"), &at, "", change);
            }
            5..=7 => {
                self.replicas = world.random.below(9);
                self.calm = false;
                let replicas = self.replicas;
                world.edit(("user", &format!("scales web to {replicas}")), &at, "", |web| {
                    web["spec"]["replicas"] = replicas.into()
                });
            }
            8 => {
                let paused = world.random.one_in(2);
                world.edit(("user", &format!("sets paused of web to {paused}")), &at, "", |web| {
                    web["spec"]["paused"] = paused.into()
                });
            }
            _ => {
                // One of its pods is not its own any more, or it is again.
                let names: Vec<String> =
                    pods(world, &at.namespace).map(|pod| object::name(pod).to_owned()).collect();
                let Some(name) = world.random.pick(&names) else { return };
                self.calm = false;
                let pod = target("v1", "Pod", &at.namespace, name);
                world.edit(("user", &format!("relabels {name}")), &pod, "", |pod| {
                    let mine = pod["metadata"]["labels"]["app"] == "x";
                    pod["metadata"]["labels"]["app"] = if mine { "y" } else { "x" }.into();
                });
            }
        }
    }

    fn decided(&mut self, world: &World, actions: &Actions, seen: &mut Tally) -> Result<(), String> {
        replicaset::number_holds(world, &self.at.namespace, actions, seen)
    }

    fn is_amid(&self, world: &World) -> bool {
        let uid = world.api.find(&self.at).map_or("", object::uid);
        is_mixed(self.pods(world, uid))
    }

    fn check(&mut self, world: &World, seen: &mut Tally) -> Result<(), String> {
        let Some(web) = world.api.find(&self.at) else { return Ok(()) };
        if std::mem::replace(&mut self.disturbances, world.disturbances) != world.disturbances {
            self.calm = false;
        }
        let pods: Vec<&Value> =
            self.pods(world, object::uid(web)).filter(|pod| !object::deleting(pod)).collect();
        let (count, mixed) = (pods.len(), is_mixed(pods.iter().copied()));
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        // What was decided before may still make pods, or take them; and what is told may be a moment old.
        let mine = |pod: &&Value| object::label(pod, "app") == Some("x");
        let selected = self::pods(world, &self.at.namespace).filter(mine);
        let selected = selected.filter(|pod| !object::deleting(pod) && !has_ended(pod)).count();
        let all = pods.iter().all(mine) && selected == self.replicas;
        let quiet = world.plane.under_way.is_empty() && count == self.replicas && all;
        if quiet && ready == self.replicas && is_complete(web) {
            self.calm = true;
        }
        // Its user has taken what it controls into the own hand.
        if !self.calm || object::deleting(web) {
            return Ok(());
        }
        match self.bounds {
            Some(_) => seen.saw_if(mixed, Sight::DeploymentBounds),
            None => {
                let template = image(&web["spec"]["template"]);
                let old = self.pods(world, object::uid(web)).any(|pod| image(pod) != template);
                seen.saw_if(old, Sight::DeploymentRecreates);
            }
        }
        self.bounds_hold(world, web)
    }

    fn rest(&mut self, world: &mut World) {
        world.edit(("user", "resumes web"), &self.at.clone(), "", |web| web["spec"]["paused"] = false.into());
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let web = world.api.find(&self.at).ok_or("it is gone")?;
        if !is_complete(web) {
            return Err(format!("it is not complete: {}", web["status"]));
        }
        let wanted = image(&web["spec"]["template"]).to_owned();
        let ready = ready(world, &self.at.namespace);
        let good = ready.iter().filter(|pod| pod.ends_with(&format!(" {wanted}"))).count();
        expect("pods of its template", (good, ready.len()), (self.replicas, self.replicas))?;
        let sets = controlled(world, "apps/replicasets", object::uid(web)).count();
        expect("at most three ReplicaSets are kept", sets <= 3, true)?;
        let slices = world.api.list("discovery.k8s.io/endpointslices");
        let slices = slices.filter(|slice| object::namespace(slice) == self.at.namespace);
        let endpoints: usize = slices.map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).sum();
        expect("endpoints", endpoints, self.replicas)
    }

    fn end(&mut self, world: &mut World) -> bool {
        self.ending.next(world, &self.at)
    }
}
