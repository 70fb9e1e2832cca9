//! A DaemonSet on the nodes that are labelled for it, which change: in the end each of them has one pod of its template.

use super::ending::Ending;
use super::{Scenario, Workload, change_image, controlled, expect, image, pods, template};
use crate::api::object;
use crate::api::objects::Target;
use crate::sim::checks::is_ready;
use crate::sim::random::Random;
use crate::sim::world::{World, target};
use serde_json::json;

/// A DaemonSet.
pub struct DaemonSet {
    at: Target,
    surge: usize,
    ending: Ending,
}

impl DaemonSet {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> DaemonSet {
        let at = target("apps/v1", "DaemonSet", &namespace, "web");
        DaemonSet { at, surge: random.below(3), ending: Ending::default() }
    }

    fn label(&self) -> String {
        format!("role-{}", self.at.namespace)
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

impl Workload for DaemonSet {
    fn scenario(&self) -> Scenario {
        Scenario::DaemonSet
    }

    fn create(&mut self, world: &mut World) {
        self.relabel(world);
        let mut template = template("i0");
        template["spec"]["nodeSelector"] = json!({self.label(): "x"});
        let rolling = json!({"maxSurge": self.surge, "maxUnavailable": usize::from(self.surge == 0)});
        world.create("user", json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "revisionHistoryLimit": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "selector": {"matchLabels": {"app": "x"}}, "template": template,
            },
        }));
    }

    fn act(&mut self, world: &mut World) {
        if world.random.one_in(2) {
            return self.relabel(world);
        }
        let change = change_image(world);
        world.edit(("user", "changes the template of web"), &self.at, "", change);
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
