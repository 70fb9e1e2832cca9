//! How and when a Job comes to its end, and what becomes of it afterwards. Pure.

use super::look::Look;
use super::policy;
use super::{Job, Verdict, is_tracked, release};
use crate::api::lifecycle::Propagation;
use crate::api::objects::Seen;
use crate::control::action::{Actions, Write};
use crate::control::pods::Member;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// What has been decided, or is to be now.
pub fn verdict(look: &Look<'_>, now: Timestamp) -> Option<Verdict> {
    let job = look.job;
    let told = |success: bool, of: &str| {
        let condition = job.condition(of)?;
        let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Some(Verdict { success, reason: word("reason"), message: word("message") })
    };
    let fail = |reason: &str, message: &str| Some(Verdict::new(false, reason, message));
    if let Some(verdict) = told(true, "SuccessCriteriaMet").or_else(|| told(false, "FailureTarget")) {
        return Some(verdict);
    }
    if let Some(why) = look.fails_by_policy() {
        return fail("PodFailurePolicy", why);
    }
    let limit = usize::try_from(job.spec.backoff_limit.unwrap_or(6)).unwrap_or(0);
    if look.failed > limit || restarts_are_over(look, limit) {
        return fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(job).is_some_and(|at| at <= now) {
        return fail("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    by_indexes(look).or_else(|| complete(look))
}

/// Until when it may be at work. Its time begins anew once its status says that it is not suspended any more.
pub fn deadline(job: &Job) -> Option<Timestamp> {
    let stopped = job.is_suspended() || job.condition("Suspended").is_some();
    let seconds = job.spec.active_deadline_seconds.filter(|_| !stopped)?;
    job.status.start_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Containers that are started again in their pods fail there.
fn restarts_are_over(look: &Look<'_>, limit: usize) -> bool {
    let template = look.job.spec.template.spec.as_ref();
    if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let restarts =
        look.pods.iter().filter_map(|pod| pod.batch.as_ref()).filter(|batch| batch.succeeded.is_none());
    let sum: usize = restarts.map(|batch| usize::try_from(batch.restarts).unwrap_or(0)).sum();
    sum > 0 && sum >= limit
}

fn by_indexes(look: &Look<'_>) -> Option<Verdict> {
    let indexed = look.indexes.as_ref()?;
    if let Some(failed) = &indexed.failed {
        let most = look.job.spec.max_failed_indexes.map(|most| usize::try_from(most).unwrap_or(0));
        if most.is_some_and(|most| failed.count() > most) {
            let why = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Verdict::new(false, "MaxFailedIndexesExceeded", why));
        }
        let all = failed.count() + indexed.succeeded.count() >= indexed.completions as usize;
        if failed.count() > 0 && all {
            return Some(Verdict::new(false, "FailedIndexes", "Job has failed indexes"));
        }
    }
    let policy = look.job.spec.success_policy.as_ref();
    let why = policy::fulfilled(policy, indexed.completions, &indexed.succeeded)?;
    Some(Verdict::new(true, "SuccessPolicy", &why))
}

fn complete(look: &Look<'_>) -> Option<Verdict> {
    let complete = match look.job.completions() {
        None => look.succeeded > 0 && look.active.is_empty(),
        Some(completions) => look.succeeded >= completions as usize,
    };
    let why = "Reached expected number of succeeded pods";
    complete.then(|| Verdict::new(true, "CompletionsReached", why))
}

/// A Job that has ended holds no pod, and goes when its time has come.
pub fn after(job: &Job, condition: &Value, pods: &[&Member], now: Timestamp) -> Actions {
    let held: Vec<_> = pods.iter().filter(|pod| is_tracked(pod)).map(|pod| release(pod)).collect();
    if !held.is_empty() || job.workload.claimant.deleting {
        return Actions::of(held);
    }
    let ended = condition["lastTransitionTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let ttl = job.spec.ttl_seconds_after_finished.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let Some(at) = ended.zip(ttl).and_then(|(ended, ttl)| ended.checked_add(ttl).ok()) else {
        return Actions::none();
    };
    if at > now {
        return Actions { wake_at: Some(at), ..Actions::none() };
    }
    let workload = &job.workload;
    let seen = Seen { uid: workload.uid().to_owned(), revision: Some(workload.revision) };
    let propagation = Some(Propagation::Foreground);
    Actions::of([Write::Delete { at: workload.at.clone(), seen, propagation }])
}
