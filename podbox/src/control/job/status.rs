//! A Job's status: numbers, the uids that are on their way to becoming numbers, conditions. Pure.

use super::look::Look;
use super::{Verdict, is_tracked};
use crate::control::action::{Action, Actions, Saying};
use crate::control::meta::written;
use crate::control::{condition, status};
use jiff::Timestamp;
use serde_json::{Value, json};

/// So many uids are uncounted at the most.
const UNCOUNTED: usize = 500;

/// The write by which the status is as it should be, if it is not.
pub fn told(look: &Look<'_>, verdict: Option<&Verdict>, now: Timestamp) -> Actions {
    let job = look.job;
    let (succeeded, failed) = look.ends(verdict);
    let (succeeded, failed) = (Uncounted::new(look, true, &succeeded), Uncounted::new(look, false, &failed));
    let mut conditions = condition::of(&job.workload.object);
    let mut fields = json!({
        "active": status::count(look.active.len()),
        "ready": look.active.iter().filter(|pod| pod.ready.is_some()).count(),
        "terminating": look.terminating,
        "succeeded": status::count(succeeded.number),
        "failed": status::count(failed.number),
        "uncountedTerminatedPods": {"succeeded": succeeded.list(), "failed": failed.list()},
    });
    if let Some(indexed) = &look.indexes {
        let text = indexed.succeeded.to_string();
        fields["completedIndexes"] = if text.is_empty() { Value::Null } else { text.into() };
        fields["succeeded"] = status::count(indexed.succeeded.count());
        fields["failedIndexes"] = json!(indexed.failed.as_ref().map(ToString::to_string));
    }
    // One that ends while it is suspended says when it began all the same.
    if (!job.is_suspended() || verdict.is_some()) && job.status.start_time.is_none() {
        fields["startTime"] = written(now).into();
    }
    let mut saying = None;
    match verdict {
        Some(verdict) => {
            set(&mut conditions, verdict.interim(), &verdict.reason, &verdict.message, now);
            let interim_is_told = job.condition(verdict.interim()).is_some();
            let nobody = look.active.is_empty()
                && look.terminating == 0
                && !look.pods.iter().any(|pod| is_tracked(pod));
            if interim_is_told && nobody && succeeded.uids.is_empty() && failed.uids.is_empty() {
                set(&mut conditions, verdict.last(), &verdict.reason, &verdict.message, now);
                if verdict.success {
                    // The clock may have been set back meanwhile.
                    let began = job.status.start_time.as_ref().map_or(now, |time| time.0);
                    fields["completionTime"] = written(now.max(began)).into();
                }
                saying = Some(ended(verdict));
            }
        }
        None => {
            if let Some((said, fresh)) = suspension(look, &mut conditions, now) {
                saying = Some(said);
                fields["startTime"] = if fresh { written(now).into() } else { Value::Null };
            }
        }
    }
    fields["conditions"] = condition::written(conditions);
    let workload = &job.workload;
    let write = status::write(&workload.at, &workload.object, workload.revision, json!({"status": fields}));
    Actions::of(write.map(|write| Action { write, done: saying, failed: None }))
}

/// The ends of one sort.
struct Uncounted<'a> {
    /// Those that are numbers.
    number: usize,
    /// Those that are not yet.
    uids: Vec<&'a str>,
}

impl<'a> Uncounted<'a> {
    fn new(look: &'a Look<'_>, succeeded: bool, new: &[&'a str]) -> Uncounted<'a> {
        let stored = &look.job.status;
        let lists = stored.uncounted_terminated_pods.as_ref();
        let (count, list) = match succeeded {
            true => (stored.succeeded, lists.and_then(|lists| lists.succeeded.as_ref())),
            false => (stored.failed, lists.and_then(|lists| lists.failed.as_ref())),
        };
        let held = |uid: &str| look.pods.iter().any(|pod| *pod.uid == *uid && is_tracked(pod));
        let (mut uids, free): (Vec<&str>, Vec<&str>) =
            list.into_iter().flatten().map(String::as_str).partition(|uid| held(uid));
        for uid in new.iter().copied().filter(|uid| !look.job.is_uncounted(uid, succeeded)) {
            if uids.len() < UNCOUNTED {
                uids.push(uid);
            }
        }
        Uncounted { number: usize::try_from(count.unwrap_or(0)).unwrap_or(0) + free.len(), uids }
    }

    fn list(&self) -> Value {
        if self.uids.is_empty() { Value::Null } else { json!(self.uids) }
    }
}

fn ended(verdict: &Verdict) -> Saying {
    if verdict.success {
        return Saying::normal("Completed", "Job completed");
    }
    let reason = match verdict.reason.as_str() {
        "PodFailurePolicy" => "PodFailurePolicy",
        "DeadlineExceeded" => "DeadlineExceeded",
        "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
        "FailedIndexes" => "FailedIndexes",
        _ => "BackoffLimitExceeded",
    };
    Saying::warning(reason, verdict.message.clone())
}

/// Tells that it is suspended, or is not any more, if that is news; and whether its time begins anew.
fn suspension(look: &Look<'_>, conditions: &mut Vec<Value>, now: Timestamp) -> Option<(Saying, bool)> {
    let (wanted, told) = (look.job.is_suspended(), look.job.condition("Suspended").is_some());
    if wanted == told {
        return None;
    }
    let (status, reason, message) = match wanted {
        true => ("True", "JobSuspended", "Job suspended"),
        false => ("False", "JobResumed", "Job resumed"),
    };
    condition::set(conditions, new("Suspended", status, reason, message, now));
    let event = if wanted { "Suspended" } else { "Resumed" };
    Some((Saying::normal(event, message), !wanted))
}

fn set(conditions: &mut Vec<Value>, of: &str, reason: &str, message: &str, now: Timestamp) {
    condition::set(conditions, new(of, "True", reason, message, now));
}

fn new(of: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    json!({
        "type": of, "status": status, "reason": reason, "message": message,
        "lastProbeTime": written(now), "lastTransitionTime": written(now),
    })
}
