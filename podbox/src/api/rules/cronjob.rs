//! CronJobs: defaults, validation.

use super::check::{maybe_non_negative, required_word, text};
use super::pod::default::set;
use super::schedule::Schedule;
use super::{Rules, job, template};
use crate::api::field::{Errors, Path};
use jiff::tz::TimeZoneDatabase;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, JobTemplateSpec};

/// Its jobs' names end in a dash and ten digits, and are labels' values.
const NAME_CHARACTERS: usize = 52;

impl Rules for CronJob {
    fn default(&mut self) {
        let spec = &mut self.spec;
        set(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        spec.job_template.metadata.get_or_insert_default();
        job::default_template(spec.job_template.spec.get_or_insert_default());
    }

    fn prepare_create(&mut self) {
        self.status = Some(CronJobStatus::default());
    }

    fn prepare_update(&mut self, old: &CronJob) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &CronJob) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, at) = (&self.spec, path.child("spec"));
        schedule(errors, &at.child("schedule"), &spec.schedule);
        maybe_non_negative(errors, &at.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
        if let Some(name) = &spec.time_zone {
            time_zone(errors, &at.child("timeZone"), name);
        }
        let policy = text(&spec.concurrency_policy);
        required_word(errors, &at.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
        job_template(errors, &at.child("jobTemplate"), &spec.job_template);
        for (field, limit) in [
            ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ] {
            maybe_non_negative(errors, &at.child(field), limit);
        }
    }

    fn validate_create(&self, errors: &mut Errors, path: &Path) {
        let name = text(&self.metadata.name);
        if name.len() > NAME_CHARACTERS {
            let why = format!("must be no more than {NAME_CHARACTERS} characters");
            errors.invalid(&path.child("metadata").child("name"), name, why);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let path = ["spec", "jobTemplate", "spec", "template"];
        let spec = self.spec.job_template.spec.as_ref();
        spec.map(|spec| template::warnings(&spec.template, &path)).unwrap_or_default()
    }
}

fn schedule(errors: &mut Errors, path: &Path, text: &str) {
    if text.is_empty() {
        return errors.required(path, "");
    }
    if text.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        return errors.invalid(path, text, why);
    }
    if let Err(why) = Schedule::parse(text) {
        errors.invalid(path, text, why);
    }
}

/// The names are those of the program's own copy of the time zone database, so that a host has no say.
fn time_zone(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.invalid(path, name, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, name, why);
    } else if TimeZoneDatabase::bundled().get(name).is_err() {
        errors.invalid(path, name, format!("unknown time zone {name}"));
    }
}

fn job_template(errors: &mut Errors, path: &Path, template: &JobTemplateSpec) {
    let Some(spec) = &template.spec else { return };
    let at = path.child("spec");
    if spec.manual_selector == Some(true) {
        errors.not_supported(&at.child("manualSelector"), true, &["nil", "false"]);
    }
    job::without_selector(errors, &at, spec);
}
