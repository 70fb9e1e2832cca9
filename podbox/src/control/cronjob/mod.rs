//! CronJobs: Jobs at their times. Pure.
//!
//! ```text
//!   Jobs that began or ended: tell the status ─▶ old ones that ended: away ─▶ a start is due?
//!      ─▶ too late, or one at work that forbids it: say so, wait for the next
//!      ─▶ else: (those at work away, where they are replaced) a Job, named after its minute
//! ```
//!
//! **Invariant: a start makes one Job.** Its name is the minute's, and that it was made is read from the Job itself: so podbox
//! may be killed between the Job and the status that tells of it.

#[cfg(test)]
mod tests;

use super::action::{Action, Actions, Saying, Write};
use super::condition;
use super::meta::written;
use super::status;
use super::workload::Workload;
use crate::api::cron::Times;
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{Seen, Target};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The time that a Job was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A Job of a CronJob's.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where it is.
    pub at: Target,
    /// As it is stored.
    pub object: Value,
    /// Its revision.
    pub revision: u64,
}

impl Started {
    fn uid(&self) -> &str {
        object::uid(&self.object)
    }

    /// The condition by which it has ended.
    fn ended(&self) -> Option<&'static str> {
        let conditions = condition::of(&self.object);
        let is = |of: &str| condition::get(&conditions, of).is_some_and(|one| one["status"] == "True");
        ["Complete", "Failed"].into_iter().find(|of| is(of))
    }

    fn time(&self, pointer: &str) -> Option<Timestamp> {
        self.object.pointer(pointer)?.as_str()?.parse().ok()
    }

    /// The start that it is.
    fn scheduled(&self) -> Option<Timestamp> {
        self.object["metadata"]["annotations"][SCHEDULED].as_str()?.parse().ok()
    }

    fn delete(&self) -> Action {
        let seen = Seen { uid: self.uid().to_owned(), revision: None };
        let propagation = Some(Propagation::Background);
        Action {
            write: Write::Delete { at: self.at.clone(), seen, propagation },
            done: Some(Saying::normal("SuccessfulDelete", format!("Deleted job {}", self.at.name))),
            failed: Some(Saying::warning("FailedDelete", "Deleted job: ")),
        }
    }
}

/// What is to be done next about a CronJob and the Jobs that it controls.
pub fn reconcile(cron: &Workload, jobs: &[Started], now: Timestamp) -> Actions {
    cron.about(step(cron, jobs, now))
}

fn step(cron: &Workload, jobs: &[Started], now: Timestamp) -> Actions {
    let mut actions = next(cron, jobs, now);
    if actions.actions.is_empty() {
        actions.said.extend(unexpected(cron, jobs));
    }
    actions
}

fn next(cron: &Workload, jobs: &[Started], now: Timestamp) -> Actions {
    let told = told(cron, jobs);
    if !told.actions.is_empty() {
        return told;
    }
    let old = old(cron, jobs);
    if !old.is_empty() {
        return Actions::of(old);
    }
    if cron.claimant.deleting || cron.spec()["suspend"] == true {
        return Actions::none();
    }
    let zone = cron.spec()["timeZone"].as_str().unwrap_or("UTC");
    let schedule = cron.spec()["schedule"].as_str().unwrap_or_default();
    match Times::new(schedule, zone) {
        Ok(times) => start(cron, jobs, &times, now),
        Err(why) => {
            say(Saying::warning("UnparseableSchedule", format!("unparseable schedule: {schedule:?} : {why}")))
        }
    }
}

fn say(saying: Saying) -> Actions {
    Actions { said: vec![saying], ..Actions::none() }
}

/// Jobs at work that it controls and did not make, or has made and forgotten.
fn unexpected(cron: &Workload, jobs: &[Started]) -> Vec<Saying> {
    let active = |job: &Started| {
        let mut active = cron.object["status"]["active"].as_array().into_iter().flatten();
        active.any(|reference| reference["uid"] == job.uid())
    };
    let strange = jobs.iter().filter(|job| job.ended().is_none() && !active(job));
    let why = |name: &str| format!("Saw a job that the controller did not create or forgot: {name}");
    strange.map(|job| Saying::warning("UnexpectedJob", why(&job.at.name))).collect()
}

/// What the status is to tell of the Jobs that there are.
fn told(cron: &Workload, jobs: &[Started]) -> Actions {
    let stored = &cron.object["status"];
    let time = |field: &str| stored[field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let last = time("lastScheduleTime");
    let (mut active, mut said) = (Vec::new(), Vec::new());
    for reference in stored["active"].as_array().into_iter().flatten() {
        let name = reference["name"].as_str().unwrap_or_default();
        match jobs.iter().find(|job| reference["uid"] == job.uid()) {
            None if cron.spec()["concurrencyPolicy"] == "Replace" => {}
            None => said.push(Saying::normal("MissingJob", format!("Active job went missing: {name}"))),
            Some(job) => match job.ended() {
                Some(how) => {
                    let message = format!("Saw completed job: {name}, condition: {how}");
                    said.push(Saying::normal("SawCompletedJob", message));
                }
                None => active.push(reference.clone()),
            },
        }
    }
    let newer = |job: &&Started| job.scheduled().is_some_and(|at| last.is_none_or(|last| at > last));
    for job in jobs.iter().filter(newer).filter(|job| job.ended().is_none()) {
        active.push(json!({
            "apiVersion": "batch/v1", "kind": "Job", "namespace": job.at.namespace, "name": job.at.name,
            "uid": job.uid(), "resourceVersion": job.revision.to_string(),
        }));
    }
    let succeeded = jobs.iter().filter(|job| job.ended() == Some("Complete"));
    let succeeded =
        succeeded.filter_map(|job| job.time("/status/completionTime")).chain(time("lastSuccessfulTime"));
    let fields = json!({
        "active": if active.is_empty() { Value::Null } else { active.into() },
        "lastScheduleTime": jobs.iter().filter_map(Started::scheduled).chain(last).max().map(written),
        "lastSuccessfulTime": succeeded.max().map(written),
    });
    let write = status::write(&cron.at, &cron.object, cron.revision, json!({"status": fields}));
    if write.is_none() {
        return Actions::none();
    }
    Actions { said, ..Actions::of(write) }
}

/// Jobs that ended longest ago, where more are kept than are to be.
fn old(cron: &Workload, jobs: &[Started]) -> Vec<Action> {
    let mut old = Vec::new();
    for (how, field) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")] {
        let Some(kept) = cron.spec()[field].as_u64() else { continue };
        let ended = jobs.iter().filter(|job| job.ended() == Some(how) && !object::deleting(&job.object));
        let mut ended: Vec<&Started> = ended.collect();
        ended.sort_by_key(|job| (job.time("/status/startTime"), job.at.name.clone()));
        let surplus = ended.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
        old.extend(ended[..surplus].iter().map(|job| job.delete()));
    }
    old
}

fn start(cron: &Workload, jobs: &[Started], times: &Times, now: Timestamp) -> Actions {
    let next = Actions { wake_at: times.next(now), ..Actions::none() };
    let deadline = cron.spec()["startingDeadlineSeconds"].as_i64().map(SignedDuration::from_secs);
    let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    let word =
        |pointer: &str| cron.object.pointer(pointer).and_then(Value::as_str)?.parse::<Timestamp>().ok();
    let last = word("/status/lastScheduleTime");
    let since = last.or_else(|| word("/metadata/creationTimestamp")).into_iter().chain(earliest).max();
    let Some(due) = since.and_then(|since| times.due(since, now)) else { return next };
    let mut said = Vec::new();
    if due.many_missed {
        let why =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        said.push(Saying::warning("TooManyMissedTimes", why));
    }
    let job = job(cron, due.at);
    let name = object::name(&job).to_owned();
    let active = cron.object["status"]["active"].as_array().map_or(&[][..], Vec::as_slice);
    if last == Some(due.at) || jobs.iter().any(|job| job.at.name == name) {
        return next;
    }
    let policy = cron.spec()["concurrencyPolicy"].as_str().unwrap_or_default();
    if policy == "Forbid" && !active.is_empty() {
        let why = "Not starting job because prior execution is running and concurrency policy is Forbid";
        return Actions { said: vec![Saying::normal("JobAlreadyActive", why)], ..next };
    }
    let replaced = jobs
        .iter()
        .filter(|job| policy == "Replace" && active.iter().any(|reference| reference["uid"] == job.uid()));
    let mut actions: Vec<Action> = replaced.map(Started::delete).collect();
    actions.push(Action {
        write: Write::Create(job),
        done: Some(Saying::normal("SuccessfulCreate", format!("Created job {name}"))),
        failed: Some(Saying::warning("FailedCreate", "Error creating job: ")),
    });
    Actions { actions, said, ..next }
}

/// The Job of a start.
fn job(cron: &Workload, at: Timestamp) -> Value {
    let template = &cron.spec()["jobTemplate"];
    let mut metadata = json!({
        "name": format!("{}-{}", cron.at.name, at.as_second() / 60),
        "namespace": cron.at.namespace,
        "ownerReferences": [cron.claimant.reference],
    });
    for field in ["labels", "annotations"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    metadata["annotations"][SCHEDULED] = written(at).into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}
