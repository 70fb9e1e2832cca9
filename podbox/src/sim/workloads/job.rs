//! A Job: each success of a pod's processes counts once, and in the end there are as many as were asked for, or it says why not.

use super::ending::Ending;
use super::{Scenario, Workload, controlled, expect};
use crate::api::object;
use crate::api::objects::Target;
use crate::sim::random::Random;
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
    /// The uid it had, and the successes that it told last.
    told: (String, u64),
    ending: Ending,
}

impl Job {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> Job {
        let at = target("batch/v1", "Job", &namespace, "work");
        let indexed = random.one_in(2);
        let limit = ([6, 1, 50][random.below(3)], indexed && random.one_in(2));
        Job {
            at,
            completions: 1 + random.below(6),
            parallelism: 1 + random.below(4),
            indexed,
            limit,
            replaces_failed: random.one_in(2),
            forgotten_after: random.one_in(4).then_some(100),
            told: Default::default(),
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

    fn holds(job: &Value, of: &str) -> bool {
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == of && one["status"] == "True")
    }

    /// How many successes of its pods there were: of indexes, each counts once.
    fn successes(&self, world: &World, uid: &str) -> u64 {
        let mine = world.ends.iter().filter(|end| end.success && end.owner == uid);
        match self.indexed {
            true => mine.filter_map(|end| end.index.as_deref()).collect::<BTreeSet<_>>().len() as u64,
            false => mine.count() as u64,
        }
    }
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

    fn check(&mut self, world: &World) -> Result<(), String> {
        let Some(job) = world.api.find(&self.at) else { return Ok(()) };
        let (uid, told) = (object::uid(job), job["status"]["succeeded"].as_u64().unwrap_or(0));
        let before = if self.told.0 == uid { self.told.1 } else { 0 };
        self.told = (uid.to_owned(), told);
        let true_ones = self.successes(world, uid);
        match () {
            () if told < before => Err(format!("it told {before} successes, and now {told}")),
            () if told > true_ones => Err(format!("it tells {told} successes, and there were {true_ones}")),
            () if told > self.completions as u64 => {
                Err(format!("it tells {told} successes of {}", self.completions))
            }
            () => Ok(()),
        }
    }

    fn rest(&mut self, world: &mut World) {
        let at = self.at.clone();
        world.edit(("user", "lets work go on"), &at, "", |job| {
            job["spec"]["suspend"] = false.into();
            job["spec"]["parallelism"] = 2.into();
        });
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let Some(job) = world.api.find(&self.at) else {
            return expect("it is gone, and was to be forgotten", self.forgotten_after.is_some(), true);
        };
        let (complete, failed) = (Job::holds(job, "Complete"), Job::holds(job, "Failed"));
        if complete == failed {
            return Err(format!("it is neither complete nor failed, or both: {}", job["status"]));
        }
        if self.forgotten_after.is_some() {
            return Err("it has ended, and was to be forgotten".to_owned());
        }
        if complete {
            let told = job["status"]["succeeded"].as_u64();
            expect("successes of a complete Job", told, Some(self.completions as u64))?;
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
