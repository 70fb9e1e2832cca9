//! A simulated cluster: API, control plane, nodes, clocks, and what goes wrong. One thing happens at a time.
//!
//! It decides nothing: which thing is next, `play` does, by the run's numbers. What happens is told to the transcript.

use super::api::{Api, Refusal};
use super::machines::{Deed, Machine, Machines, Process};
use super::plane::{Plane, Task};
use super::random::Random;
use super::transcript::Transcript;
use super::words;
use crate::api::kinds::Kinds;
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Action, Actions, Failure, Write};
use crate::control::controllers::{Now, Outcome};
use crate::control::key::{Key, Work};
use crate::pod::pretend::{self, Stage, Telling};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// When simulated time begins: some whole minute.
const BEGIN: i64 = 1_767_225_600;
/// Nodes at the beginning, and at the end.
pub const NODES: usize = 3;

/// What is in the way of the control plane.
#[derive(Debug, Default)]
pub struct Weather {
    /// The next write meets somebody else's.
    pub conflict: bool,
    /// So many creations are refused.
    pub refuse: usize,
    /// For so many steps nobody looks.
    pub nap: usize,
}

/// How a pod ended, by its processes.
#[derive(Clone, Debug)]
pub struct End {
    /// Who controlled it.
    pub owner: String,
    /// Whether it succeeded.
    pub success: bool,
    /// Its completion index.
    pub index: Option<String>,
}

/// The cluster.
pub struct World {
    /// Its API.
    pub api: Api,
    /// Its control plane.
    pub plane: Plane,
    /// Its nodes.
    pub machines: Machines,
    /// Its chance.
    pub random: Random,
    /// What happened.
    pub transcript: Transcript,
    /// What goes wrong.
    pub weather: Weather,
    /// All ends of pods that ended by themselves.
    pub ends: Vec<End>,
    /// How often something was done to pods that no controller had asked for.
    pub disturbances: usize,
    /// What controllers have decided since somebody asked.
    pub decisions: Vec<(Work, Actions)>,
    /// How many steps were taken.
    pub steps: usize,
    /// Changes of objects, but for signs of life.
    pub changes: usize,
    pub(super) wall: Timestamp,
    since: Duration,
    beat: Duration,
}

impl World {
    /// One with nodes and nothing else.
    pub fn new(kinds: &Arc<Kinds>, seed: u64, whole: bool) -> World {
        let api = Api::new(kinds);
        let mut world = World {
            plane: Plane::begin(&api),
            api,
            machines: Machines::default(),
            random: Random::new(seed),
            transcript: Transcript::new(whole),
            weather: Weather::default(),
            ends: Vec::new(),
            disturbances: 0,
            decisions: Vec::new(),
            steps: 0,
            changes: 0,
            wall: Timestamp::from_second(BEGIN).unwrap_or(Timestamp::UNIX_EPOCH),
            since: Duration::from_secs(1),
            beat: Duration::ZERO,
        };
        (0..NODES).for_each(|number| world.join(number));
        world
    }

    /// The time, by both clocks.
    pub fn now(&self) -> Now {
        Now { wall: self.wall, since: self.since }
    }

    /// Says what happened.
    pub fn tell(&mut self, line: &str) {
        let at = format!("{:>4} {:>8.3} s  {line}", self.steps, self.since.as_secs_f64());
        self.transcript.tell(&at);
    }

    /// Somebody who is no controller creates an object.
    pub fn create(&mut self, who: &str, object: Value) {
        let what = words::object(&object);
        let created = self.api.create(object, self.wall, &mut self.random);
        self.changes += 1;
        self.tell(&format!("{who} creates {what}{}", words::refusal(created.err().as_ref())));
    }

    /// Somebody who is no controller changes an object.
    pub fn edit(
        &mut self,
        (who, what): (&str, &str),
        at: &Target,
        part: &str,
        edit: impl FnOnce(&mut Value),
    ) {
        let edited = self.api.edit(at, part, &Seen::default(), edit);
        self.changes += usize::from(edited == Ok(true));
        self.tell(&format!("{who} {what}{}", words::refusal(edited.err().as_ref())));
    }

    /// Somebody who is no controller deletes an object.
    pub fn delete(&mut self, who: &str, at: &Target, asked: Deletion) {
        let how = asked.propagation.map_or_else(String::new, |how| format!(", {how:?}"));
        let deleted = self.api.delete(at, &Seen::default(), asked, self.wall);
        self.changes += 1;
        self.tell(&format!(
            "{who} deletes {}{how}{}",
            words::target(at),
            words::refusal(deleted.err().as_ref())
        ));
    }

    /// The loops of the control plane turn once: at most so many reconciliations begin.
    pub fn look(&mut self, most: usize) {
        let now = self.now();
        self.plane.look(&self.api, now);
        for _ in 0..most {
            let Some((task, actions)) = self.plane.next(&self.api, now) else { break };
            self.tell(&words::decision(task.component(), &actions));
            if let Task::Control(work) = &task {
                self.decisions.push((work.clone(), actions.clone()));
            }
            self.plane.start(task, actions);
        }
        for _ in 0..most {
            let Some(decision) = self.plane.decide(now.since) else { break };
            self.plane.deciding.push(decision);
        }
    }

    /// One of the writes that are under way is done; tells whether there was any.
    pub fn write(&mut self) -> Result<bool, String> {
        let (running, deciding) = (self.plane.under_way.len(), self.plane.deciding.len());
        if running + deciding == 0 {
            return Ok(false);
        }
        let which = self.random.below(running + deciding);
        if which >= running {
            let decision = self.plane.deciding.swap_remove(which - running);
            self.decided(decision);
            return Ok(true);
        }
        let next = self.random.below(1 << 16);
        if let Some(action) = self.plane.under_way[which].take(next) {
            let component = self.plane.under_way[which].task.component();
            let outcome = self.act(component, action)?;
            self.plane.under_way[which].came(outcome);
        }
        self.plane.settle(which);
        Ok(true)
    }

    /// A controller's write.
    fn act(&mut self, component: &str, action: Action) -> Result<Outcome, String> {
        let what = words::write(&action.write);
        let creating = matches!(action.write, Write::Create(_));
        let written = match (std::mem::take(&mut self.weather.conflict), creating && self.weather.refuse > 0)
        {
            (true, _) => Err(Refusal::Conflict),
            (_, true) => {
                self.weather.refuse -= 1;
                Err(Refusal::Exists)
            }
            _ => self.do_write(action.write),
        };
        self.tell(&format!("{component} {what}{}", words::refusal(written.as_ref().err())));
        let mut outcome = Outcome::default();
        match written {
            Ok(changed) => outcome.changed = changed,
            Err(Refusal::Gone) => {}
            Err(Refusal::Conflict) => outcome.conflict = true,
            Err(Refusal::Exists) => {
                outcome.failure = Some(Failure { creating, message: "refused".to_owned() })
            }
            Err(Refusal::Invalid(why)) => {
                return Err(format!("{component} {what}, which the API refuses: {why}"));
            }
        }
        self.changes += usize::from(outcome.changed);
        Ok(outcome)
    }

    pub(super) fn do_write(&mut self, write: Write) -> Result<bool, Refusal> {
        match write {
            Write::Create(object) => self.api.create(object, self.wall, &mut self.random).map(|_| true),
            Write::Edit { at, part, seen, edit } => {
                self.api.edit(&at, part, &seen, |object| edit.apply(object))
            }
            Write::Delete { at, seen, propagation } => {
                let asked = Deletion { grace_seconds: None, propagation };
                self.api.delete(&at, &seen, asked, self.wall)
            }
            Write::Remove { at, seen } => {
                let asked = Deletion { grace_seconds: Some(0), propagation: None };
                self.api.delete(&at, &seen, asked, self.wall)
            }
        }
    }

    /// The control plane ends where it is, and another one begins.
    pub fn restart(&mut self) {
        self.plane = Plane::begin(&self.api);
        self.tell("the control plane is killed, and started again");
    }

    /// A node does something for one of its pods; tells whether anybody had anything to do.
    pub fn deed(&mut self) -> bool {
        let due = self.machines.due(&self.api, self.since);
        let which = self.random.below(due.len());
        let Some((node, uid, key, deed)) = due.into_iter().nth(which) else { return false };
        let at = pod(&key);
        let Some(machine) = self.machines.0.get_mut(&node) else { return false };
        let stage = match deed {
            Deed::For(pretend::Deed::Begin) => {
                let slow_until = Duration::ZERO;
                let process = Process { key, stage: Stage::Starting, restarts: 0, slow_until };
                machine.processes.insert(uid.clone(), process);
                Stage::Starting
            }
            Deed::For(pretend::Deed::Advance(stage)) => stage,
            Deed::For(pretend::Deed::End) => Stage::Ended(143),
            Deed::Kill => {
                machine.processes.remove(&uid);
                self.tell(&format!("{node} ends {key}, which the API does not have"));
                return true;
            }
            Deed::For(pretend::Deed::Remove) => {
                machine.processes.remove(&uid);
                self.delete(&node, &at, Deletion { grace_seconds: Some(0), propagation: None });
                return true;
            }
        };
        self.advance(&node, &uid, &at, stage);
        true
    }

    /// A pod's processes come to another stage, and its node says so.
    pub fn advance(&mut self, node: &str, uid: &str, at: &Target, stage: Stage) {
        let Some(machine) = self.machines.0.get_mut(node) else { return };
        let number = machine.number;
        let process = machine.processes.get_mut(uid).map(|process| {
            process.stage = stage;
            process.restarts
        });
        if let (Stage::Ended(code), Some(pod)) = (stage, self.api.find(at))
            && !object::deleting(pod)
        {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owner =
                owners.filter_map(|owner| owner["uid"].as_str()).next().unwrap_or_default().to_owned();
            let index = object::label(pod, "batch.kubernetes.io/job-completion-index").map(str::to_owned);
            self.ends.push(End { owner, success: code == 0, index });
        }
        let now = object::time(self.wall.into());
        let address = format!("100.64.{number}.{}", 2 + self.changes % 250);
        let host = format!("100.64.{number}.1");
        let (host, now) = (host.as_str(), now.as_str());
        let tell = |pod: &mut Value| {
            let known = pod["status"]["podIP"].as_str().map_or_else(|| address.clone(), str::to_owned);
            let telling = Telling { stage, restarts: process.unwrap_or(0), address: &known, host, now };
            pod["status"] = pretend::status(pod, &telling);
        };
        self.edit((node, &format!("has {} {stage:?}", words::target(at))), at, "status", tell);
    }

    /// Time passes, and nodes show that they live.
    pub fn pass(&mut self, span: Duration) {
        self.since += span;
        self.wall =
            self.wall.checked_add(SignedDuration::try_from(span).unwrap_or_default()).unwrap_or(self.wall);
        self.beat();
    }

    /// The wall clock jumps; the other does not.
    pub fn jump(&mut self, seconds: i64) {
        self.wall = self.wall.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(self.wall);
        self.tell(&format!("the wall clock jumps by {seconds} s"));
    }

    fn beat(&mut self) {
        if self.since.saturating_sub(self.beat) < crate::limits::LEASE_RENEWAL {
            return;
        }
        self.beat = self.since;
        let alive = self.machines.0.iter().filter(|(_, machine)| !machine.silent);
        let alive: Vec<(String, usize)> =
            alive.map(|(name, machine)| (name.clone(), machine.number)).collect();
        for (name, number) in alive {
            self.renew(&name, number);
        }
    }

    /// A node shows that it lives: by its lease, and by its conditions if somebody has given it up.
    pub fn renew(&mut self, name: &str, number: usize) {
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": object::micro_time(self.wall.into())});
        let (api_version, kind) = ("coordination.k8s.io/v1", "Lease");
        let namespace = crate::api::objects::NODE_LEASES;
        let at = target(api_version, kind, namespace, name);
        let renewed = self.api.edit(&at, "", &Seen::default(), |lease| lease["spec"] = spec.clone());
        if renewed == Err(Refusal::Gone) {
            let lease = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
            // It is not there: nobody else makes it.
            let _ = self.api.create(lease, self.wall, &mut self.random);
        }
        let fresh = fresh_node(name, number, self.wall);
        let (conditions, ready) = (&fresh["status"]["conditions"], |node: &Value| is_ready(node));
        let node = target("v1", "Node", "", name);
        if self.api.find(&node).is_some_and(|node| !ready(node)) {
            let conditions = conditions.clone();
            self.edit((name, "says that it is ready"), &node, "status", |node| {
                node["status"]["conditions"] = conditions
            });
        }
    }

    /// A node comes.
    pub fn join(&mut self, number: usize) {
        let name = format!("node-{number}");
        if self.machines.0.contains_key(&name) {
            return;
        }
        let node = fresh_node(&name, number, self.wall);
        self.create("the cloud", node);
        self.machines.0.insert(name.clone(), Machine { number, ..Machine::default() });
        self.renew(&name, number);
    }

    /// A node goes, with all that runs there.
    pub fn leave(&mut self, name: &str) {
        if self.machines.0.remove(name).is_some() {
            self.disturbances += 1;
            self.delete("the cloud", &target("v1", "Node", "", name), Deletion::default());
        }
    }
}

fn fresh_node(name: &str, number: usize, now: Timestamp) -> Value {
    pretend::node(name, &format!("100.64.{number}.1"), &object::time(now.into()))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// A pod, in the words in which it is written to.
pub fn pod(key: &Key) -> Target {
    target("v1", "Pod", key.namespace(), key.name())
}

/// An object, in the words in which it is written to.
pub fn target(api_version: &'static str, kind: &'static str, namespace: &str, name: &str) -> Target {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Target { api_version: api_version.into(), kind: kind.into(), namespace, name }
}
