//! What is told of Jobs and CronJobs.

use super::{Name, Subject, at, owners, some};
use crate::api::allowed::Allowed;
use crate::api::cron::Times;
use crate::metrics::text::{Family, Page, Series, gauge};
use crate::store::Store;
use k8s_openapi::api::batch::v1::{CronJob, Job};

const JOBS: Subject<Job> =
    Subject { collection: "batch/jobs", prefix: "kube_job", name: Name::Spaced("job_name"), families: JOB };
const CRON_JOBS: Subject<CronJob> = Subject {
    collection: "batch/cronjobs",
    prefix: "kube_cronjob",
    name: Name::Spaced("cronjob"),
    families: CRON_JOB,
};

pub(super) fn write(page: &mut Page, store: &Store, allowed: &Allowed) {
    JOBS.write(page, store, allowed);
    CRON_JOBS.write(page, store, allowed);
}

#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    [JOBS.names(), CRON_JOBS.names()].concat()
}

/// Why Jobs fail, by upstream's words.
const REASONS: [&str; 3] = ["BackoffLimitExceeded", "DeadlineExceeded", "Evicted"];

const JOB: &[Family<Job>] = &[
    gauge("kube_job_info", "That there is a Job.", |_, series| series.info(&[])),
    gauge("kube_job_spec_parallelism", "Pods that may run at once.", |job, series| {
        some(series, job.spec.as_ref().and_then(|spec| spec.parallelism));
    }),
    gauge("kube_job_spec_completions", "Pods that are to succeed.", |job, series| {
        some(series, job.spec.as_ref().and_then(|spec| spec.completions));
    }),
    gauge("kube_job_spec_active_deadline_seconds", "How long it may take.", |job, series| {
        some(series, job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds));
    }),
    gauge("kube_job_status_active", "Pods that have not ended.", |job, series| {
        series.one(job.status.as_ref().and_then(|status| status.active).unwrap_or(0));
    }),
    gauge("kube_job_status_succeeded", "Pods that have succeeded.", |job, series| {
        series.one(job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0));
    }),
    gauge("kube_job_status_failed", "Pods that have failed; once the Job has, why.", |job, series| {
        let failed = job.status.as_ref().and_then(|status| status.failed).unwrap_or(0);
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut reasons =
            conditions.filter(|own| own.type_ == "Failed").filter_map(|own| own.reason.as_deref());
        match reasons.find(|reason| REASONS.contains(reason)) {
            Some(reason) => REASONS.iter().for_each(|word| {
                series.with(&[("reason", word)], if *word == reason { failed } else { 0 });
            }),
            // Not for one of those.
            None => series.one(failed),
        }
    }),
    gauge("kube_job_complete", "Whether it has done what it should.", |job, series| {
        ended(job, "Complete", series)
    }),
    gauge("kube_job_failed", "Whether it has failed.", |job, series| ended(job, "Failed", series)),
    gauge("kube_job_status_suspended", "Whether it is held.", |job, series| {
        series.one(job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true));
    }),
    gauge("kube_job_status_start_time", "When it began.", |job, series| {
        at(series, job.status.as_ref().and_then(|status| status.start_time.as_ref()));
    }),
    gauge("kube_job_status_completion_time", "When it had done what it should.", |job, series| {
        at(series, job.status.as_ref().and_then(|status| status.completion_time.as_ref()));
    }),
    gauge("kube_job_owner", "Whose it is.", |job, series| {
        owners(series, job.metadata.owner_references.as_ref());
    }),
];

const CRON_JOB: &[Family<CronJob>] = &[
    gauge("kube_cronjob_info", "When a CronJob starts Jobs.", |cron, series| {
        series.info(&[
            ("schedule", &cron.spec.schedule),
            ("concurrency_policy", cron.spec.concurrency_policy.as_deref().unwrap_or_default()),
            ("timezone", cron.spec.time_zone.as_deref().unwrap_or("local")),
        ]);
    }),
    gauge("kube_cronjob_status_active", "Jobs of it that have not ended.", |cron, series| {
        let active = cron.status.as_ref().and_then(|status| status.active.as_ref());
        series.one(active.map_or(0, Vec::len));
    }),
    gauge("kube_cronjob_status_last_schedule_time", "When it last started one.", |cron, series| {
        at(series, cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()));
    }),
    gauge(
        "kube_cronjob_next_schedule_time",
        "When the start after its last one is due, or its first.",
        |cron, series| {
            some(series, next(cron));
        },
    ),
    gauge("kube_cronjob_status_last_successful_time", "When one last succeeded.", |cron, series| {
        at(series, cron.status.as_ref().and_then(|status| status.last_successful_time.as_ref()));
    }),
    gauge("kube_cronjob_spec_suspend", "Whether it is held.", |cron, series| {
        series.one(cron.spec.suspend == Some(true));
    }),
    gauge("kube_cronjob_spec_starting_deadline_seconds", "How late it may start one.", |cron, series| {
        some(series, cron.spec.starting_deadline_seconds);
    }),
    gauge(
        "kube_cronjob_spec_successful_job_history_limit",
        "Jobs that stay once they succeeded.",
        |cron, series| {
            some(series, cron.spec.successful_jobs_history_limit);
        },
    ),
    gauge(
        "kube_cronjob_spec_failed_job_history_limit",
        "Jobs that stay once they failed.",
        |cron, series| {
            some(series, cron.spec.failed_jobs_history_limit);
        },
    ),
];

/// When a CronJob has its start after the last one, in seconds since the epoch: in the past where that one is late. None while it
/// is held.
fn next(cron: &CronJob) -> Option<i64> {
    if cron.spec.suspend == Some(true) {
        return None;
    }
    let times = Times::new(&cron.spec.schedule, cron.spec.time_zone.as_deref().unwrap_or("UTC")).ok()?;
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let after = last.or(cron.metadata.creation_timestamp.as_ref())?;
    Some(times.next(after.0)?.as_second())
}

/// How it ended; nothing until it has.
fn ended(job: &Job, what: &str, series: &mut Series<'_>) {
    let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if let Some(own) = conditions.find(|own| own.type_ == what) {
        for word in ["true", "false", "unknown"] {
            series.with(&[("condition", word)], own.status.eq_ignore_ascii_case(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cron_job_is_due_after_its_last_start_or_its_creation_unless_it_is_held() {
        let due = |suspend: bool, last: Option<&str>| {
            let cron = json!({
                "metadata": {"creationTimestamp": "1970-01-05T00:00:00Z"},
                "spec": {
                    "schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "suspend": suspend,
                    "jobTemplate": {"spec": {"template": {}}},
                },
                "status": {"lastScheduleTime": last},
            });
            next(&serde_json::from_value(cron).unwrap())
        };
        // Three o'clock there, the day after.
        assert_eq!(due(false, Some("1970-01-01T02:00:00Z")), Some(86_400 + 7_200));
        assert_eq!(due(false, None), Some(4 * 86_400 + 7_200));
        assert_eq!(due(true, None), None);
    }
}
