//! What is told of Jobs and CronJobs.

use super::{Name, Subject, at, owners, some};
use crate::api::allowed::Allowed;
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

/// How it ended; nothing until it has.
fn ended(job: &Job, what: &str, series: &mut Series<'_>) {
    let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if let Some(own) = conditions.find(|own| own.type_ == what) {
        for word in ["true", "false", "unknown"] {
            series.with(&[("condition", word)], own.status.eq_ignore_ascii_case(word));
        }
    }
}
