//! A DaemonSet on the nodes that are labelled for it, which change: in the end each of them has one pod of its template. An update never
//! makes more nodes go without a pod than may be, nor more have two.

use super::ending::Ending;
use super::{
    Scenario, Workload, change_image, controlled, decider, expect, image, is_mixed, made, pods, taken,
    template,
};
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::Actions;
use crate::pod::pretend::Stage;
use crate::sim::checks::{has_ended, is_closed, is_ready};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where a pod of a DaemonSet says which node it is for.
const MEANT: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";

/// A DaemonSet.
pub struct DaemonSet {
    at: Target,
    surge: usize,
    /// How many nodes an update may leave without a pod.
    missing: usize,
    /// Whether nothing was done to its pods and nodes since each had one, but by its controller.
    calm: bool,
    /// Disturbances that were seen.
    disturbances: usize,
    ending: Ending,
}

impl DaemonSet {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> DaemonSet {
        let at = target("apps/v1", "DaemonSet", &namespace, "web");
        let surge = random.below(3);
        let missing = if surge > 0 { 0 } else { 1 + random.below(2) };
        DaemonSet { at, surge, missing, calm: false, disturbances: 0, ending: Ending::default() }
    }

    fn label(&self) -> String {
        format!("role-{}", self.at.namespace)
    }

    /// The nodes that are to have a pod, as far as that can be told from outside.
    fn nodes<'a>(&self, world: &'a World) -> Vec<&'a str> {
        let label = self.label();
        let meant = world.api.list("/nodes").filter(|node| object::label(node, &label) == Some("x"));
        meant.filter(|node| !is_closed(node)).map(object::name).collect()
    }

    fn on<'a>(&'a self, world: &'a World, node: &'a str) -> impl Iterator<Item = &'a Value> {
        let here = pods(world, &self.at.namespace).filter(move |pod| meant(pod) == Some(node));
        here.filter(|pod| !object::deleting(pod) && !has_ended(pod))
    }

    /// What is to be so after each step while nobody disturbs it.
    fn bounds_hold(&self, world: &World, nodes: &[&str]) -> Result<(), String> {
        let without = nodes.iter().filter(|node| !self.on(world, node).any(is_ready)).count();
        let double = nodes.iter().filter(|node| self.on(world, node).count() > 1).count();
        match () {
            () if without > self.missing => {
                Err(format!("{without} nodes have no ready pod, and {} may have none", self.missing))
            }
            () if double > self.surge => Err(format!("{double} nodes have two pods, and {} may", self.surge)),
            () => Ok(()),
        }
    }

    /// Some node is for daemons from now on, or not any more.
    fn relabel(&self, world: &mut World) {
        let names: Vec<String> = world.api.list("/nodes").map(|node| object::name(node).to_owned()).collect();
        let Some(name) = world.random.pick(&names) else { return };
        let label = self.label();
        world.edit(
            ("the administrator", &format!("relabels {name}")),
            &target("v1", "Node", "", name),
            "",
            |node| {
                let role = if node["metadata"]["labels"][&label] == "x" { "y" } else { "x" };
                node["metadata"]["labels"][&label] = role.into();
            },
        );
    }
}

/// The node that a pod is for.
fn meant(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().or_else(|| pod.pointer(MEANT)?.as_str())
}

impl Workload for DaemonSet {
    fn scenario(&self) -> Scenario {
        Scenario::DaemonSet
    }

    fn create(&mut self, world: &mut World) {
        self.relabel(world);
        let mut template = template("i0");
        template["spec"]["nodeSelector"] = json!({self.label(): "x"});
        let rolling = json!({"maxSurge": self.surge, "maxUnavailable": self.missing});
        world.create("user", json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "revisionHistoryLimit": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "selector": {"matchLabels": {"app": "x"}}, "template": template,
            },
        }));
    }

    fn act(&mut self, world: &mut World) {
        if world.random.one_in(3) {
            self.calm = false;
            return self.relabel(world);
        }
        let change = change_image(world);
        world.edit(("user", "changes the template of web"), &self.at, "", change);
    }

    fn decided(&mut self, world: &World, actions: &Actions, seen: &mut Tally) -> Result<(), String> {
        if decider(world, &self.at, actions).is_none() {
            return Ok(());
        }
        let nodes = self.nodes(world);
        let taken: BTreeSet<&str> = taken(world, actions).into_iter().map(object::uid).collect();
        let stays =
            |node: &str| self.on(world, node).any(|pod| is_ready(pod) && !taken.contains(object::uid(pod)));
        let before = nodes.iter().filter(|node| !self.on(world, node).any(is_ready)).count();
        let after = nodes.iter().filter(|node| !stays(node)).count();
        if after > before && after > self.missing {
            return Err(format!(
                "{after} nodes are to have no ready pod, and {} may have none",
                self.missing
            ));
        }
        seen.saw_if(after > before, Sight::DaemonsMissing);
        let coming: Vec<&str> = made(actions).filter_map(meant).collect();
        if let Some(node) = coming.iter().find(|node| self.on(world, node).count() > 1) {
            return Err(format!("{node} has two pods, and is to have another"));
        }
        let second = |node: &&&str| {
            let there = self.on(world, node).count();
            there + usize::from(coming.contains(node)) > 1 && stays(node)
        };
        let more = coming.iter().any(|node| self.on(world, node).any(is_ready));
        let double = nodes.iter().filter(second).count();
        if more && double > self.surge {
            return Err(format!("{double} nodes are to have two pods, and {} may", self.surge));
        }
        seen.saw_if(more, Sight::DaemonsSurging);
        Ok(())
    }

    fn check(&mut self, world: &World, _seen: &mut Tally) -> Result<(), String> {
        let Some(set) = world.api.find(&self.at) else { return Ok(()) };
        if std::mem::replace(&mut self.disturbances, world.disturbances) != world.disturbances {
            self.calm = false;
        }
        let nodes = self.nodes(world);
        // Also in truth: of a node that was replaced, the API may say for a while what ran on the one before.
        let runs = |node: &str, pod: &Value| {
            let machine = world.machines.0.get(node);
            let process = machine.and_then(|machine| machine.processes.get(object::uid(pod)));
            is_ready(pod) && process.is_some_and(|process| process.stage == Stage::Ready)
        };
        let one = |node: &&str| {
            self.on(world, node).count() == 1 && self.on(world, node).all(|pod| runs(node, pod))
        };
        let quiet = world.plane.under_way.is_empty() && nodes.iter().all(one);
        if quiet && pods(world, &self.at.namespace).count() == nodes.len() {
            self.calm = true;
        }
        if self.calm && !object::deleting(set) { self.bounds_hold(world, &nodes) } else { Ok(()) }
    }

    fn is_amid(&self, world: &World) -> bool {
        is_mixed(pods(world, &self.at.namespace))
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let set = world.api.find(&self.at).ok_or("it is gone")?;
        let (template, label) = (image(&set["spec"]["template"]), self.label());
        let meant = world.api.list("/nodes").filter(|node| object::label(node, &label) == Some("x"));
        let expected: Vec<String> = meant.map(|node| format!("{} {template}", object::name(node))).collect();
        let ready = pods(world, &self.at.namespace).filter(|pod| is_ready(pod));
        let on = |pod: &serde_json::Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<String> = ready.map(|pod| format!("{} {}", on(pod), image(pod))).collect();
        found.sort();
        let count = expected.len() as u64;
        expect("pods", found, expected)?;
        let status = [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberMisscheduled",
        ]
        .map(|field| set["status"][field].as_u64().unwrap_or(0));
        expect("status", status, [count, count, count, count, 0])?;
        let revisions = controlled(world, "apps/controllerrevisions", object::uid(set)).count();
        expect("at most three revisions are kept", revisions <= 3, true)
    }

    fn end(&mut self, world: &mut World) -> bool {
        self.ending.next(world, &self.at)
    }
}
