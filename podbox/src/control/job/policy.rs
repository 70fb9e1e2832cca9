//! What a Job's pod failure policy says of a failed pod, and its success policy of the indexes that succeeded. Pure.

use super::indexes::Indexes;
use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement as Codes,
    PodFailurePolicyOnPodConditionsPattern as Pattern, SuccessPolicy,
};
use serde_json::Value;

/// What is to follow from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The Job has failed, for this.
    FailJob(String),
    /// The pod's index has failed.
    FailIndex,
    /// It counts.
    Count,
    /// It does not count.
    Ignore,
}

/// The first rule that matches decides; without one, a failure counts.
pub fn judge(policy: Option<&PodFailurePolicy>, pod: &Value) -> Judgement {
    let rules = policy.into_iter().flat_map(|policy| &policy.rules).enumerate();
    for (index, rule) in rules {
        let matched = match &rule.on_exit_codes {
            Some(codes) => by_exit_code(codes, pod),
            None => rule.on_pod_conditions.iter().flatten().find_map(|pattern| by_condition(pattern, pod)),
        };
        let Some(what) = matched else { continue };
        return match rule.action.as_str() {
            "FailJob" => Judgement::FailJob(format!("{what} matching {} rule at index {index}", rule.action)),
            "FailIndex" => Judgement::FailIndex,
            "Ignore" => Judgement::Ignore,
            _ => Judgement::Count,
        };
    }
    Judgement::Count
}

/// What of the pod matches.
fn by_exit_code(codes: &Codes, pod: &Value) -> Option<String> {
    let statuses = ["containerStatuses", "initContainerStatuses"]
        .into_iter()
        .flat_map(|field| pod["status"][field].as_array().into_iter().flatten());
    let wanted = |status: &&Value| {
        codes.container_name.as_deref().is_none_or(|name| status["name"].as_str() == Some(name))
    };
    statuses.filter(wanted).find_map(|status| {
        let code = status["state"]["terminated"]["exitCode"].as_i64().filter(|code| *code != 0)?;
        let listed = codes.values.iter().any(|value| i64::from(*value) == code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        let name = status["name"].as_str().unwrap_or_default();
        matches.then(|| format!("Container {name} for pod {} failed with exit code {code}", of(pod)))
    })
}

fn by_condition(pattern: &Pattern, pod: &Value) -> Option<String> {
    let status = pattern.status.as_deref().filter(|status| !status.is_empty()).unwrap_or("True");
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|one| one["type"] == pattern.type_.as_str() && one["status"] == status)?;
    Some(format!("Pod {} has condition {}", of(pod), found["type"].as_str().unwrap_or_default()))
}

fn of(pod: &Value) -> String {
    let word = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", word("namespace"), word("name"))
}

/// Which rule is fulfilled, in upstream's words, if one is.
pub fn fulfilled(policy: Option<&SuccessPolicy>, completions: u32, succeeded: &Indexes) -> Option<String> {
    if succeeded.count() == 0 {
        return None;
    }
    let rules = policy.into_iter().flat_map(|policy| &policy.rules).enumerate();
    for (index, rule) in rules {
        let (least, matching) = match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text, completions);
                // Of a Job that has shrunk, perhaps: no index is left that could fulfil it.
                if wanted.count() == 0 {
                    continue;
                }
                (wanted.count(), wanted.common(succeeded))
            }
            None => (usize::MAX, succeeded.count()),
        };
        let least = rule.succeeded_count.map_or(least, |count| usize::try_from(count).unwrap_or(0));
        if matching >= least {
            return Some(format!("Matched rules at index {index}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(rules: Value) -> PodFailurePolicy {
        serde_json::from_value(json!({"rules": rules})).unwrap()
    }

    fn failed(code: i64, condition: &str) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": "p"},
            "status": {
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}],
                "conditions": [{"type": condition, "status": "True"}],
            },
        })
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = policy(json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [3, 42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1]}},
        ]));
        let check =
            |code, condition, expected| assert_eq!(judge(Some(&rules), &failed(code, condition)), expected);
        check(42, "DisruptionTarget", Judgement::Ignore);
        let why = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        check(42, "Ready", Judgement::FailJob(why.to_owned()));
        check(7, "Ready", Judgement::FailIndex);
        check(1, "Ready", Judgement::Count);
        check(0, "Ready", Judgement::Count);
        let fails =
            policy(json!([{"action": "FailJob", "onPodConditions": [{"type": "X", "status": "True"}]}]));
        let why = "Pod n/p has condition X matching FailJob rule at index 0";
        assert_eq!(judge(Some(&fails), &failed(1, "X")), Judgement::FailJob(why.to_owned()));
        assert_eq!(judge(None, &failed(1, "X")), Judgement::Count);
    }

    #[test]
    fn enough_indexes_are_a_success() {
        let check = |rule: Value, succeeded: &str, expected: bool| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": [rule]})).unwrap();
            let met = fulfilled(Some(&policy), 10, &Indexes::parse(succeeded, 10));
            assert_eq!(met.is_some(), expected, "{succeeded}");
        };
        check(json!({"succeededIndexes": "0,2-3"}), "0-3", true);
        check(json!({"succeededIndexes": "0,2-3"}), "0-2", false);
        check(json!({"succeededIndexes": "0,2-3", "succeededCount": 1}), "3", true);
        check(json!({"succeededCount": 2}), "3,7", true);
        check(json!({"succeededCount": 2}), "3", false);
        check(json!({"succeededIndexes": "10-12"}), "3", false);
        check(json!({"succeededIndexes": "none"}), "3", false);
        check(json!({"succeededIndexes": "0", "succeededCount": 0}), "", false);
    }
}
