//! A Job: each success of a pod's processes counts, and once; no failure counts that was none; in the end there are as many successes
//! as were asked for, or so many failures that it may give up. Never more pods are at work than may be, nor two for one index.

use super::ending::Ending;
use super::{Scenario, Workload, controlled, decider, expect, made};
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::Actions;
use crate::sim::checks::has_ended;
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{End, World, target};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A Job.
pub struct Job {
    at: Target,
    completions: usize,
    parallelism: usize,
    indexed: bool,
    /// How many failures it bears; of each index, if so.
    limit: (usize, bool),
    replaces_failed: bool,
    forgotten_after: Option<usize>,
    /// The uid it had, and the successes and failures that it told last.
    told: (String, u64, u64),
    /// Whether it was there when it was looked at last.
    there: bool,
    /// How it ended.
    ended: Option<&'static str>,
    /// Its pods that failed, or were asked to go before they had succeeded: their uids and indexes.
    failed: BTreeMap<String, Option<String>>,
    /// Those that were at work when it had failed: it ends them, and counts them as failures, too.
    given_up: BTreeSet<String>,
    ending: Ending,
}

impl Job {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> Job {
        let at = target("batch/v1", "Job", &namespace, "work");
        let indexed = random.one_in(2);
        let limit = ([0, 1, 6, 50][random.below(4)], indexed && random.one_in(2));
        Job {
            at,
            completions: 1 + random.below(6),
            parallelism: 1 + random.below(4),
            indexed,
            limit,
            replaces_failed: random.one_in(2),
            forgotten_after: random.one_in(4).then_some(100),
            told: Default::default(),
            there: false,
            ended: None,
            failed: BTreeMap::new(),
            given_up: BTreeSet::new(),
            ending: Ending::default(),
        }
    }

    fn object(&self) -> Value {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
        let mut spec = json!({
            "completions": self.completions, "parallelism": self.parallelism,
            "completionMode": if self.indexed { "Indexed" } else { "NonIndexed" },
            "podReplacementPolicy": if self.replaces_failed { "Failed" } else { "TerminatingOrFailed" },
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        });
        let (limit, of_each) = self.limit;
        spec[if of_each { "backoffLimitPerIndex" } else { "backoffLimit" }] = limit.into();
        if let Some(seconds) = self.forgotten_after {
            spec["ttlSecondsAfterFinished"] = seconds.into();
        }
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": self.at.namespace}, "spec": spec})
    }

    /// How many successes of such pods there were: of indexes, each counts once.
    fn successes(&self, world: &World, uid: &str, such: impl Fn(&End) -> bool) -> u64 {
        let mine = world.ends.iter().filter(|end| end.success && end.owner == uid && such(end));
        match self.indexed {
            true => mine.filter_map(|end| end.index.as_deref()).collect::<BTreeSet<_>>().len() as u64,
            false => mine.count() as u64,
        }
    }
}

impl Job {
    /// Its pods at work.
    fn active<'a>(&'a self, world: &'a World, uid: &'a str) -> impl Iterator<Item = &'a Value> {
        controlled(world, "/pods", uid).filter(|pod| !object::deleting(pod) && !has_ended(pod))
    }

    fn note_failures(&mut self, world: &World, uid: &str, seen: &mut Tally) {
        let job = world.api.find(&self.at);
        let has_failed = job.is_some_and(|job| object::holds(job, "FailureTarget"));
        for pod in controlled(world, "/pods", uid).filter(|pod| pod["status"]["phase"] != "Succeeded") {
            let (uid, known) = (object::uid(pod), self.given_up.contains(object::uid(pod)));
            if (object::deleting(pod) || has_ended(pod)) && !known {
                self.failed.insert(uid.to_owned(), index(pod).map(str::to_owned));
            } else if has_failed && !self.failed.contains_key(uid) {
                self.given_up.insert(uid.to_owned());
            }
        }
        // Whom it counts as a failure for that may have succeeded between its decision and this.
        let counted = job.and_then(|job| job["status"]["uncountedTerminatedPods"]["failed"].as_array());
        for uid in counted.into_iter().flatten().filter_map(Value::as_str).filter(|_| has_failed) {
            if !self.failed.contains_key(uid) {
                self.given_up.insert(uid.to_owned());
            }
        }
        let suspended = job.is_some_and(|job| job["spec"]["suspend"] == true);
        seen.saw_if(suspended && self.active(world, uid).next().is_some(), Sight::JobSuspended);
    }

    /// It is complete with all its successes, and has failed with more failures than it bears.
    fn ends_for_a_cause(&mut self, job: &Value, told: u64, seen: &mut Tally) -> Result<(), String> {
        let ended = ["Complete", "Failed"].into_iter().find(|of| object::holds(job, of));
        let before = std::mem::replace(&mut self.ended, ended);
        if before == ended {
            return Ok(());
        }
        match (before, ended) {
            (Some(before), _) => Err(format!("it was {before}, and is {ended:?}")),
            (None, Some("Complete")) => {
                seen.saw(Sight::JobComplete);
                expect("successes of a complete Job", told, self.completions as u64)
            }
            _ => {
                seen.saw(Sight::JobFailed);
                let (limit, of_each) = self.limit;
                let mut of_index = BTreeMap::<_, usize>::new();
                for index in self.failed.values() {
                    *of_index.entry(index.as_deref().filter(|_| of_each)).or_default() += 1;
                }
                match of_index.values().any(|failures| *failures > limit) {
                    true => Ok(()),
                    false => {
                        Err(format!("it has failed without a cause: {of_index:?}, and it bears {limit}"))
                    }
                }
            }
        }
    }
}

/// Which of the completions a pod is for.
fn index(pod: &Value) -> Option<&str> {
    object::label(pod, "batch.kubernetes.io/job-completion-index")
}

impl Workload for Job {
    fn scenario(&self) -> Scenario {
        Scenario::Job
    }

    fn create(&mut self, world: &mut World) {
        world.create("user", self.object());
    }

    fn act(&mut self, world: &mut World) {
        let at = self.at.clone();
        if world.random.one_in(2) {
            let parallelism = world.random.below(5);
            let what = format!("sets parallelism of work to {parallelism}");
            return world
                .edit(("user", &what), &at, "", |job| job["spec"]["parallelism"] = parallelism.into());
        }
        let suspend = world.random.one_in(2);
        let what = format!("sets suspend of work to {suspend}");
        world.edit(("user", &what), &at, "", |job| job["spec"]["suspend"] = suspend.into());
    }

    fn decided(&mut self, world: &World, actions: &Actions, _seen: &mut Tally) -> Result<(), String> {
        let Some(job) = decider(world, &self.at, actions) else { return Ok(()) };
        let makes = made(actions).count();
        if makes == 0 {
            return Ok(());
        }
        if object::deleting(job) || job["spec"]["suspend"] == true || self.ended.is_some() {
            return Err(format!("pods are made although it goes, rests or has ended: {}", job["status"]));
        }
        let active = self.active(world, object::uid(job)).count();
        let most = job["spec"]["parallelism"].as_u64().unwrap_or(1);
        if (active + makes) as u64 > most {
            return Err(format!("{active} pods are at work, {makes} are made, and {most} may be"));
        }
        let done = self.successes(world, object::uid(job), |_| true);
        match (active + makes) as u64 + done > self.completions as u64 {
            true => Err(format!(
                "{done} have succeeded, {active} are at work and {makes} are made, for {}",
                self.completions
            )),
            false => Ok(()),
        }
    }

    fn check(&mut self, world: &World, seen: &mut Tally) -> Result<(), String> {
        let job = world.api.find(&self.at);
        let before = std::mem::replace(&mut self.there, job.is_some());
        seen.saw_if(before && job.is_none() && !self.ending.has_begun(), Sight::JobForgotten);
        let Some(job) = job else { return Ok(()) };
        let uid = object::uid(job);
        self.note_failures(world, uid, seen);
        let count = |of: &str| job["status"][of].as_u64().unwrap_or(0);
        let (told, failed) = (count("succeeded"), count("failed"));
        let (_, before, failed_before) = std::mem::replace(&mut self.told, (uid.to_owned(), told, failed));
        seen.saw_if(failed > failed_before, Sight::JobFailure);
        let (true_ones, causes) =
            (self.successes(world, uid, |_| true), (self.failed.len() + self.given_up.len()) as u64);
        let mut indexes = BTreeSet::new();
        let twice = self.active(world, uid).filter_map(index).find(|index| !indexes.insert(*index));
        match () {
            () if told < before => Err(format!("it told {before} successes, and now {told}")),
            () if told > true_ones => Err(format!("it tells {told} successes, and there were {true_ones}")),
            () if told > self.completions as u64 => {
                Err(format!("it tells {told} successes of {}", self.completions))
            }
            () if failed < failed_before => {
                Err(format!("it told {failed_before} failures, and now {failed}"))
            }
            () if failed > causes => Err(format!("it tells {failed} failures, and {causes} pods failed")),
            () if twice.is_some() => Err(format!("two pods are at work for index {twice:?}")),
            () => self.ends_for_a_cause(job, told, seen),
        }
    }

    fn is_amid(&self, world: &World) -> bool {
        let uncounted =
            world.api.find(&self.at).map_or(&Value::Null, |job| &job["status"]["uncountedTerminatedPods"]);
        ["succeeded", "failed"].iter().any(|of| uncounted[of].as_array().is_some_and(|all| !all.is_empty()))
    }

    fn rest(&mut self, world: &mut World) {
        let at = self.at.clone();
        world.edit(("user", "lets work go on"), &at, "", |job| {
            job["spec"]["suspend"] = false.into();
            job["spec"]["parallelism"] = 2.into();
        });
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let (uid, told, _) = &self.told;
        if self.ended.is_none() {
            return Err("it is neither complete nor failed".to_owned());
        }
        // Who was told as a failure, since the Job had failed, may succeed before it ends: that counts for nothing, but for an index.
        let least = self.successes(world, uid, |end| !self.given_up.contains(&end.uid));
        let most = self.successes(world, uid, |_| true);
        if !(least..=most).contains(told) {
            return Err(format!("it tells {told} successes, and there were {most}"));
        }
        let Some(job) = world.api.find(&self.at) else {
            return expect("it is gone, and was to be forgotten", self.forgotten_after.is_some(), true);
        };
        if self.forgotten_after.is_some() {
            return Err("it has ended, and was to be forgotten".to_owned());
        }
        let uncounted = &job["status"]["uncountedTerminatedPods"];
        let left = ["succeeded", "failed"].map(|field| uncounted[field].as_array().map_or(0, Vec::len));
        expect("pods that are not counted", left, [0, 0])?;
        let held =
            controlled(world, "/pods", object::uid(job)).filter(|pod| !object::finalizers(pod).is_empty());
        expect("pods that are held", held.count(), 0)
    }

    fn end(&mut self, world: &mut World) -> bool {
        self.ending.next(world, &self.at)
    }
}
