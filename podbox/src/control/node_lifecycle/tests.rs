//! Nodes in all their states, and the pods that these are about.

use super::*;
use crate::control::key::Key;
use crate::control::pods::Pods;

const USUAL: Rate = Rate::Each(limits::NODE_EVICTION);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(ready: &str, spec: Value) -> Value {
    let conditions = json!([
        {"type": "Own", "status": "True"},
        {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
    ]);
    let metadata = json!({"name": "n", "uid": "u", "annotations": {"node.alpha.kubernetes.io/ttl": "0"}});
    json!({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}})
}

fn looked(node: &Value, heard: i64, (rate, wait): (Rate, Option<i64>), now: i64) -> Actions {
    let target =
        Target { api_version: "v1".into(), kind: "Node".into(), namespace: String::new(), name: "n".into() };
    let observed = Observed { heard: at(heard), rate, wait: wait.map(at), known: Some("u"), ttl: 0 };
    reconcile(&Desired { at: target, object: node, revision: 5 }, &observed, at(now))
}

/// What an object is after the only write.
#[track_caller]
fn after_it(object: &Value, actions: &Actions) -> Value {
    let [Action { write: Write::Edit { edit, .. }, .. }] = actions.actions.as_slice() else {
        panic!("{actions:#?}");
    };
    let mut object = object.clone();
    edit.apply(&mut object);
    object
}

#[test]
fn a_node_that_nobody_hears_of_is_unknown_and_a_healthy_one_is_looked_at_when_it_would_be() {
    let healthy = node("True", json!({}));
    let actions = looked(&healthy, 100, (USUAL, None), 149);
    assert!(actions.actions.is_empty() && actions.wake_at == Some(at(150)), "{actions:#?}");
    let actions = looked(&healthy, 100, (USUAL, None), 150);
    assert_eq!(actions.said[0].message, "Node n status is now: NodeNotReady");
    let silent = after_it(&healthy, &actions);
    let conditions = condition::of(&silent);
    let ready = condition::get(&conditions, "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("Unknown"), &json!("NodeStatusUnknown")));
    assert_eq!(ready["lastHeartbeatTime"], "2026-01-01T00:00:00Z");
    assert_eq!(condition::get(&conditions, "DiskPressure").unwrap()["reason"], "NodeStatusNeverUpdated");
    assert_eq!(condition::get(&conditions, "Own").unwrap()["status"], "True");
    let tainted = after_it(&silent, &looked(&silent, 100, (USUAL, None), 151));
    let again = looked(&tainted, 100, (USUAL, None), 152);
    assert!(again.actions.is_empty() && again.said.is_empty(), "it is said once: {again:#?}");
}

#[test]
fn a_node_that_has_never_said_anything_has_longer() {
    let mut new =
        node("", json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}));
    new["status"] = json!({});
    let waits = looked(&new, 100, (USUAL, None), 150);
    assert!(waits.actions.is_empty() && waits.wake_at == Some(at(160)), "{waits:#?}");
    let silent = looked(&new, 100, (USUAL, None), 160);
    assert_eq!(silent.said, [], "it never was ready");
    let silent = after_it(&new, &silent);
    assert_eq!(condition::of(&silent)[0]["message"], "Kubelet never posted node status.");
}

/// The taints of a node that was heard of at second 100 and is looked at 10 s, or 100 s later.
#[track_caller]
fn check(node: &Value, (rate, wait): (Rate, Option<i64>), expected: &str) {
    let now = if ready(node) == Ready::Unknown { 200 } else { 110 };
    let mut node = node.clone();
    // What nobody can tell of it is said already.
    let untold = if ready(&node) == Ready::Unknown { &TOLD_BY_NODES[1..] } else { &[] };
    for condition in untold {
        node["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": condition, "status": "Unknown"}));
    }
    let actions = looked(&node, 100, (rate, wait), now);
    assert_eq!(actions.wake_at.is_some_and(|at| at.as_second() == 300), wait.is_some(), "{actions:#?}");
    let tainted = if actions.actions.is_empty() { node.clone() } else { after_it(&node, &actions) };
    let taints = tainted["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let words: Vec<_> = taints
        .iter()
        .map(|taint| {
            let key = taint["key"].as_str().unwrap().trim_start_matches("node.kubernetes.io/");
            let since = if taint["timeAdded"].is_null() { "" } else { "@" };
            format!("{key}:{}{since}", taint["effect"].as_str().unwrap())
        })
        .collect();
    assert_eq!(words.join(" "), expected);
    assert_eq!(looked(&tainted, 100, (rate, wait), now + 1).actions, [], "it settles");
}

#[test]
fn taints_say_what_a_node_is_and_others_stay() {
    let (none, usual) = (|| json!({}), (USUAL, None));
    check(&node("True", none()), usual, "");
    check(&node("False", none()), usual, "not-ready:NoSchedule@ not-ready:NoExecute@");
    check(&node("Unknown", none()), usual, "unreachable:NoSchedule@ unreachable:NoExecute@");
    check(&node("", none()), usual, "not-ready:NoSchedule@");
    check(&node("True", json!({"unschedulable": true})), usual, "unschedulable:NoSchedule@");
    let mut short = node("True", none());
    for of in ["MemoryPressure", "NetworkUnavailable"] {
        short["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": of, "status": "True"}));
    }
    check(&short, usual, "memory-pressure:NoSchedule@ network-unavailable:NoSchedule@");
    let taints = json!([
        {"key": "own", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
        {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
    ]);
    let tainted = |ready| node(ready, json!({"taints": taints}));
    check(&tainted("True"), usual, "own:NoExecute out-of-service:NoExecute");
    let unready = "own:NoExecute not-ready:NoExecute@ out-of-service:NoExecute not-ready:NoSchedule@";
    check(&tainted("False"), usual, unready);
}

#[test]
fn pods_leave_nodes_that_are_not_ready_one_by_one_and_not_where_most_or_all_are_silent() {
    let silent = node("Unknown", json!({}));
    check(&silent, (USUAL, Some(300)), "unreachable:NoSchedule@");
    check(&silent, (Rate::Paused, None), "unreachable:NoSchedule@");
    check(&silent, (Rate::Off, None), "unreachable:NoSchedule@");
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]);
    let lost = || node("Unknown", json!({"taints": taints}));
    check(&lost(), (Rate::Paused, None), "unreachable:NoSchedule@ unreachable:NoExecute@");
    check(&lost(), (Rate::Off, None), "unreachable:NoSchedule@");
}

#[test]
fn a_node_that_is_heard_of_again_keeps_its_pods_until_it_says_how_it_is() {
    let answers = node("Unknown", json!({}));
    let actions = looked(&answers, 100, (USUAL, None), 101);
    let tainted = after_it(&answers, &actions);
    assert_eq!(tainted["spec"]["taints"].as_array().unwrap().len(), 1, "{tainted:#}");
}

#[test]
fn pods_of_a_node_that_does_not_answer_are_not_ready() {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let running = json!({
        "metadata": {"name": "a", "namespace": "default", "uid": "a"},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running", "conditions": ready},
    });
    let look = |pod: &Value| {
        let (mut index, key) = (Pods::default(), Key::new("default", "a"));
        index.note(&key, &serde_json::to_vec(pod).unwrap()).unwrap();
        unready(index.get(&key).unwrap(), pod, 7, at(101))
    };
    let actions = look(&running);
    assert_eq!(actions.actions[0].done, Some(Saying::warning("NodeNotReady", "Node is not ready")));
    let told = after_it(&running, &actions);
    let ready = &told["status"]["conditions"][0];
    assert_eq!(
        (&ready["status"], &ready["lastTransitionTime"]),
        (&json!("False"), &json!("1970-01-01T00:01:41Z"))
    );
    assert_eq!(look(&told), Actions::none());
}

#[test]
fn a_node_that_is_new_is_told_of_and_told_how_many_there_are() {
    let target =
        Target { api_version: "v1".into(), kind: "Node".into(), namespace: String::new(), name: "n".into() };
    let healthy = node("True", json!({}));
    let desired = Desired { at: target, object: &healthy, revision: 5 };
    let observed = Observed { heard: at(100), rate: USUAL, wait: None, known: Some("before"), ttl: 15 };
    let actions = reconcile(&desired, &observed, at(101));
    assert_eq!(actions.said[0].message, "Node n event: Registered Node n in Controller");
    let told = after_it(&healthy, &actions);
    assert_eq!(told["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"], "15");
    let observed = Observed { known: Some("u"), ..observed };
    let desired = Desired { object: &told, ..desired };
    let settled = reconcile(&desired, &observed, at(102));
    assert!(settled.actions.is_empty() && settled.said.is_empty(), "{settled:#?}");
}

#[test]
fn a_silent_node_that_is_to_go_is_silent_all_the_same() {
    let mut going = node("True", json!({}));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let silent = after_it(&going, &looked(&going, 100, (USUAL, None), 150));
    let conditions = condition::of(&silent);
    assert_eq!(condition::get(&conditions, "Ready").unwrap()["status"], "Unknown");
}
