//! A Deployment whose pods must not share nodes: no node ever gets two of them, and as many run as there are nodes, at most.

use super::ending::Ending;
use super::{Scenario, Workload, expect, pods, template};
use crate::api::object;
use crate::api::objects::Target;
use crate::sim::checks::{has_ended, is_ready};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Such a Deployment.
pub struct Spread {
    at: Target,
    replicas: usize,
    ending: Ending,
}

impl Spread {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> Spread {
        let at = target("apps/v1", "Deployment", &namespace, "web");
        Spread { at, replicas: random.below(6), ending: Ending::default() }
    }
}

impl Workload for Spread {
    fn scenario(&self) -> Scenario {
        Scenario::Spread
    }

    fn create(&mut self, world: &mut World) {
        let mut template = template("i0");
        let term =
            json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}});
        template["spec"]["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        world.create("user", json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "replicas": self.replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template,
            },
        }));
    }

    fn act(&mut self, world: &mut World) {
        self.replicas = world.random.below(6);
        let replicas = self.replicas;
        let what = format!("scales web to {replicas}");
        world.edit(("user", &what), &self.at, "", |web| web["spec"]["replicas"] = replicas.into());
    }

    fn check(&mut self, world: &World, seen: &mut Tally) -> Result<(), String> {
        let mut holds = BTreeMap::<&str, &Value>::new();
        for pod in pods(world, &self.at.namespace).filter(|pod| !has_ended(pod)) {
            let Some(node) = pod["spec"]["nodeName"].as_str() else {
                let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                let told = conditions.into_iter().any(|one| one["reason"] == "Unschedulable");
                seen.saw_if(told, Sight::Apart);
                continue;
            };
            if let Some(other) = holds.insert(node, pod) {
                let (one, other) = (object::name(pod), object::name(other));
                return Err(format!("{node} has {one} and {other}, which must not be together"));
            }
        }
        Ok(())
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let nodes = world.api.list("/nodes").count();
        let ready = pods(world, &self.at.namespace).filter(|pod| is_ready(pod)).count();
        expect("pods that run", ready, self.replicas.min(nodes))
    }

    fn end(&mut self, world: &mut World) -> bool {
        self.ending.next(world, &self.at)
    }
}
