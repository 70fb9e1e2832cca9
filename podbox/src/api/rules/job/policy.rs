//! When a job has failed before its backoff limit, or succeeded before its last pod.

use crate::api::field::{Errors, Path, Reason};
use crate::api::rules::check::{json, named, one_of, text};
use crate::api::rules::names;
use crate::api::rules::pod::default::set;
use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use std::collections::BTreeSet;

/// The most rules that a policy may have.
const RULES: usize = 20;
/// The most bytes that a list of indexes may have.
const INDEXES_BYTES: usize = 64 * 1024;

/// Defaults a policy.
pub fn default(policy: &mut PodFailurePolicy) {
    for pattern in policy.rules.iter_mut().flat_map(|rule| rule.on_pod_conditions.iter_mut().flatten()) {
        set(&mut pattern.status, "True");
    }
}

/// A policy on failed pods.
pub fn failure(errors: &mut Errors, path: &Path, policy: &PodFailurePolicy, spec: &JobSpec) {
    let at = path.child("rules");
    if policy.rules.len() > RULES {
        let why = format!("must have at most {RULES} items");
        return errors.add(Reason::TooMany, &at, serde_json::Value::Null, why);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        self::rule(errors, &at.index(index), rule, spec);
    }
}

fn rule(errors: &mut Errors, path: &Path, rule: &PodFailurePolicyRule, spec: &JobSpec) {
    let at = path.child("action");
    match rule.action.as_str() {
        "" => errors.required(&at, "valid values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            errors.invalid(&at, "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        action => one_of(errors, &at, action, &["Count", "FailIndex", "FailJob", "Ignore"]),
    }
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(errors, &path.child("onExitCodes"), codes, spec);
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    for (index, pattern) in conditions.iter().enumerate() {
        let list = path.child("onPodConditions");
        let at = list.index(index);
        named(errors, &at.child("type"), &pattern.type_, names::qualified);
        let status = text(&pattern.status);
        one_of(errors, &at.child("status"), status, &["False", "True", "Unknown"]);
    }
    let both = rule.on_exit_codes.is_some() && !conditions.is_empty();
    if both {
        errors.invalid(path, json(rule), "specifying both OnExitCodes and OnPodConditions is not supported");
    }
    if rule.on_exit_codes.is_none() && conditions.is_empty() {
        errors.invalid(path, json(rule), "specifying one of OnExitCodes and OnPodConditions is required");
    }
}

fn exit_codes(
    errors: &mut Errors,
    path: &Path,
    codes: &PodFailurePolicyOnExitCodesRequirement,
    spec: &JobSpec,
) {
    match codes.operator.as_str() {
        "" => errors.required(&path.child("operator"), "valid values: \"In\", \"NotIn\""),
        operator => one_of(errors, &path.child("operator"), operator, &["In", "NotIn"]),
    }
    if let Some(name) = &codes.container_name {
        let pod = spec.template.spec.as_ref();
        let known = pod.is_some_and(|pod| {
            pod.containers.iter().chain(pod.init_containers.iter().flatten()).any(|one| one.name == *name)
        });
        if !known {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&path.child("containerName"), name.as_str(), why);
        }
    }
    let at = path.child("values");
    if codes.values.is_empty() {
        errors.invalid(&at, json(&codes.values), "at least one value is required");
    }
    let mut seen = BTreeSet::new();
    for (index, value) in codes.values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            errors.invalid(&at.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&at.index(index), *value);
        }
    }
    if codes.values.len() > 255 {
        errors.add(Reason::TooMany, &at, serde_json::Value::Null, "must have at most 255 items");
    }
    if !codes.values.is_sorted() {
        errors.invalid(&at, json(&codes.values), "must be ordered");
    }
}

/// A policy on succeeded indexes.
pub fn success(errors: &mut Errors, path: &Path, policy: &SuccessPolicy, spec: &JobSpec) {
    if text(&spec.completion_mode) != "Indexed" {
        let rules = policy.rules.iter().map(|rule| {
            let (indexes, count) = (json(&rule.succeeded_indexes), json(rule.succeeded_count));
            format!("{{\"SucceededIndexes\":{indexes},\"SucceededCount\":{count}}}")
        });
        let shown = format!("{{\"Rules\":[{}]}}", rules.collect::<Vec<_>>().join(","));
        return errors.add_shown(Reason::Invalid, path, shown, "requires indexed completion mode");
    }
    let at = path.child("rules");
    if policy.rules.is_empty() {
        errors.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > RULES {
        let why = format!("must have at most {RULES} items");
        errors.add(Reason::TooMany, &at, serde_json::Value::Null, why);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let at = at.index(index);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            errors.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let of = rule.succeeded_indexes.as_deref().zip(spec.completions);
        let listed =
            of.map(|(text, completions)| indexes(errors, &at.child("succeededIndexes"), text, completions));
        if let Some(count) = rule.succeeded_count.filter(|count| *count < 0) {
            errors.invalid(&at.child("succeededCount"), count, "must be greater than or equal to 0");
        }
        if let (Some(count), Some(all)) = (rule.succeeded_count, spec.completions)
            && count > all
        {
            let why = format!("must be less than or equal to {all} (the number of specified completions)");
            errors.invalid(&at.child("succeededCount"), count, why);
        }
        if let (Some(count), Some(Some(listed))) = (rule.succeeded_count, listed)
            && count > listed
        {
            let why = format!(
                "must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(&at.child("succeededCount"), count, why);
        }
    }
}

/// How many indexes are written so; none, if that cannot be read.
fn indexes(errors: &mut Errors, path: &Path, text: &str, completions: i32) -> Option<i32> {
    if text.len() > INDEXES_BYTES {
        let why = format!("may not be more than {INDEXES_BYTES} bytes");
        errors.add(Reason::TooLong, path, serde_json::Value::Null, why);
        return None;
    }
    let counted = count_indexes(text, completions);
    if let Err(why) = &counted {
        errors.invalid(path, text, format!("error parsing succeededIndexes: {why}"));
    }
    counted.ok()
}

/// Runs of indexes in ascending order: `0,2-5,7`.
pub(super) fn count_indexes(text: &str, completions: i32) -> Result<i32, String> {
    let index = |text: &str| {
        let index: i32 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index < completions { Ok(index) } else { Err(format!("too large index: {text:?}")) }
    };
    let out_of_order = |before, now| format!("non-increasing order, previous: {before}, current: {now}");
    let (mut last, mut all) = (None::<i32>, 0i32);
    for run in text.split(',').filter(|_| !text.is_empty()) {
        let parts: Vec<&str> = run.split('-').collect();
        let (first, end) = match *parts.as_slice() {
            [one] => (index(one)?, index(one)?),
            [first, end] => (index(first)?, index(end)?),
            _ => {
                return Err(format!(
                    "the fragment {run:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if parts.len() > 1 && first >= end {
            return Err(out_of_order(first, end));
        }
        if let Some(before) = last.filter(|before| *before >= first) {
            return Err(out_of_order(before, first));
        }
        all = all.saturating_add(end - first + 1);
        last = Some(end);
    }
    Ok(all)
}

/// A policy as upstream shows it: by the names of Go's fields.
pub fn shown(policy: Option<&PodFailurePolicy>) -> String {
    let Some(policy) = policy else { return "null".to_owned() };
    let rules = policy.rules.iter().map(|rule| {
        let codes = rule.on_exit_codes.as_ref().map(|codes| {
            format!(
                "{{\"ContainerName\":{},\"Operator\":{},\"Values\":{}}}",
                json(&codes.container_name),
                json(&codes.operator),
                json(&codes.values)
            )
        });
        let patterns = rule.on_pod_conditions.as_ref().map(|patterns| {
            let shown = patterns.iter().map(|pattern| {
                format!("{{\"Type\":{},\"Status\":{}}}", json(&pattern.type_), json(&pattern.status))
            });
            format!("[{}]", shown.collect::<Vec<_>>().join(","))
        });
        format!(
            "{{\"Action\":{},\"OnExitCodes\":{},\"OnPodConditions\":{}}}",
            json(&rule.action),
            codes.unwrap_or_else(|| "null".to_owned()),
            patterns.unwrap_or_else(|| "null".to_owned())
        )
    });
    format!("{{\"Rules\":[{}]}}", rules.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_or_the_fault_is_told() {
        let check = |text, expected: Result<i32, &str>| {
            assert_eq!(count_indexes(text, 10), expected.map_err(str::to_owned));
        };
        check("", Ok(0));
        check("0,2-5,7", Ok(6));
        check("abc", Err("cannot convert string to integer for index: \"abc\""));
        check("1,", Err("cannot convert string to integer for index: \"\""));
        check("7-10", Err("too large index: \"10\""));
        check("3-1", Err("non-increasing order, previous: 3, current: 1"));
        check("3,3", Err("non-increasing order, previous: 3, current: 3"));
        let parts =
            "violates the requirement that an index interval can have at most two parts separated by '-'";
        check("1-2-3", Err(&format!("the fragment \"1-2-3\" {parts}")));
    }
}
