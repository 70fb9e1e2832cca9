//! A simulated cluster: API, control plane, nodes, clocks, and what goes wrong. One thing happens at a time.
//!
//! It decides nothing: which thing is next, `play` does, by the run's numbers. What happens is told to the transcript.

use super::api::Api;
use super::machines::{Deed, Machines, Process};
use super::plane::Plane;
use super::random::Random;
use super::sights::{Sight, Tally};
use super::story::{self, Line};
use super::transcript::Transcript;
use super::words;
use crate::api::kinds::Kinds;
use crate::api::lifecycle::Deletion;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use crate::control::action::{Actions, Saying, Subject};
use crate::control::controllers::Now;
use crate::control::job;
use crate::control::key::Key;
use crate::pod::pretend::{self, Stage, Telling};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// When simulated time begins: some whole minute.
const BEGIN: i64 = 1_767_225_600;
/// What the clock that does not jump shows then.
const START: Duration = Duration::from_secs(1);
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

/// How a pod of a Job ended, by its processes.
#[derive(Clone, Debug)]
pub struct End {
    /// The pod.
    pub uid: String,
    /// The Job.
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
    /// All ends of pods of Jobs that ended by themselves.
    pub ends: Vec<End>,
    /// How often something was done to pods or nodes that no workload's controller had asked for.
    pub disturbances: usize,
    /// How often what was seen.
    pub tally: Tally,
    /// What is done to all decisions.
    #[cfg(test)]
    pub bug: Option<super::bugs::Bug>,
    /// What people would be told, if somebody wants to know.
    pub story: Option<Vec<Line>>,
    /// What controllers have decided since somebody asked.
    pub decisions: Vec<Actions>,
    /// How many steps were taken.
    pub steps: usize,
    /// Changes of objects, but for signs of life.
    pub changes: usize,
    /// By how much the wall clock was set back, in all: who compares with what was written before waits for as long.
    pub set_back: Duration,
    pub(super) wall: Timestamp,
    pub(super) since: Duration,
    /// When nodes showed last that they live.
    pub(super) beat: Duration,
}

impl World {
    /// One with nodes and nothing else.
    pub fn new(kinds: &Arc<Kinds>, seed: u64, whole: bool) -> World {
        let mut world = World::empty(kinds, seed, whole);
        for number in 0..NODES {
            world.join(number);
        }
        world
    }

    /// One with nothing.
    pub fn empty(kinds: &Arc<Kinds>, seed: u64, whole: bool) -> World {
        let api = Api::new(kinds);
        World {
            plane: Plane::begin(&api),
            api,
            machines: Machines::default(),
            random: Random::new(seed),
            transcript: Transcript::new(whole),
            weather: Weather::default(),
            ends: Vec::new(),
            disturbances: 0,
            tally: Tally::default(),
            #[cfg(test)]
            bug: None,
            story: None,
            decisions: Vec::new(),
            steps: 0,
            changes: 0,
            set_back: Duration::ZERO,
            wall: Timestamp::from_second(BEGIN).unwrap_or(Timestamp::UNIX_EPOCH),
            since: START,
            beat: Duration::ZERO,
        }
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

    /// Tells people what happened.
    pub fn relate(&mut self, who: &str, what: &str) {
        let at = self.since.saturating_sub(START);
        if let Some(story) = &mut self.story {
            story.push(Line { at, who: who.to_owned(), what: what.to_owned() });
        }
    }

    /// Tells people what a controller says of an object.
    pub fn say(&mut self, about: Option<&Subject>, saying: &Saying, of: &str) {
        if let Some(about) = saying.of.as_deref().or(about) {
            self.relate(&story::name(&about.at.kind, &about.at.name), &story::saying(saying, of));
        }
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

    /// A node says something of itself, or of a pod.
    pub fn told(&mut self, (who, what): (&str, &str), at: &Target, tell: impl FnOnce(&mut Value)) {
        let told = self.api.tell(at, tell);
        self.changes += usize::from(told == Ok(true));
        self.tell(&format!("{who} {what}{}", words::refusal(told.err().as_ref())));
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
        let (now, lost) = (self.now(), self.plane.lost);
        self.plane.look(&self.api, now);
        self.tally.saw_if(self.plane.lost > lost, Sight::Lost);
        for _ in 0..most {
            let Some((task, actions)) = self.plane.next(&self.api, now) else { break };
            #[cfg(test)]
            let actions = self.spoiled(&task, actions);
            self.tell(&words::decision(task.component(), &actions));
            actions.said.iter().for_each(|said| self.say(actions.about.as_ref(), said, ""));
            self.decisions.push(actions.clone());
            self.plane.start(&self.api, task, actions);
        }
        for _ in 0..most {
            let Some(decision) = self.plane.decide(now.since) else { break };
            self.plane.deciding.push(decision);
        }
    }

    #[cfg(test)]
    fn spoiled(&mut self, task: &super::plane::Task, actions: Actions) -> Actions {
        match self.bug {
            Some(bug) => bug.spoil(&self.api, task, actions, &mut self.random),
            None => actions,
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
        self.write_of(which, next)?;
        Ok(true)
    }

    /// The oldest of the writes that are under way is done; tells whether there was any.
    pub fn write_oldest(&mut self) -> Result<bool, String> {
        if !self.plane.under_way.is_empty() {
            self.write_of(0, 0)?;
            return Ok(true);
        }
        let decision = (!self.plane.deciding.is_empty()).then(|| self.plane.deciding.remove(0));
        let any = decision.is_some();
        decision.into_iter().for_each(|decision| self.decided(decision));
        Ok(any)
    }

    /// One of the writes of a decision that is under way is done.
    fn write_of(&mut self, which: usize, next: usize) -> Result<(), String> {
        if let Some(due) = self.plane.under_way[which].take(next) {
            let running = &self.plane.under_way[which];
            let (component, about) = (running.task.component(), running.about.clone());
            let outcome = self.act(component, about.as_ref(), due)?;
            self.plane.under_way[which].came(outcome);
        }
        self.plane.settle(which);
        Ok(())
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
        let due = due.into_iter().nth(which);
        let any = due.is_some();
        due.into_iter().for_each(|(node, uid, key, deed)| self.perform(&node, &uid, &key, deed));
        any
    }

    /// A node does this for one of its pods.
    pub fn perform(&mut self, node: &str, uid: &str, key: &Key, deed: Deed) {
        let at = pod(key);
        let Some(machine) = self.machines.0.get_mut(node) else { return };
        let stage = match deed.clone() {
            Deed::For(pretend::Deed::Begin) => {
                let slow_until = Duration::ZERO;
                let process = Process { key: key.clone(), stage: Stage::Starting, restarts: 0, slow_until };
                machine.processes.insert(uid.to_owned(), process);
                Stage::Starting
            }
            Deed::For(pretend::Deed::Advance(stage)) => stage,
            Deed::For(pretend::Deed::End) => Stage::Ended(143),
            Deed::Kill => {
                machine.processes.remove(uid);
                self.tell(&format!("{node} ends {key}, which the API does not have"));
                return self.relate(&story::name("Pod", key.name()), "ends, since the API has forgotten it");
            }
            Deed::For(pretend::Deed::Remove) => {
                machine.processes.remove(uid);
                self.delete(node, &at, Deletion { grace_seconds: Some(0), propagation: None });
                let gone = if self.api.find(&at).is_none() { "is gone" } else { "has ended, and is held" };
                return self.relate(&story::name("Pod", key.name()), gone);
            }
        };
        match stage {
            Stage::Ready => self.relate(&story::name("Pod", key.name()), "is ready"),
            Stage::Ended(code) if deed != Deed::For(pretend::Deed::End) => {
                self.relate(&story::name("Pod", key.name()), &format!("ends with {code}"));
            }
            _ => {}
        }
        self.advance(node, uid, &at, stage);
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
            // A Job that lets a pod go first wants to know nothing of its end.
            && job::holds(pod)
        {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owner =
                owners.filter_map(|owner| owner["uid"].as_str()).next().unwrap_or_default().to_owned();
            let index = object::label(pod, "batch.kubernetes.io/job-completion-index").map(str::to_owned);
            let uid = uid.to_owned();
            self.ends.push(End { uid, owner, success: code == 0, index });
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
        self.told((node, &format!("has {} {stage:?}", words::target(at))), at, tell);
    }
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
