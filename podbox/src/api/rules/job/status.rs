//! What a job's status may say, whoever writes it: upstream's rules, since others manage jobs, too. Each is held against what a write changes, so
//! that a status that is wrong already can be mended piece by piece.

use super::policy::count_indexes;
use crate::api::field::{Errors, Path, Reason};
use crate::api::rules::check::{json, maybe_non_negative, text};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use std::collections::BTreeSet;

/// Whether a condition holds.
pub fn is(status: &JobStatus, of: &str) -> bool {
    status.conditions.iter().flatten().any(|one| one.type_ == of && one.status == "True")
}

fn is_finished(status: &JobStatus) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

/// The status of `new` in the place of that of `old`.
pub fn validate(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let none = JobStatus::default();
    let (status, before) = (new.status.as_ref().unwrap_or(&none), old.status.as_ref().unwrap_or(&none));
    let change = Change { status, before };
    counts(errors, path, &change);
    conditions(errors, path, &change, new);
    times(errors, path, &change, new);
    indexes(errors, path, &change, new);
    going_back(errors, path, &change, new);
}

struct Change<'a> {
    status: &'a JobStatus,
    before: &'a JobStatus,
}

impl Change<'_> {
    /// Whether something of it is different.
    fn of<T: PartialEq>(&self, what: impl Fn(&JobStatus) -> T) -> bool {
        what(self.status) != what(self.before)
    }

    fn of_condition(&self, of: &str) -> bool {
        self.of(|status| is(status, of))
    }
}

fn counts(errors: &mut Errors, path: &Path, change: &Change<'_>) {
    let status = change.status;
    for (field, count) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ] {
        maybe_non_negative(errors, &path.child(field), count);
    }
    if let Some(uncounted) = &status.uncounted_terminated_pods {
        let (at, mut seen) = (path.child("uncountedTerminatedPods"), BTreeSet::new());
        for (field, uids) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
            for (index, uid) in uids.iter().flatten().enumerate() {
                let list = at.child(field);
                let at = list.index(index);
                match uid.as_str() {
                    "" => errors.invalid(&at, "", "must not be empty"),
                    uid if !seen.insert(uid) => errors.duplicate(&at, uid),
                    _ => {}
                }
            }
        }
    }
    let (active, finished) = (status.active.unwrap_or(0), is_finished(status));
    let ends = change.of(is_finished);
    if finished && active > 0 && (ends || change.of(|status| status.active)) {
        errors.invalid(&path.child("active"), active, "active>0 is invalid for finished job");
    }
    let terminating = status.terminating.unwrap_or(0);
    if finished && terminating > 0 && (ends || change.of(|status| status.terminating)) {
        errors.invalid(&path.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    let ready = status.ready.unwrap_or(0);
    if ready > active && change.of(|status| (status.ready, status.active)) {
        errors.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
    }
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let left =
        uncounted.is_some_and(|pods| pods.succeeded.iter().chain(&pods.failed).flatten().next().is_some());
    if finished && left && (ends || change.of(|status| status.uncounted_terminated_pods.clone())) {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&path.child("uncountedTerminatedPods"), json(uncounted), why);
    }
}

fn conditions(errors: &mut Errors, path: &Path, change: &Change<'_>, job: &Job) {
    let at = path.child("conditions");
    let holds = |of: &str| is(change.status, of);
    let changed = |of: &[&str]| of.iter().any(|of| change.of_condition(of));
    let mut refuse = |wrong: bool, why: String| {
        if wrong {
            errors.add_omitted(Reason::Invalid, &at, why);
        }
    };
    let both = |one: &str, other: &str| holds(one) && holds(other) && changed(&[one, other]);
    refuse(both("Complete", "Failed"), "cannot set Complete=True and Failed=true conditions".into());
    let why = "cannot set Complete=True and FailureTarget=true conditions";
    refuse(both("Complete", "FailureTarget"), why.into());
    for (last, first) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        let wrong = holds(last) && !holds(first) && changed(&[last, first]);
        refuse(wrong, format!("cannot set {last}=True condition without the {first}=true condition"));
    }
    for other in ["Failed", "FailureTarget"] {
        let wrong = holds("SuccessCriteriaMet") && holds(other);
        refuse(wrong, format!("cannot set SuccessCriteriaMet=True and {other}=true conditions"));
    }
    let by_policy = job.spec.as_ref().is_some_and(|spec| spec.success_policy.is_some());
    let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
    refuse(by_policy && holds("Complete") && !holds("SuccessCriteriaMet"), why.into());
}

fn times(errors: &mut Errors, path: &Path, change: &Change<'_>, job: &Job) {
    let Change { status, before } = change;
    let at = path.child("completionTime");
    let (began, ended) = (status.start_time.as_ref(), status.completion_time.as_ref());
    let ends = change.of_condition("Complete") || change.of(|status| status.completion_time.clone());
    match (ended, is(status, "Complete")) {
        (Some(_), false) if ends => {
            errors.invalid(
                &at,
                json(ended),
                "cannot set completionTime when there is no Complete=True condition",
            );
        }
        (None, true) if ends => errors.required(&at, "completionTime is required for Complete jobs"),
        _ => {}
    }
    let begins = change.of(|status| status.start_time.clone());
    if began.zip(ended).is_some_and(|(began, ended)| ended < began) && (begins || ends) {
        errors.invalid(&at, json(ended), "completionTime cannot be set before startTime");
    }
    if began.is_none() && is_finished(status) && (begins || change.of(is_finished)) {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    // Who goes on after a rest begins anew.
    let resumes = is(before, "Suspended") && !is(status, "Suspended");
    if before.start_time.is_some() && begins && !suspended && !resumes {
        errors.required(&path.child("startTime"), "startTime cannot be removed for unsuspended job");
    }
    if before.completion_time.is_some()
        && ended.is_some()
        && change.of(|status| status.completion_time.clone())
    {
        errors.invalid(&at, json(ended), "completionTime cannot be mutated");
    }
}

fn indexes(errors: &mut Errors, path: &Path, change: &Change<'_>, job: &Job) {
    let Some(spec) = &job.spec else { return };
    let status = change.status;
    let (completed, failed) = (text(&status.completed_indexes), status.failed_indexes.as_deref());
    let of_completed = change.of(|status| status.completed_indexes.clone());
    let of_failed = change.of(|status| status.failed_indexes.clone());
    let (at, at_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let all = spec.completions;
    if let Some(Err(why)) = all.filter(|_| of_completed).map(|all| count_indexes(completed, all)) {
        errors.invalid(&at, completed, format!("error parsing completedIndexes: {why}"));
    }
    if of_completed && !completed.is_empty() && text(&spec.completion_mode) != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&at, completed, why);
    }
    let Some(failed) = failed.filter(|_| of_failed || of_completed) else { return };
    if of_failed && spec.backoff_limit_per_index.is_none() {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&at_failed, failed, why);
    } else if let Some(Err(why)) = all.filter(|_| of_failed).map(|all| count_indexes(failed, all)) {
        errors.invalid(&at_failed, failed, format!("error parsing failedIndexes: {why}"));
    }
}

/// What once was so stays so.
fn going_back(errors: &mut Errors, path: &Path, change: &Change<'_>, job: &Job) {
    let Change { status, before } = change;
    let at = path.child("conditions");
    for of in ["Failed", "Complete", "FailureTarget"] {
        if is(before, of) && !is(status, of) {
            errors.add_omitted(
                Reason::Invalid,
                &at,
                format!("cannot disable the terminal {of}=True condition"),
            );
        }
    }
    if is(before, "SuccessCriteriaMet") && !is(status, "SuccessCriteriaMet") {
        let why = "cannot disable the SuccessCriteriaMet=True condition";
        errors.add_omitted(Reason::Invalid, &at, why.to_owned());
    }
    let number = |count: Option<i32>| count.unwrap_or(0);
    if number(status.failed) < number(before.failed) {
        errors.invalid(&path.child("failed"), number(status.failed), "cannot decrease the failed counter");
    }
    // An indexed one may have been made smaller.
    let elastic = job
        .spec
        .as_ref()
        .is_some_and(|spec| text(&spec.completion_mode) == "Indexed" && spec.completions == spec.parallelism);
    if number(status.succeeded) < number(before.succeeded) && !elastic {
        let why = "cannot decrease the succeeded counter";
        errors.invalid(&path.child("succeeded"), number(status.succeeded), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, before: Value, after: Value, expected: &[&str]) {
        let job = |status: Value| -> Job {
            serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": spec, "status": status}))
                .unwrap()
        };
        let mut errors = Errors::default();
        validate(&mut errors, &Path::ROOT.child("status"), &job(after), &job(before));
        let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
    }

    fn spec(more: Value) -> Value {
        let mut spec = json!({"template": {}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    fn with(conditions: &[&str], more: Value) -> Value {
        let one = |of: &&str| json!({"type": of, "status": "True"});
        let mut status = json!({"conditions": conditions.iter().map(one).collect::<Vec<_>>(), "startTime": "2026-01-01T00:00:00Z"});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    #[test]
    fn a_job_ends_once_and_says_how_and_when() {
        let running = || with(&[], json!({"active": 1}));
        let done =
            || with(&["SuccessCriteriaMet", "Complete"], json!({"completionTime": "2026-01-01T00:01:00Z"}));
        check(spec(json!({})), running(), done(), &[]);
        check(spec(json!({})), done(), done(), &[]);
        check(
            spec(json!({})),
            running(),
            with(&["Complete"], json!({"active": 1, "ready": 2})),
            &[
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
            ],
        );
        check(
            spec(json!({})),
            done(),
            running(),
            &[
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ],
        );
    }

    #[test]
    fn only_a_job_that_rests_begins_anew() {
        let anew = || json!({"startTime": "2026-01-02T00:00:00Z"});
        let removed = "status.startTime: Required value: startTime cannot be removed for unsuspended job";
        check(spec(json!({})), with(&[], json!({})), anew(), &[removed]);
        check(spec(json!({"suspend": true})), with(&[], json!({})), json!({}), &[]);
        check(spec(json!({})), with(&["Suspended"], json!({})), anew(), &[]);
        check(spec(json!({})), json!({}), anew(), &[]);
    }

    #[test]
    fn counts_do_not_shrink_but_those_of_a_job_that_does() {
        let counted = |succeeded: i32| json!({"succeeded": succeeded, "failed": 1});
        let why = "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter";
        check(spec(json!({"completions": 3, "parallelism": 3})), counted(2), counted(1), &[why]);
        let elastic = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
        check(spec(elastic), counted(2), counted(1), &[]);
        check(
            spec(json!({"completions": 3})),
            json!({}),
            json!({"completedIndexes": "0-9", "failedIndexes": ""}),
            &[
                "status.completedIndexes: Invalid value: \"0-9\": error parsing completedIndexes: too large index: \"9\"",
                "status.completedIndexes: Invalid value: \"0-9\": cannot set non-empty completedIndexes when non-indexed completion mode",
                "status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ],
        );
    }
}
