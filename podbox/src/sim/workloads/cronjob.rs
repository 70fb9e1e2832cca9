//! A CronJob: of each minute there is one Job at most, ever; and what its concurrency policy and its history limits say holds.

use super::ending::Ending;
use super::{Scenario, Workload, controlled, decider, expect};
use crate::api::object;
use crate::api::objects::Target;
use crate::control::action::{Actions, Write};
use crate::sim::random::Random;
use crate::sim::sights::{Sight, Tally};
use crate::sim::world::{World, target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// When a Job was meant to begin.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A CronJob.
pub struct CronJob {
    at: Target,
    policy: &'static str,
    deadline: Option<u64>,
    /// The Job that was made for each time.
    made: BTreeMap<String, String>,
    ending: Ending,
}

impl CronJob {
    /// With what these numbers make of it.
    pub fn new(random: &mut Random, namespace: String) -> CronJob {
        let at = target("batch/v1", "CronJob", &namespace, "tick");
        let policy = ["Allow", "Forbid", "Replace"][random.below(3)];
        let deadline = random.one_in(2).then_some(30);
        CronJob { at, policy, deadline, made: BTreeMap::new(), ending: Ending::default() }
    }

    fn jobs<'a>(&'a self, world: &'a World) -> impl Iterator<Item = &'a Value> {
        world.api.list("batch/jobs").filter(|job| object::namespace(job) == self.at.namespace)
    }
}

fn has_ended(job: &Value) -> bool {
    object::holds(job, "Complete") || object::holds(job, "Failed")
}

impl Workload for CronJob {
    fn scenario(&self) -> Scenario {
        Scenario::CronJob
    }

    fn create(&mut self, world: &mut World) {
        let container = json!({"name": "c", "image": "i"});
        let template = json!({"spec": {"restartPolicy": "OnFailure", "containers": [container]}});
        let mut spec = json!({
            "schedule": "* * * * *", "concurrencyPolicy": self.policy, "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 1, "jobTemplate": {"spec": {"template": template}},
        });
        if let Some(seconds) = self.deadline {
            spec["startingDeadlineSeconds"] = seconds.into();
        }
        let metadata = json!({"name": "tick", "namespace": self.at.namespace});
        world.create(
            "user",
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}),
        );
    }

    fn act(&mut self, world: &mut World) {
        let at = self.at.clone();
        if world.random.one_in(2) {
            return world.pass(Duration::from_secs(45));
        }
        let suspend = world.random.one_in(3);
        let what = format!("sets suspend of tick to {suspend}");
        world.edit(("user", &what), &at, "", |tick| tick["spec"]["suspend"] = suspend.into());
    }

    fn decided(&mut self, world: &World, actions: &Actions, seen: &mut Tally) -> Result<(), String> {
        let Some(tick) = decider(world, &self.at, actions) else { return Ok(()) };
        let begun = actions.actions.iter().find_map(|action| match &action.write {
            Write::Create(job) if job["kind"] == "Job" => Some(job),
            _ => None,
        });
        seen.saw_if(actions.said.iter().any(|said| said.reason == "JobAlreadyActive"), Sight::CronForbidden);
        let Some(begun) = begun else { return Ok(()) };
        seen.saw(Sight::CronBegun);
        if tick["spec"]["suspend"] == true || object::deleting(tick) {
            return Err("a Job is begun while it is suspended, or to go".to_owned());
        }
        let meant = begun["metadata"]["annotations"][SCHEDULED].as_str().and_then(object::read_time);
        let late = meant.and_then(|meant| SystemTime::from(world.now().wall).duration_since(meant).ok());
        match (late, self.deadline) {
            (None, _) => return Err("a Job is begun before its time".to_owned()),
            (Some(late), Some(most)) if late > Duration::from_secs(most) => {
                return Err(format!("a Job is begun {late:?} late, and {most} s are allowed"));
            }
            _ => {}
        }
        // Those that it replaces go in the same breath, before it is made.
        let goes = |job: &Value| {
            let goes =
                |write: &Write| matches!(write, Write::Delete { at, .. } if at.name == object::name(job));
            actions.actions.iter().any(|action| goes(&action.write))
        };
        seen.saw_if(self.jobs(world).any(goes), Sight::CronReplaced);
        let at_work = self.jobs(world).find(|job| !has_ended(job) && !object::deleting(job) && !goes(job));
        match at_work.filter(|_| self.policy != "Allow") {
            Some(other) => {
                Err(format!("a Job is begun while {} is at work: {}", object::name(other), self.policy))
            }
            None => Ok(()),
        }
    }

    fn check(&mut self, world: &World, _seen: &mut Tally) -> Result<(), String> {
        let jobs: Vec<(String, String)> = self
            .jobs(world)
            .filter_map(|job| {
                Some((
                    job["metadata"]["annotations"][SCHEDULED].as_str()?.to_owned(),
                    object::uid(job).to_owned(),
                ))
            })
            .collect();
        for (time, uid) in jobs {
            let first = self.made.entry(time.clone()).or_insert_with(|| uid.clone());
            if *first != uid {
                return Err(format!("two Jobs were made for {time}: {first} and {uid}"));
            }
        }
        Ok(())
    }

    fn rest(&mut self, world: &mut World) {
        let at = self.at.clone();
        world.edit(("user", "suspends tick"), &at, "", |tick| tick["spec"]["suspend"] = true.into());
    }

    fn settled(&self, world: &World) -> Result<(), String> {
        let tick = world.api.find(&self.at).ok_or("it is gone")?;
        let jobs: Vec<&Value> = controlled(world, "batch/jobs", object::uid(tick)).collect();
        let at_work: Vec<&str> =
            jobs.iter().filter(|job| !has_ended(job)).map(|job| object::name(job)).collect();
        expect("Jobs at work", at_work, Vec::new())?;
        expect("Jobs are told that are at work", tick["status"]["active"].as_array().map_or(0, Vec::len), 0)?;
        expect("at most three ended Jobs are kept", jobs.len() <= 3, true)
    }

    fn end(&mut self, world: &mut World) -> bool {
        self.ending.next(world, &self.at)
    }
}
