//! Whether a pod may be made to go, as the budgets for disruptions of those like it have it: what an eviction costs, and what it
//! writes. Pure; who asks is answered by `server::api::eviction`.

use super::object;
use super::status::ApiError;
use serde_json::{Value, json};

/// How many disrupted pods a budget's status lists: those that it has not seen go yet.
const LISTED: usize = 2000;

/// The condition of a pod that somebody makes to go, and that is not to blame.
pub const DISRUPTED: &str = "DisruptionTarget";

/// Whether a pod's going disrupts anything: not if it has ended, has not begun, or is going already.
pub fn counts(pod: &Value) -> bool {
    !is_going(pod) && pod["status"]["phase"] != "Pending"
}

/// Whether it has ended or is going already.
pub fn is_going(pod: &Value) -> bool {
    object::deleting(pod) || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// The condition that says so. One that was so before has been since then.
pub fn made_to_go(pod: &mut Value, now: &str) {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (before, mut all): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|one| one["type"] == DISRUPTED);
    let since =
        before.iter().find(|one| one["status"] == "True").map(|one| one["lastTransitionTime"].clone());
    all.push(json!({
        "type": DISRUPTED,
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "observedGeneration": object::generation(pod),
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| now.into()),
    }));
    pod["status"]["conditions"] = all.into();
}

/// Whether a budget lets a pod go that serves nobody: always, or while it has what it wants.
pub fn may_go_anyway(budget: &Value) -> bool {
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

/// Takes one of the disruptions that a budget allows; 429 if it allows none.
pub fn take(budget: &mut Value, pod: &str, now: &str) -> Result<(), ApiError> {
    let name = object::name(budget).to_owned();
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    if count("observedGeneration") < object::generation(budget) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, 10));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        let why =
            format!("poddisruptionbudgets.policy {name:?} is forbidden: pdb disruptions allowed is negative");
        return Err(ApiError {
            message: why,
            ..ApiError::forbidden("policy", "poddisruptionbudgets", &name, "")
        });
    }
    let disrupted = budget["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if disrupted > LISTED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden("policy", "poddisruptionbudgets", &name, why));
    }
    if allowed == 0 {
        let (wanted, healthy) = (count("desiredHealthy"), count("currentHealthy"));
        let why =
            format!("The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently");
        return Err(refused(why, 0));
    }
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    budget["status"]["disruptedPods"][pod] = now.into();
    Ok(())
}

/// 429 in upstream's words.
fn refused(why: String, after_seconds: u32) -> ApiError {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if after_seconds > 0 {
        details["retryAfterSeconds"] = after_seconds.into();
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    ApiError { details, ..ApiError::new(429, "TooManyRequests", message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_made_to_go_says_why_and_since_when() {
        let mut pod = json!({"metadata": {"generation": 3},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        made_to_go(&mut pod, "then");
        made_to_go(&mut pod, "now");
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(
            (&conditions[1]["reason"], &conditions[1]["lastTransitionTime"]),
            (&json!("EvictionByEvictionAPI"), &json!("then"))
        );
        assert_eq!(conditions[1]["observedGeneration"], 3);
    }

    #[test]
    fn a_budget_is_spent_once_and_then_refuses() {
        let mut budget = json!({
            "metadata": {"name": "b", "generation": 1},
            "status": {"observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3},
        });
        take(&mut budget, "p", "now").unwrap();
        assert_eq!(budget["status"]["disruptedPods"]["p"], "now");
        let error = take(&mut budget, "q", "now").unwrap_err();
        assert_eq!(
            (error.code, error.details["causes"][0]["reason"].as_str()),
            (429, Some("DisruptionBudget"))
        );
        let told = error.details["causes"][0]["message"].as_str().unwrap();
        assert_eq!(told, "The disruption budget b needs 2 healthy pods and has 3 currently");
    }
}
