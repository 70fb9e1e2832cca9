//! Two ReplicaSets, or ReplicationControllers, among whose pods labels change: who has no controller gets the one that selects it, who is
//! not selected any more is let go, nobody ever has two; and neither makes or takes a pod too many.

use super::ending::Ending;
use super::{Scenario, Workload, controlled, expect, made, pods, taken, template};
use crate::api::lifecycle::{Deletion, Propagation};
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::Actions;
use crate::sim::checks::{has_ended, is_ready};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};

/// What pods may be.
const LABELS: [&str; 3] = ["a", "b", "none"];

/// Two sets.
pub struct ReplicaSets {
    sets: [Set; 2],
}

struct Set {
    at: Target,
    /// The pods that it selects are this.
    app: &'static str,
    replicas: usize,
    /// Whether its user has deleted it, and not made it again.
    goes: bool,
    ending: Ending,
}

impl ReplicaSets {
    /// With what these numbers make of them.
    pub fn new(random: &mut Random, namespace: String) -> ReplicaSets {
        let (api_version, kind) =
            if random.one_in(3) { ("v1", "ReplicationController") } else { ("apps/v1", "ReplicaSet") };
        // Sometimes both want the same pods, by mistake.
        let second = if random.one_in(4) { LABELS[0] } else { LABELS[1] };
        let sets = [("one", LABELS[0]), ("two", second)].map(|(name, app)| Set {
            at: target(api_version, kind, &namespace, name),
            app,
            replicas: random.below(4),
            goes: false,
            ending: Ending::default(),
        });
        ReplicaSets { sets }
    }

    fn namespace(&self) -> &str {
        &self.sets[0].at.namespace
    }
}

impl Set {
    fn create(&self, world: &mut World) {
        let Target { api_version, kind, namespace, name } = &self.at;
        let mut template = template("i0");
        template["metadata"]["labels"]["app"] = self.app.into();
        let labels = json!({"app": self.app});
        let selector = if *kind == "ReplicaSet" { json!({"matchLabels": labels}) } else { labels };
        world.create(
            "user",
            json!({
                "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace},
                "spec": {"replicas": self.replicas, "selector": selector, "template": template},
            }),
        );
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let Some(set) = world.api.find(&self.at) else { return expect("it was deleted", self.goes, true) };
        let mine: Vec<&Value> =
            controlled(world, "/pods", object::uid(set)).filter(|pod| !has_ended(pod)).collect();
        let ready = mine.iter().filter(|pod| is_ready(pod)).count();
        expect("pods", (ready, mine.len()), (self.replicas, self.replicas))?;
        let others = mine.iter().filter(|pod| object::label(pod, "app") != Some(self.app));
        expect("pods that it does not select", others.count(), 0)?;
        expect(
            "ready replicas that it tells",
            set["status"]["readyReplicas"].as_u64().unwrap_or(0),
            ready as u64,
        )?;
        let here = pods(world, &self.at.namespace).filter(|pod| object::label(pod, "app") == Some(self.app));
        let free = here.filter(|pod| pod["metadata"]["ownerReferences"].is_null() && !has_ended(pod));
        expect("pods that it selects and nobody controls", free.count(), 0)
    }
}

/// A set makes no pod that is not wanted, and takes none that is.
pub fn number_holds(
    world: &World,
    namespace: &str,
    actions: &Actions,
    seen: &mut Tally,
) -> Result<(), String> {
    let set = |at: &&Target| {
        ["ReplicaSet", "ReplicationController"].contains(&&*at.kind) && at.namespace == namespace
    };
    let Some(at) = actions.about.as_ref().map(|about| &about.at).filter(set) else { return Ok(()) };
    let Some(set) = world.api.find(at) else { return Ok(()) };
    let (makes, taken) = (made(actions).count(), taken(world, actions));
    let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0);
    let mine = controlled(world, "/pods", object::uid(set));
    let active = mine.filter(|pod| !object::deleting(pod) && !has_ended(pod)).count();
    let takes = taken.iter().filter(|pod| !has_ended(pod)).count();
    seen.saw_if(makes + takes > 0, Sight::SetBounds);
    let name = &at.name;
    match () {
        () if makes > 0 && object::deleting(set) => Err(format!("{name} is to go, and makes pods")),
        () if makes > 0 && active + makes > wanted => {
            Err(format!("{name} wants {wanted} pods, has {active} and makes {makes}"))
        }
        () if takes > 0 && active < wanted + takes => {
            Err(format!("{name} wants {wanted} pods, has {active} and takes {takes}"))
        }
        () => Ok(()),
    }
}

impl Workload for ReplicaSets {
    fn scenario(&self) -> Scenario {
        Scenario::ReplicaSet
    }

    fn create(&mut self, world: &mut World) {
        self.sets.iter().for_each(|set| set.create(world));
    }

    fn act(&mut self, world: &mut World) {
        let namespace = self.namespace().to_owned();
        let which = world.random.below(2);
        match world.random.below(8) {
            0..=2 => {
                let replicas = world.random.below(5);
                let set = &mut self.sets[which];
                set.replicas = replicas;
                let what = format!("scales {} to {replicas}", set.at.name);
                world.edit(("user", &what), &set.at, "", |set| set["spec"]["replicas"] = replicas.into());
            }
            3..=5 => {
                let names: Vec<String> =
                    pods(world, &namespace).map(|pod| object::name(pod).to_owned()).collect();
                let Some(name) = world.random.pick(&names).cloned() else { return };
                let app = LABELS[world.random.below(3)];
                let at = target("v1", "Pod", &namespace, &name);
                world.edit(("user", &format!("makes {name} {app}")), &at, "", |pod| {
                    pod["metadata"]["labels"]["app"] = app.into()
                });
            }
            6 => {
                let mut pod = template("i0");
                pod["apiVersion"] = "v1".into();
                pod["kind"] = "Pod".into();
                pod["metadata"] = json!({
                    "generateName": "bare-", "namespace": namespace, "labels": {"app": LABELS[world.random.below(3)]},
                });
                world.create("user", pod);
            }
            _ => {
                // It goes, its pods stay, and one like it comes.
                let set = &self.sets[which];
                let asked = Deletion { grace_seconds: None, propagation: Some(Propagation::Orphan) };
                match world.api.find(&set.at) {
                    Some(there) if object::deleting(there) => {}
                    Some(_) => world.delete("user", &set.at, asked),
                    None => set.create(world),
                }
            }
        }
    }

    fn decided(&mut self, world: &World, actions: &Actions, seen: &mut Tally) -> Result<(), String> {
        number_holds(world, self.namespace(), actions, seen)
    }

    fn rest(&mut self, world: &mut World) {
        for set in &mut self.sets {
            match world.api.find(&set.at) {
                Some(there) => set.goes = object::deleting(there),
                None => set.create(world),
            }
        }
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        self.sets
            .iter()
            .try_for_each(|set| set.settled(world).map_err(|why| format!("{}: {why}", set.at.name)))
    }

    fn end(&mut self, world: &mut World) -> bool {
        let mut again = false;
        for set in &mut self.sets {
            again |= set.ending.next(world, &set.at);
        }
        again
    }
}
