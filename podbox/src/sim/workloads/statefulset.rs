//! A StatefulSet with claims. In order, a pod is made only once all before it are ready, and taken only once all after it are gone,
//! or have been updated and are ready; without an order, an update takes the highest first, and no more than may be missing. A pod
//! that comes back has the claim that it had.

use super::ending::Ending;
use super::{
    Scenario, Workload, change_image, controlled, decider, expect, image, is_mixed, made, pods, ready, taken,
    template,
};
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::Actions;
use crate::sim::checks::{has_ended, is_ready};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Pods that it may have.
const MOST: usize = 5;
/// Volumes that are there for them: more, for a claim that goes while its pod comes back.
const VOLUMES: usize = 7;

/// A StatefulSet.
pub struct StatefulSet {
    at: Target,
    replicas: usize,
    highest: usize,
    lowest: usize,
    ordered: bool,
    max_unavailable: usize,
    /// Whether the claims of ordinals that are not wanted any more go.
    forgets: bool,
    /// The uid of each claim, by its name.
    claims: BTreeMap<String, String>,
    /// The uid of each pod that was last of its name.
    pods: BTreeMap<String, String>,
    ending: Ending,
}

impl StatefulSet {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> StatefulSet {
        let at = target("apps/v1", "StatefulSet", &namespace, "web");
        let replicas = random.below(5);
        let (highest, lowest) = (replicas, replicas);
        let (ordered, max_unavailable) = (random.one_in(2), 1 + random.below(2));
        let forgets = random.one_in(4);
        let (claims, pods, ending) = Default::default();
        StatefulSet { at, replicas, highest, lowest, ordered, max_unavailable, forgets, claims, pods, ending }
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

impl StatefulSet {
    /// These pods are to go. Of those that are wanted, no more may be missing then than may be, and those above are older or the
    /// new ones.
    fn may_miss(&self, world: &World, set: &Value, taken: &[&Value], seen: &mut Tally) -> Result<(), String> {
        let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0);
        let missing = (0..wanted).filter(|ordinal| !self.stands(world, *ordinal)).count();
        let useful = taken.iter().filter(|pod| is_ready(pod)).filter_map(|pod| ordinal(object::name(pod)));
        let useful: Vec<usize> = useful.filter(|ordinal| *ordinal < wanted).collect();
        let Some(lowest) = useful.iter().min() else { return Ok(()) };
        let most = self.max_unavailable;
        if missing + useful.len() > most {
            return Err(format!("web-{useful:?} are taken while {missing} are missing, and {most} may be"));
        }
        let template = image(&set["spec"]["template"]);
        let old = |ordinal: &usize| {
            let pod = self.pod(world, *ordinal).filter(|pod| is_ready(pod));
            pod.is_some_and(|pod| image(pod) != template) && !useful.contains(ordinal)
        };
        if let Some(higher) = (lowest + 1..wanted).find(old) {
            return Err(format!("web-{lowest} is taken, and web-{higher} is older and stays"));
        }
        seen.saw_if(!self.ordered, Sight::ParallelUpdate);
        Ok(())
    }

    /// What a pod has kept in its claim is there when it comes back: none is replaced, or goes before nobody wants it any more.
    fn claims_stay(&mut self, world: &World, seen: &mut Tally) -> Result<(), String> {
        let here = world.api.list("/persistentvolumeclaims");
        let here = here.filter(|claim| object::namespace(claim) == self.at.namespace);
        let now: BTreeMap<&str, &Value> = here.map(|claim| (object::name(claim), claim)).collect();
        let mut volumes = BTreeMap::new();
        for (name, claim) in &now {
            if let Some(volume) = claim["spec"]["volumeName"].as_str()
                && let Some(other) = volumes.insert(volume, name)
            {
                return Err(format!("{name} and {other} have one volume, {volume}"));
            }
        }
        for (name, before) in &self.claims {
            if now.get(name.as_str()).is_some_and(|claim| object::uid(claim) == before) {
                continue;
            }
            let ordinal = name.strip_prefix("data-").and_then(ordinal).unwrap_or(0);
            if !self.forgets || ordinal < self.lowest {
                return Err(format!("the claim {name} is gone, with what its pod kept there"));
            }
            seen.saw(Sight::ClaimGone);
        }
        self.claims =
            now.iter().map(|(name, claim)| ((*name).to_owned(), object::uid(claim).to_owned())).collect();
        Ok(())
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
        (0..VOLUMES).for_each(|number| self.offer_volume(world, number));
        let when = if self.forgets { "Delete" } else { "Retain" };
        let rolling = json!({"partition": 0, "maxUnavailable": self.max_unavailable});
        let policy = if self.ordered { "OrderedReady" } else { "Parallel" };
        world.create("user", json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": self.at.namespace},
            "spec": {
                "replicas": self.replicas, "podManagementPolicy": policy, "revisionHistoryLimit": 2, "serviceName": "web",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "selector": {"matchLabels": {"app": "x"}}, "template": template("i0"),
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": when},
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
        (self.highest, self.lowest) = (self.highest.max(self.replicas), self.lowest.min(self.replicas));
        let replicas = self.replicas;
        world.edit(("user", &format!("scales web to {replicas}")), &at, "", |web| {
            web["spec"]["replicas"] = replicas.into()
        });
    }

    fn decided(&mut self, world: &World, actions: &Actions, seen: &mut Tally) -> Result<(), String> {
        let set = decider(world, &self.at, actions).filter(|set| !object::deleting(set));
        let Some(set) = set else { return Ok(()) };
        let ordinal_of = |pod: &Value| ordinal(object::name(pod));
        for ordinal in made(actions).filter_map(ordinal_of).filter(|_| self.ordered) {
            self.may_make(world, ordinal)?;
            seen.saw(Sight::OrdinalMade);
        }
        let taken = taken(world, actions);
        for ordinal in taken.iter().filter_map(|pod| ordinal_of(pod)).filter(|_| self.ordered) {
            self.may_take(world, set, ordinal)?;
            seen.saw(Sight::OrdinalTaken);
        }
        self.may_miss(world, set, &taken, seen)
    }

    fn check(&mut self, world: &World, seen: &mut Tally) -> Result<(), String> {
        if self.ending.has_begun() {
            return Ok(());
        }
        self.claims_stay(world, seen)?;
        for pod in pods(world, &self.at.namespace) {
            let (name, uid) = (object::name(pod), object::uid(pod));
            if self.pods.get(name).is_none_or(|before| before != uid) {
                let again = self.pods.insert(name.to_owned(), uid.to_owned()).is_some();
                seen.saw_if(again && !self.forgets, Sight::ClaimKept);
            }
        }
        Ok(())
    }

    fn is_amid(&self, world: &World) -> bool {
        is_mixed(pods(world, &self.at.namespace))
    }

    fn rest(&mut self, world: &mut World) {
        // Volumes whose claims are gone are for others now.
        for number in (0..VOLUMES).filter(|_| self.forgets) {
            let (at, volume) = (self.volume(number), self.volume(number).name);
            if world.api.find(&at).is_some_and(|volume| volume["status"]["phase"] == "Released") {
                world.edit(("the administrator", &format!("empties {volume}")), &at, "", |volume| {
                    volume["spec"]["claimRef"] = Value::Null
                });
            }
        }
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
            (0..VOLUMES).for_each(|number| {
                world.delete("the administrator", &self.volume(number), Deletion::default())
            });
        }
        again
    }
}
