//! Jobs: defaults, the selector they make themselves, validation, what may not change.

use super::check::{IMMUTABLE, all, at_most_bytes, json, maybe_non_negative, one_of, text};
use super::labels::{self, Map};
use super::pod::default::{self as pod, set};
use super::{Rules, names, template};
use crate::api::field::{Errors, Path, Reason};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{Affinity, Container};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

mod policy;
mod status;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// Above this, an indexed job's status would not hold its indexes.
const INDEXED_PARALLELISM: i32 = 100_000;
/// Of a job with more completions than that: how many pods may run, and indexes fail, where indexes fail for themselves.
const MANY_INDEXES: i32 = 10_000;
/// The longest name of who manages a job.
const MANAGER_BYTES: usize = 63;

impl Rules for Job {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        let per_index = spec.backoff_limit_per_index.is_some();
        spec.backoff_limit.get_or_insert(if per_index { i32::MAX } else { 6 });
        set(&mut spec.completion_mode, "NonIndexed");
        spec.suspend.get_or_insert(false);
        spec.manual_selector.get_or_insert(false);
        let replaces = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        set(&mut spec.pod_replacement_policy, replaces);
        default_template(spec);
        default_labels(self);
    }

    /// The pods of a job are told by its uid, which it has by now.
    fn prepare_create(&mut self) {
        self.status = Some(JobStatus::default());
        let (uid, name) = (text(&self.metadata.uid).to_owned(), text(&self.metadata.name).to_owned());
        let spec = self.spec.get_or_insert_default();
        if spec.manual_selector == Some(true) {
            return;
        }
        let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
        for (key, value) in
            [(UID_LABEL, &uid), (NAME_LABEL, &name), ("controller-uid", &uid), ("job-name", &name)]
        {
            labels.insert(key.to_owned(), value.clone());
        }
        let selector = spec.selector.get_or_insert_default();
        selector.match_labels.get_or_insert_default().insert(UID_LABEL.to_owned(), uid);
        default_labels(self);
    }

    fn prepare_update(&mut self, old: &Job) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Job) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = JobSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&none);
        generated(errors, &path.child("spec"), spec, text(&self.metadata.uid));
        self::spec(errors, &path.child("spec"), spec);
        let indexes = spec.completions.filter(|count| *count > 0 && text(&spec.completion_mode) == "Indexed");
        if let Some(completions) = indexes {
            // The longest name that one of its pods has as a host.
            let (name, last) = (text(&self.metadata.name), completions - 1);
            let host = format!("{name}-{last}");
            if !names::label(&host).is_empty() {
                let why = format!("will not able to create pod with invalid DNS label: {host}");
                errors.invalid(&path.child("metadata").child("name"), name, why);
            }
        }
    }

    /// Upstream judges the spec once more here.
    fn validate_update(&self, old: &Job, errors: &mut Errors, path: &Path) {
        let none = JobSpec::default();
        let (new, before) = (self.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        let at = path.child("spec");
        spec(errors, &at, new);
        unchanged(errors, &at, new, before, rests(old));
    }

    fn validate_status(&self, old: &Job, errors: &mut Errors, path: &Path) {
        status::validate(errors, &path.child("status"), self, old);
    }

    fn warnings(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        spec.map(|spec| template::warnings(&spec.template, &["spec", "template"])).unwrap_or_default()
    }
}

/// Defaults of a job's spec what is defaulted where it is only a template too.
pub fn default_template(spec: &mut JobSpec) {
    spec.pod_failure_policy.iter_mut().for_each(policy::default);
    pod::template(&mut spec.template);
}

/// A job without labels of its own has its pods'.
fn default_labels(job: &mut Job) {
    let labels = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.labels.clone());
    if job.metadata.labels.as_ref().is_none_or(Map::is_empty) {
        job.metadata.labels = labels;
    }
}

/// Whether where its pods run, and with what, may be said anew: it is suspended, says so or has never begun, and none of its pods is at
/// work.
fn rests(job: &Job) -> bool {
    let none = JobStatus::default();
    let status = job.status.as_ref().unwrap_or(&none);
    let rests = status.start_time.is_none() || status::is(status, "Suspended");
    let idle = status.active.unwrap_or(0) == 0;
    job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true)) && rests && idle
}

/// The selector must be the one that was made, unless it says that it was not.
fn generated(errors: &mut Errors, path: &Path, spec: &JobSpec, uid: &str) {
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else {
        return;
    };
    let made = LabelSelector {
        match_labels: Some(Map::from([(UID_LABEL.to_owned(), uid.to_owned())])),
        match_expressions: None,
    };
    if *selector != made {
        let why = "`selector` not auto-generated";
        errors.add_shown(Reason::Invalid, &path.child("selector"), labels::shown(Some(selector)), why);
    }
}

/// A job's spec.
fn spec(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    without_selector(errors, path, spec);
    let at = path.child("selector");
    match &spec.selector {
        None => errors.required(&at, ""),
        Some(selector) => labels::selector(errors, &at, selector),
    }
    if spec.selector.as_ref().is_none_or(labels::is_sound) {
        template::matches(errors, &path.child("template"), &spec.template, spec.selector.as_ref());
    }
}

/// What of a job's spec is judged where it is only a template too.
pub fn without_selector(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    maybe_non_negative(errors, &path.child("parallelism"), spec.parallelism);
    maybe_non_negative(errors, &path.child("completions"), spec.completions);
    maybe_non_negative(errors, &path.child("activeDeadlineSeconds"), spec.active_deadline_seconds);
    maybe_non_negative(errors, &path.child("backoffLimit"), spec.backoff_limit);
    maybe_non_negative(errors, &path.child("ttlSecondsAfterFinished"), spec.ttl_seconds_after_finished);
    maybe_non_negative(errors, &path.child("backoffLimitPerIndex"), spec.backoff_limit_per_index);
    maybe_non_negative(errors, &path.child("maxFailedIndexes"), spec.max_failed_indexes);
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let why = "when maxFailedIndexes is specified";
        errors.required(&path.child("backoffLimitPerIndex"), why);
    }
    if let Some(manager) = &spec.managed_by {
        let at = path.child("managedBy");
        all(errors, &at, manager, names::domain_path(manager));
        at_most_bytes(errors, &at, manager, MANAGER_BYTES);
    }
    completion(errors, path, spec);
    let (policy, restart) = (spec.pod_failure_policy.as_ref(), restart_policy(spec));
    if let Some(policy) = policy {
        policy::failure(errors, &path.child("podFailurePolicy"), policy, spec);
    }
    if let Some(policy) = &spec.success_policy {
        policy::success(errors, &path.child("successPolicy"), policy, spec);
    }
    if let Some(word) = &spec.pod_replacement_policy {
        let words: &[&str] = if policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        one_of(errors, &path.child("podReplacementPolicy"), word, words);
    }
    let at = path.child("template");
    template::validate(errors, &at, &spec.template, &[]);
    let at = at.child("spec");
    let at = at.child("restartPolicy");
    match restart {
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if policy.is_some() => {
            errors.invalid(&at, restart, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

fn restart_policy(spec: &JobSpec) -> &str {
    spec.template.spec.as_ref().map(|spec| text(&spec.restart_policy)).unwrap_or_default()
}

fn completion(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    if let Some(mode) = &spec.completion_mode {
        one_of(errors, &path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    let indexed = text(&spec.completion_mode) == "Indexed";
    if indexed {
        if spec.completions.is_none() {
            errors.required(&path.child("completions"), "when completion mode is Indexed");
        }
        if let Some(parallelism) = spec.parallelism.filter(|count| *count > INDEXED_PARALLELISM) {
            let why = format!(
                "must be less than or equal to {INDEXED_PARALLELISM} when completion mode is Indexed"
            );
            errors.invalid(&path.child("parallelism"), parallelism, why);
        }
        failed_indexes(errors, path, spec);
    } else if let Some(limit) = spec.backoff_limit_per_index {
        let why = "requires indexed completion mode";
        errors.invalid(&path.child("backoffLimitPerIndex"), limit, why);
    }
}

/// How many indexes may fail, of so many that the status can hold them.
fn failed_indexes(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    let at = path.child("maxFailedIndexes");
    let (completions, most) = (spec.completions.unwrap_or(0), spec.max_failed_indexes);
    if let Some(most) = most.filter(|most| spec.completions.is_some() && *most > completions) {
        errors.invalid(&at, most, "must be less than or equal to completions");
    }
    if let Some(most) = most.filter(|most| *most > INDEXED_PARALLELISM) {
        errors.invalid(&at, most, format!("must be less than or equal to {INDEXED_PARALLELISM}"));
    }
    if completions <= INDEXED_PARALLELISM || spec.backoff_limit_per_index.is_none() {
        return;
    }
    if most.is_none() {
        let why = format!("must be specified when completions is above {INDEXED_PARALLELISM}");
        errors.required(&at, &why);
    }
    let why = format!(
        "must be less than or equal to {MANY_INDEXES} when completions are above {INDEXED_PARALLELISM} and used with backoff limit per index"
    );
    for (field, count) in [("parallelism", spec.parallelism), ("maxFailedIndexes", most)] {
        if let Some(count) = count.filter(|count| *count > MANY_INDEXES) {
            errors.invalid(&path.child(field), count, why.clone());
        }
    }
}

/// What may not change; of a job that rests, where its pods run and with what may.
fn unchanged(errors: &mut Errors, path: &Path, new: &JobSpec, old: &JobSpec, rests: bool) {
    let indexed = text(&new.completion_mode) == "Indexed";
    if indexed
        && new.completions != old.completions
        && new.completions.is_some_and(|all| new.parallelism != Some(all))
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&path.child("completions"), json(new.completions), why);
    }
    let mut refuse = |field: &str, changed: bool, shown: String| {
        if changed {
            errors.add_shown(Reason::Invalid, &path.child(field), shown, IMMUTABLE);
        }
    };
    let completions = !indexed && new.completions != old.completions;
    refuse("completions", completions, json(new.completions).to_string());
    let selector = new.selector.as_ref();
    refuse("selector", new.selector != old.selector, labels::shown(selector));
    let mut template = new.template.clone();
    if rests {
        same_place(&mut template, &old.template);
    }
    refuse("template", template != old.template, json(&new.template).to_string());
    let mode = json(&new.completion_mode).to_string();
    refuse("completionMode", new.completion_mode != old.completion_mode, mode);
    let failure = new.pod_failure_policy != old.pod_failure_policy;
    refuse("podFailurePolicy", failure, policy::shown(new.pod_failure_policy.as_ref()));
    let limit = json(new.backoff_limit_per_index).to_string();
    refuse("backoffLimitPerIndex", new.backoff_limit_per_index != old.backoff_limit_per_index, limit);
    refuse("managedBy", new.managed_by != old.managed_by, json(&new.managed_by).to_string());
    let success = json(&new.success_policy).to_string();
    refuse("successPolicy", new.success_policy != old.success_policy, success);
}

type Template = k8s_openapi::api::core::v1::PodTemplateSpec;

fn same_place(new: &mut Template, old: &Template) {
    if let (Some(new), Some(old)) = (&mut new.metadata, &old.metadata) {
        new.labels.clone_from(&old.labels);
        new.annotations.clone_from(&old.annotations);
    }
    if let (Some(new), Some(old)) = (&mut new.spec, &old.spec) {
        let [before, now] =
            [&old.affinity, &new.affinity].map(|affinity| affinity.clone().unwrap_or_default());
        let other_nodes = Affinity { node_affinity: before.node_affinity.clone(), ..now };
        if other_nodes == before {
            new.affinity.clone_from(&old.affinity);
        }
        new.node_selector.clone_from(&old.node_selector);
        new.tolerations.clone_from(&old.tolerations);
        new.scheduling_gates.clone_from(&old.scheduling_gates);
        let of = |containers: &[Container], name: &str| {
            containers.iter().find(|one| one.name == name).map(|one| one.resources.clone())
        };
        let before =
            old.containers.iter().chain(old.init_containers.iter().flatten()).cloned().collect::<Vec<_>>();
        for one in new.containers.iter_mut().chain(new.init_containers.iter_mut().flatten()) {
            if let Some(resources) = of(&before, &one.name) {
                one.resources = resources;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: serde_json::Value, expected: &[&str]) {
        let object = serde_json::json!({"metadata": {"name": "j"}, "spec": spec});
        let mut job: Job = serde_json::from_value(object).unwrap();
        Rules::default(&mut job);
        let mut errors = Errors::default();
        job.validate(&mut errors, &Path::ROOT);
        let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        // That there is neither a selector nor a pod is another matter.
        let told: Vec<&String> = told
            .iter()
            .filter(|error| !error.starts_with("spec.selector") && !error.starts_with("spec.template"))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_no_controller_could_work_with_is_refused() {
        let with = |more: serde_json::Value| {
            let mut spec = serde_json::json!({"template": {}, "completionMode": "Indexed", "completions": 3});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        check(with(serde_json::json!({})), &[]);
        check(
            with(serde_json::json!({"managedBy": "someone"})),
            &[
                "spec.managedBy: Invalid value: \"someone\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ],
        );
        check(
            with(serde_json::json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 4})),
            &["spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions"],
        );
        check(
            with(
                serde_json::json!({"backoffLimitPerIndex": 1, "completions": 200_000, "parallelism": 20_000}),
            ),
            &[
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ],
        );
        let mut long = <Job as Default>::default();
        long.metadata.name = Some("j".repeat(62));
        long.spec = serde_json::from_value(with(serde_json::json!({"completions": 10}))).unwrap();
        let mut errors = Errors::default();
        long.validate(&mut errors, &Path::ROOT);
        assert!(errors.0.iter().any(|error| error.field == "metadata.name"), "{errors:?}");
    }
}
