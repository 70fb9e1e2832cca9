//! A StatefulSet with claims. In order, a pod is made only once all before it are ready, and taken only once all after it are gone,
//! or have been updated and are ready.

use super::ending::Ending;
use super::{Scenario, Workload, change_image, controlled, expect, image, pods, ready, template};
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Actions, Write};
use crate::control::key::Work;
use crate::sim::checks::{has_ended, is_ready};
use crate::sim::random::Random;
use crate::sim::world::{World, target};
use serde_json::{Value, json};

/// Pods that it may have, and volumes that are there for them.
const MOST: usize = 5;

/// A StatefulSet.
pub struct StatefulSet {
    at: Target,
    replicas: usize,
    highest: usize,
    ordered: bool,
    max_unavailable: usize,
    ending: Ending,
}

impl StatefulSet {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> StatefulSet {
        let at = target("apps/v1", "StatefulSet", &namespace, "web");
        let replicas = random.below(5);
        let (ordered, max_unavailable) = (!random.one_in(3), 1 + random.below(2));
        StatefulSet { at, replicas, highest: replicas, ordered, max_unavailable, ending: Ending::default() }
    }

    fn volume(&self, number: usize) -> Target {
        target("v1", "PersistentVolume", "", &format!("{}-{number}", self.at.namespace))
    }

    /// Somebody offers a volume that a claim may have.
    fn offer_volume(&self, world: &mut World, number: usize) {
        let metadata = json!({"name": self.volume(number).name});
        let spec = json!({
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"},
            "persistentVolumeReclaimPolicy": "Retain",
        });
        world.create(
            "the administrator",
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec,
            }),
        );
    }

    fn pod<'a>(&self, world: &'a World, ordinal: usize) -> Option<&'a Value> {
        world.api.find(&target("v1", "Pod", &self.at.namespace, &format!("web-{ordinal}")))
    }

    fn stands(&self, world: &World, ordinal: usize) -> bool {
        self.pod(world, ordinal).is_some_and(is_ready)
    }

    /// A pod of this ordinal is to be made.
    fn may_make(&self, world: &World, ordinal: usize) -> Result<(), String> {
        match (0..ordinal).find(|lower| !self.stands(world, *lower)) {
            Some(lower) => Err(format!("web-{ordinal} is made while web-{lower} is not ready")),
            None => Ok(()),
        }
    }

    /// The pod of this ordinal is to go.
    fn may_take(&self, world: &World, set: &Value, ordinal: usize) -> Result<(), String> {
        let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0);
        if self.pod(world, ordinal).is_none_or(has_ended) {
            return Ok(());
        }
        let highest =
            pods(world, &self.at.namespace).filter_map(|pod| self::ordinal(object::name(pod))).max();
        let above = ordinal + 1..=highest.unwrap_or(0);
        if ordinal >= wanted {
            return match above.into_iter().find(|higher| self.pod(world, *higher).is_some()) {
                Some(higher) => Err(format!("web-{ordinal} is taken while web-{higher} is there")),
                None => Ok(()),
            };
        }
        let template = image(&set["spec"]["template"]);
        let updated = |higher: usize| {
            self.pod(world, higher).is_some_and(|pod| image(pod) == template && is_ready(pod))
        };
        match (ordinal + 1..wanted).filter(|higher| !updated(*higher)).count() {
            missing if missing < self.max_unavailable => Ok(()),
            _ => Err(format!(
                "web-{ordinal} is taken for an update while those after it are not updated and ready"
            )),
        }
    }
}

fn ordinal(name: &str) -> Option<usize> {
    name.strip_prefix("web-")?.parse().ok()
}

impl Workload for StatefulSet {
    fn scenario(&self) -> Scenario {
        Scenario::StatefulSet
    }

    fn create(&mut self, world: &mut World) {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "",
        });
        (0..MOST).for_each(|number| self.offer_volume(world, number));
        let rolling = json!({"partition": 0, "maxUnavailable": self.max_unavailable});
        let policy = if self.ordered { "OrderedReady" } else { "Parallel" };
        world.create("user", json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "replicas": self.replicas, "podManagementPolicy": policy, "revisionHistoryLimit": 2, "serviceName": "web",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "selector": {"matchLabels": {"app": "x"}}, "template": template("i0"),
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": spec}],
            },
        }));
    }

    fn act(&mut self, world: &mut World) {
        let at = self.at.clone();
        if world.random.one_in(2) {
            let change = change_image(world);
            world.edit(("user", "changes the template of web"), &at, "", change);
            return;
        }
        self.replicas = world.random.below(MOST + 1);
        self.highest = self.highest.max(self.replicas);
        let replicas = self.replicas;
        world.edit(("user", &format!("scales web to {replicas}")), &at, "", |web| {
            web["spec"]["replicas"] = replicas.into()
        });
    }

    fn decided(&self, world: &World, work: &Work, actions: &Actions) -> Result<(), String> {
        let mine = matches!(work, Work::StatefulSet(key) if key.namespace() == self.at.namespace);
        let Some(set) = world.api.find(&self.at).filter(|set| mine && self.ordered && !object::deleting(set))
        else {
            return Ok(());
        };
        for action in &actions.actions {
            match &action.write {
                Write::Create(pod) if pod["kind"] == "Pod" => {
                    ordinal(object::name(pod)).map_or(Ok(()), |ordinal| self.may_make(world, ordinal))?;
                }
                Write::Delete { at, .. } if at.kind == "Pod" => {
                    ordinal(&at.name).map_or(Ok(()), |ordinal| self.may_take(world, set, ordinal))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let set = world.api.find(&self.at).ok_or("it is gone")?;
        let image = image(&set["spec"]["template"]);
        let expected: Vec<String> =
            (0..self.replicas).map(|ordinal| format!("web-{ordinal} {image}")).collect();
        expect("pods", ready(world, &self.at.namespace), expected)?;
        expect("available", set["status"]["availableReplicas"].as_u64(), Some(self.replicas as u64))?;
        expect("the current revision", &set["status"]["currentRevision"], &set["status"]["updateRevision"])?;
        let claims = world.api.list("/persistentvolumeclaims");
        let claims = claims.filter(|claim| object::namespace(claim) == self.at.namespace).count();
        expect("there are claims for all", self.replicas <= claims && claims <= self.highest, true)?;
        let revisions = controlled(world, "apps/controllerrevisions", object::uid(set)).count();
        expect("at most three revisions are kept", revisions <= 3, true)
    }

    fn end(&mut self, world: &mut World) -> bool {
        let again = self.ending.next(world, &self.at);
        if !again {
            (0..MOST).for_each(|number| {
                world.delete("the administrator", &self.volume(number), Deletion::default())
            });
        }
        again
    }
}
