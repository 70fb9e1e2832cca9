//! Deliberate bugs, by which tests show that the checks bite. What a controller wants is data, so a bug is a function of it: it lies
//! between controllers that are right and an API that is.

use super::api::Api;
use super::plane::Task;
use super::random::Random;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Action, Actions, Edit, Write};
use crate::control::key::Work;
use serde_json::{Value, json};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Some decisions are not carried out, and are never made again unless something changes: as where a change wakes nobody.
    ForgetsDecisions,
    /// Some statuses are not written.
    ForgetsStatuses,
    /// Each pod is made twice.
    MakesTwice,
    /// With a pod, another one of the same controller goes.
    TakesAnother,
    /// With a pod that is made, another one goes.
    MakesAndTakes,
    /// A Deployment's ReplicaSets get a pod more.
    ScalesTooFar,
    /// Nothing is let go.
    KeepsAll,
    /// Instead of a pod of a StatefulSet the one before it goes.
    TakesTheOneBefore,
    /// Instead of a pod of a StatefulSet the one after it is made.
    MakesTheOneAfter,
    /// A Job counts its successes once more.
    CountsOnceMore,
    /// A Job counts a success less.
    CountsOneLess,
    /// A Job counts each failure twice.
    FailsTwice,
    /// A Job begins a pod more.
    BeginsOneMore,
    /// A CronJob begins its Job twice.
    StartsTwice,
    /// Owners go without their dependents.
    LeavesGarbage,
    /// Claims go with their pods.
    TakesClaims,
    /// Who is adopted gets this owner instead of all others.
    AdoptsTwice,
    /// Writes do not say for which object of a name they are, nor as what it was seen.
    IgnoresPreconditions,
    /// Writes say only for which object they are.
    ForgetsRevisions,
}

impl Bug {
    /// What a controller wants, as this bug has it.
    pub fn spoil(self, api: &Api, task: &Task, mut actions: Actions, random: &mut Random) -> Actions {
        let Task::Control(work) = task else { return actions };
        let all = &mut actions.actions;
        match self {
            Bug::ForgetsDecisions if random.one_in(8) => all.clear(),
            Bug::ForgetsStatuses => all.retain(|action| part(&action.write) != "status" || !random.one_in(4)),
            Bug::MakesTwice => {
                let more: Vec<_> = all.iter().filter(|action| makes(&action.write, "Pod")).cloned().collect();
                all.extend(more);
            }
            Bug::BeginsOneMore if matches!(work, Work::Job(_)) => {
                let more: Vec<_> = all.iter().filter(|action| makes(&action.write, "Pod")).take(1).cloned().collect();
                all.extend(more);
            }
            Bug::TakesAnother => {
                let taken: Vec<String> = all.iter().filter_map(|action| takes(&action.write)).collect();
                all.extend(taken.iter().filter_map(|name| sibling(api, name, &taken)).map(delete));
            }
            Bug::MakesAndTakes => {
                let owners = all.iter().filter_map(|action| match &action.write {
                    Write::Create(pod) if pod["kind"] == "Pod" => controller(pod),
                    _ => None,
                });
                let other = owners.filter_map(|owner| {
                    api.list("/pods").find(|pod| controller(pod) == Some(owner) && !object::deleting(pod))
                });
                let more: Vec<_> = other.map(at).map(delete).collect();
                all.extend(more);
            }
            Bug::ScalesTooFar if matches!(work, Work::Deployment(_)) => {
                each_merge(all, |patch| add(&mut patch["spec"], "replicas", 1));
            }
            Bug::KeepsAll => all.retain(
                |action| !matches!(&action.write, Write::Edit { edit: Edit::Disown(_), at, .. } if at.kind == "Pod"),
            ),
            Bug::TakesTheOneBefore if matches!(work, Work::StatefulSet(_)) => all.iter_mut().for_each(|action| {
                if let Write::Delete { at, seen, .. } = &mut action.write {
                    (at.name, *seen) = (shift(&at.name, -1), Seen::default());
                }
            }),
            Bug::MakesTheOneAfter if matches!(work, Work::StatefulSet(_)) => all.iter_mut().for_each(|action| {
                if let Write::Create(pod) = &mut action.write
                    && pod["kind"] == "Pod"
                {
                    let name = shift(object::name(pod), 1);
                    object::set(pod, "name", name);
                }
            }),
            Bug::CountsOnceMore => each_merge(all, |patch| add(&mut patch["status"], "succeeded", 1)),
            Bug::CountsOneLess if random.one_in(3) => {
                each_merge(all, |patch| add(&mut patch["status"], "succeeded", -1));
            }
            Bug::FailsTwice => each_merge(all, |patch| add(&mut patch["status"], "failed", 1)),
            Bug::StartsTwice if matches!(work, Work::CronJob(_)) => {
                let jobs = all.iter().filter(|action| makes(&action.write, "Job")).cloned();
                let mut more: Vec<Action> = jobs.collect();
                for action in &mut more {
                    if let Write::Create(job) = &mut action.write {
                        object::set(job, "name", format!("{}-again", object::name(job)));
                    }
                }
                all.extend(more);
            }
            Bug::LeavesGarbage if matches!(work, Work::Garbage(_)) => {
                all.retain(|action| !matches!(action.write, Write::Delete { .. }));
            }
            Bug::AdoptsTwice => all.iter_mut().for_each(|action| {
                if let Write::Edit { edit, .. } = &mut action.write
                    && let Edit::Adopt(owner) | Edit::AdoptHeld(owner, _) = edit
                {
                    *edit = Edit::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
                }
            }),
            Bug::IgnoresPreconditions => all.iter_mut().filter_map(seen).for_each(|seen| *seen = Seen::default()),
            Bug::ForgetsRevisions => all.iter_mut().filter_map(seen).for_each(|seen| seen.revision = None),
            Bug::TakesClaims if matches!(work, Work::StatefulSet(_)) => {
                let claims = all.iter().filter_map(|action| match &action.write {
                    Write::Delete { at, .. } if at.kind == "Pod" => Some(Target {
                        kind: "PersistentVolumeClaim".into(),
                        name: format!("data-{}", at.name),
                        ..at.clone()
                    }),
                    _ => None,
                });
                let more: Vec<_> = claims.map(delete).collect();
                all.extend(more);
            }
            _ => {}
        }
        actions
    }
}

fn seen(action: &mut Action) -> Option<&mut Seen> {
    match &mut action.write {
        Write::Create(_) => None,
        Write::Edit { seen, .. } | Write::Delete { seen, .. } | Write::Remove { seen, .. } => Some(seen),
    }
}

fn part(write: &Write) -> &str {
    if let Write::Edit { part, .. } = write { part } else { "" }
}

fn makes(write: &Write, kind: &str) -> bool {
    matches!(write, Write::Create(new) if new["kind"] == kind)
}

fn takes(write: &Write) -> Option<String> {
    match write {
        Write::Delete { at, .. } if at.kind == "Pod" => Some(at.name.clone()),
        _ => None,
    }
}

fn controller(pod: &Value) -> Option<&str> {
    pod["metadata"]["ownerReferences"][0]["uid"].as_str()
}

/// Another pod of the same controller.
fn sibling(api: &Api, name: &str, taken: &[String]) -> Option<Target> {
    let owner = api.list("/pods").find(|pod| object::name(pod) == name).and_then(controller)?;
    let mut others = api.list("/pods").filter(|pod| controller(pod) == Some(owner) && !object::deleting(pod));
    others.find(|pod| !taken.iter().any(|name| name == object::name(pod))).map(at)
}

fn at(pod: &Value) -> Target {
    super::world::target("v1", "Pod", object::namespace(pod), object::name(pod))
}

fn delete(at: Target) -> Action {
    Write::Delete { at, seen: Seen::default(), propagation: None }.into()
}

fn each_merge(actions: &mut [Action], change: impl Fn(&mut Value)) {
    for action in actions {
        if let Write::Edit { edit: Edit::Merge(patch), .. } = &mut action.write {
            change(patch);
        }
    }
}

fn add(object: &mut Value, field: &str, more: i64) {
    if let Some(number) = object.get(field).and_then(Value::as_i64) {
        object[field] = (number + more).max(0).into();
    }
}

/// The name of another ordinal.
fn shift(name: &str, by: i64) -> String {
    let Some((base, ordinal)) = name.rsplit_once('-') else { return name.to_owned() };
    format!("{base}-{}", (ordinal.parse::<i64>().unwrap_or(0) + by).max(0))
}
