//! What may be in a simulated cluster: a workload, what its user does to it, and what must hold of it: after each step, for each
//! decision about it, and once nothing goes wrong any more.

mod cronjob;
mod daemonset;
mod deployment;
mod ending;
mod job;
mod replicaset;
mod spread;
mod statefulset;

use super::checks;
use super::sights::Tally;
use super::world::World;
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Actions, Write};
use serde_json::{Value, json};

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Two ReplicaSets, or ReplicationControllers, among whose pods labels change.
    ReplicaSet,
    /// A Deployment behind a Service.
    Deployment,
    /// A StatefulSet with claims.
    StatefulSet,
    /// A DaemonSet on some nodes.
    DaemonSet,
    /// A Job.
    Job,
    /// A CronJob.
    CronJob,
    /// A Deployment whose pods must not share nodes.
    Spread,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 7] = [
        Scenario::ReplicaSet,
        Scenario::Deployment,
        Scenario::StatefulSet,
        Scenario::DaemonSet,
        Scenario::Job,
        Scenario::CronJob,
        Scenario::Spread,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::ReplicaSet => "replicaset",
            Scenario::Deployment => "deployment",
            Scenario::StatefulSet => "statefulset",
            Scenario::DaemonSet => "daemonset",
            Scenario::Job => "job",
            Scenario::CronJob => "cronjob",
            Scenario::Spread => "spread",
        }
    }

    /// A workload of this kind, with what its numbers make of it, in a namespace of its own.
    pub fn begin(self, world: &mut World, namespace: String) -> Box<dyn Workload> {
        let random = &mut world.random;
        match self {
            Scenario::ReplicaSet => Box::new(replicaset::ReplicaSets::new(random, namespace)),
            Scenario::Deployment => Box::new(deployment::Deployment::new(random, namespace)),
            Scenario::StatefulSet => Box::new(statefulset::StatefulSet::new(random, namespace)),
            Scenario::DaemonSet => Box::new(daemonset::DaemonSet::new(random, namespace)),
            Scenario::Job => Box::new(job::Job::new(random, namespace)),
            Scenario::CronJob => Box::new(cronjob::CronJob::new(random, namespace)),
            Scenario::Spread => Box::new(spread::Spread::new(random, namespace)),
        }
    }
}

/// A workload.
pub trait Workload {
    /// Its kind.
    fn scenario(&self) -> Scenario;

    /// Its user creates it.
    fn create(&mut self, world: &mut World);

    /// Its user does something to it.
    fn act(&mut self, world: &mut World);

    /// What must hold of a decision, in the world in which it was made: of any controller, about anything (see [`decider`]).
    fn decided(&mut self, _world: &World, _decision: &Actions, _seen: &mut Tally) -> Result<(), String> {
        Ok(())
    }

    /// What must hold after each step.
    fn check(&mut self, _world: &World, _seen: &mut Tally) -> Result<(), String> {
        Ok(())
    }

    /// Whether something is half done, so that it is worth a restart.
    fn is_amid(&self, _world: &World) -> bool {
        false
    }

    /// Its user wants it done.
    fn rest(&mut self, _world: &mut World) {}

    /// What must hold once nothing goes wrong and nothing is left to do.
    fn settled(&self, world: &World) -> Result<(), String>;

    /// Its user deletes it, or what is left of it; tells whether there may be more, later.
    fn end(&mut self, world: &mut World) -> bool;
}

/// A template of pods that are `app=x`.
fn template(image: &str) -> Value {
    let container = json!({"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}});
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}})
}

fn image(object: &Value) -> &str {
    object["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Another image for the pods of a template.
fn change_image(world: &mut World) -> impl FnOnce(&mut Value) + use<> {
    let image = format!("i{}", world.random.below(4));
    move |object: &mut Value| object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
}

/// The pods of a namespace.
fn pods<'a>(world: &'a World, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
    world.api.list("/pods").filter(move |pod| object::namespace(pod) == namespace)
}

/// Those that are an object's own.
fn controlled<'a>(world: &'a World, collection: &'a str, uid: &'a str) -> impl Iterator<Item = &'a Value> {
    world.api.list(collection).filter(move |object| checks::controller(object) == Some(uid))
}

/// The names and images of the pods of a namespace that are selected, ready and to stay.
fn ready(world: &World, namespace: &str) -> Vec<String> {
    let ready = pods(world, namespace).filter(|pod| object::label(pod, "app") == Some("x"));
    let ready = ready.filter(|pod| checks::is_ready(pod));
    ready.map(|pod| format!("{} {}", object::name(pod), image(pod))).collect()
}

/// Whether pods of several images are at work, as in the middle of an update.
fn is_mixed<'a>(pods: impl Iterator<Item = &'a Value>) -> bool {
    let mut images = pods.filter(|pod| !object::deleting(pod) && !checks::has_ended(pod)).map(image);
    images.next().is_some_and(|first| images.any(|other| other != first))
}

/// An object, if it is the one that a decision is about.
fn decider<'a>(world: &'a World, at: &Target, decision: &Actions) -> Option<&'a Value> {
    decision.about.as_ref().filter(|about| about.at == *at).and_then(|_| world.api.find(at))
}

/// The pods that are to be made.
fn made(actions: &Actions) -> impl Iterator<Item = &Value> {
    actions.actions.iter().filter_map(|action| match &action.write {
        Write::Create(pod) if pod["kind"] == "Pod" => Some(pod),
        _ => None,
    })
}

/// The pods that are to go, as they are now.
fn taken<'a>(world: &'a World, actions: &Actions) -> Vec<&'a Value> {
    let pods = actions.actions.iter().filter_map(|action| match &action.write {
        Write::Delete { at, .. } if at.kind == "Pod" => world.api.find(at),
        _ => None,
    });
    pods.filter(|pod| !object::deleting(pod)).collect()
}

/// Refuses what is not as it should be.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, and not {expected:?}")),
    }
}
