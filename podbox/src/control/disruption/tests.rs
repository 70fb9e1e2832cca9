//! One budget and pods of all sorts: what is told of them.

use super::*;
use crate::control::action::Edit;
use crate::control::key::Key;
use crate::control::meta::Labels;
use crate::control::pods::Phase;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn budget(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "b", "namespace": "n", "uid": "b", "generation": 2}, "spec": spec, "status": status})
}

fn pod(name: &str, controller: Option<&str>, ready: bool) -> Arc<Member> {
    Arc::new(Member {
        key: Key::new("n", name),
        uid: name.into(),
        controller: controller.map(Into::into),
        labels: Arc::new(Labels::new()),
        node: None,
        phase: Phase::Running,
        deleting: name.starts_with("going"),
        ready: ready.then_some(Timestamp::UNIX_EPOCH),
        created: None,
        deletion_cost: 0,
        evicted: false,
        disrupted: false,
        restarts: (0, 0),
        address: None,
        batch: None,
        daemon: None,
    })
}

/// So many ready ones that `set` controls, who wants ten.
fn ready(count: usize) -> Vec<Arc<Member>> {
    (0..count).map(|number| pod(&format!("p{number}"), Some("set"), true)).collect()
}

/// The status after it was told, what is said, and when it is looked at again.
fn run(mut object: Value, pods: &[Arc<Member>]) -> (Value, Vec<&'static str>, Option<Timestamp>) {
    let at = Target {
        api_version: "policy/v1".into(),
        kind: "PodDisruptionBudget".into(),
        namespace: "n".into(),
        name: "b".into(),
    };
    let asks = |pod: &Member| match pod.controller.as_deref() {
        Some("set") => Ok(Some(("above".to_owned(), 10))),
        Some("job") => Err("jobs.batch does not implement the scale subresource".to_owned()),
        _ => Ok(None),
    };
    let observed = Observed { pods: pods.iter().collect(), asks: &asks };
    let desired = Desired { at: at.clone(), object: &object, revision: 1 };
    let actions = reconcile(&desired, &observed, now());
    let said = actions.said.iter().map(|saying| saying.reason).collect();
    for action in &actions.actions {
        let Write::Edit { part: "status", edit: edit @ Edit::Merge(_), .. } = &action.write else {
            panic!("{action:?}")
        };
        edit.apply(&mut object);
    }
    let again = reconcile(&Desired { at, object: &object, revision: 2 }, &observed, now());
    assert!(again.actions.is_empty() && again.said.is_empty(), "it comes to rest: {again:?}");
    (object["status"].clone(), said, actions.wake_at)
}

/// Healthy ones that there are, should be, pods that should be, and disruptions that are allowed.
#[track_caller]
fn check(spec: Value, pods: &[Arc<Member>], expected: [i64; 4]) -> Value {
    let (status, ..) = run(budget(spec, json!({})), pods);
    let found = ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"]
        .map(|field| status[field].as_i64().unwrap());
    assert_eq!(found, expected);
    assert_eq!(status["observedGeneration"], 2);
    let condition = &status["conditions"][0];
    let (holds, reason) =
        if expected[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    assert_eq!((&condition["type"], &condition["status"]), (&json!("DisruptionAllowed"), &json!(holds)));
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!(reason), &json!(2)));
    status
}

#[test]
fn what_may_go_is_what_is_healthy_beyond_what_must_stay() {
    check(json!({"minAvailable": 2}), &ready(3), [3, 2, 3, 1]);
    check(json!({"minAvailable": 3}), &ready(3), [3, 3, 3, 0]);
    check(json!({"minAvailable": 0}), &ready(0), [0, 0, 0, 0]);
    // What asks for nothing allows nothing.
    check(json!({}), &ready(3), [3, 0, 0, 0]);
    // Shares are of what is asked for, and round up.
    check(json!({"minAvailable": "75%"}), &ready(10), [10, 8, 10, 2]);
    check(json!({"minAvailable": "75%"}), &ready(8), [8, 8, 10, 0]);
    check(json!({"maxUnavailable": 1}), &ready(10), [10, 9, 10, 1]);
    check(json!({"maxUnavailable": "25%"}), &ready(10), [10, 7, 10, 3]);
    check(json!({"maxUnavailable": 20}), &ready(10), [10, 0, 10, 10]);
}

#[test]
fn only_pods_that_serve_and_stay_are_healthy() {
    let mut pods = ready(2);
    pods.push(pod("sick", Some("set"), false));
    pods.push(pod("going", Some("set"), true));
    check(json!({"minAvailable": 1}), &pods, [2, 1, 4, 1]);
}

#[test]
fn an_evicted_pod_counts_for_nothing_until_it_goes_or_two_minutes_are_over() {
    let spec = json!({"minAvailable": 1});
    let disrupted =
        json!({"p0": "2026-01-01T00:09:00Z", "p1": "2026-01-01T00:07:59Z", "gone": "2026-01-01T00:09:59Z"});
    let (status, _, wake_at) = run(budget(spec.clone(), json!({"disruptedPods": disrupted})), &ready(3));
    assert_eq!(status["disruptedPods"], json!({"p0": "2026-01-01T00:09:00Z"}));
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(2), &json!(1)));
    assert!(wake_at.is_some_and(|at| at.to_string() == "2026-01-01T00:11:01Z"));
    let over = json!({"p0": "2026-01-01T00:01:00Z"});
    let (status, said, wake_at) = run(budget(spec, json!({"disruptedPods": over})), &ready(3));
    assert_eq!((status.get("disruptedPods"), wake_at), (None, None));
    assert_eq!(said, ["NotDeleted"]);
}

#[test]
fn pods_that_nobody_asks_for_have_no_share() {
    let mut pods = ready(10);
    pods.push(pod("alone", None, true));
    let (status, said, _) = run(budget(json!({"maxUnavailable": 1}), json!({})), &pods);
    assert_eq!((&status["expectedPods"], said), (&json!(10), vec!["UnmanagedPods"]));
    let (_, said, _) = run(budget(json!({"minAvailable": 1}), json!({})), &[]);
    assert_eq!(said, ["NoPods"]);
    // Nothing is allowed that cannot be counted.
    let strange = vec![pod("strange", Some("other"), true)];
    let before = json!({"disruptionsAllowed": 3, "observedGeneration": 1});
    let (status, said, _) = run(budget(json!({"maxUnavailable": 1}), before), &strange);
    assert_eq!((&status["disruptionsAllowed"], said), (&json!(0), vec!["CalculateExpectedPodCountFailed"]));
    let condition = &status["conditions"][0];
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!("SyncFailed"), &json!(1)));
    assert_eq!(condition["message"], "found no controllers for pod \"strange\"");
    let (status, said, _) =
        run(budget(json!({"maxUnavailable": 1}), json!({})), &[pod("once", Some("job"), true)]);
    assert_eq!(said, ["CalculateExpectedPodCountFailed"]);
    let why = &status["conditions"][0]["message"];
    assert_eq!(why, "jobs.batch does not implement the scale subresource");
}
