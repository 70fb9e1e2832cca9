//! Pods that others delete, make, or leave behind: each is counted, and once.

use super::*;
use crate::limits;

#[test]
fn a_pod_that_failed_by_going_does_not_succeed_as_well() {
    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    let name = world.running()[0].clone();
    world.delete(&name);
    while world.job["status"]["uncountedTerminatedPods"]["failed"] != json!([name]) {
        world.step().unwrap();
    }
    // Asked to end, it says that it ended well, before the Job let it go.
    world.end(&name, 0);
    world.settle();
    world.check("failed", json!(1));
    world.check("succeeded", Value::Null);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn pods_that_are_of_no_use_make_room_for_those_that_are() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    let mut world = World::new(spec);
    world.settle();
    let names = world.running();
    world.end(&names[2], 0);
    world.settle();
    // As many as there are to be, but two of them of one index.
    world.pods.get_mut(&names[1]).unwrap()["metadata"]["annotations"][INDEX] = "0".into();
    world.settle();
    let mut indexes: Vec<_> = world
        .running()
        .iter()
        .map(|name| world.pods[name]["metadata"]["annotations"][INDEX].as_str().unwrap().to_owned())
        .collect();
    indexes.sort();
    assert_eq!(indexes, ["0", "1"]);
}

#[test]
fn whom_it_takes_over_it_counts() {
    let mut world = World::new(json!({"completions": 1}));
    let pod = json!({
        "metadata": {"name": "free", "namespace": "n", "uid": "free", "labels": {"job": "j"}},
        "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running"},
    });
    world.pods.insert("free".to_owned(), pod);
    world.settle();
    assert_eq!(world.running(), ["free"]);
    world.end("free", 0);
    world.settle();
    world.check("succeeded", json!(1));
    assert_eq!(world.conditions().last().map(String::as_str), Some("Complete CompletionsReached"));
}

#[test]
fn who_was_told_to_go_by_others_is_replaced_after_a_pause() {
    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    let name = world.running()[0].clone();
    world.pods.remove(&name);
    world.departed = (1, Some(world.now));
    world.settle();
    assert_eq!(world.step(), Err(world.now.checked_add(SignedDuration::from_secs(10)).ok()));
    world.later(10);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn who_succeeds_while_it_is_let_go_counts() {
    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    let name = world.running()[0].clone();
    world.job["spec"]["suspend"] = true.into();
    let decided = world.look().actions;
    assert!(decided.iter().any(|action| matches!(action.write, Write::Delete { .. })));
    world.end(&name, 0);
    decided.into_iter().for_each(|action| world.apply(action));
    world.settle();
    world.check("succeeded", json!(1));
    // Who fails so does not: it was to go.
    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    let name = world.running()[0].clone();
    world.job["spec"]["suspend"] = true.into();
    let decided = world.look().actions;
    world.end(&name, 1);
    decided.into_iter().for_each(|action| world.apply(action));
    world.settle();
    world.check("failed", Value::Null);
}

#[test]
fn a_number_that_was_mistyped_fills_nothing() {
    let mut world = World::new(json!({"parallelism": 1_000_000}));
    world.step().unwrap();
    let pod = world.pods.values().next().unwrap().clone();
    world.pods.clear();
    for number in 0..limits::PODS_WITHOUT_NODE {
        let (name, mut pod) = (format!("j-{number}"), pod.clone());
        (pod["metadata"]["name"], pod["metadata"]["uid"]) = (name.clone().into(), name.clone().into());
        world.pods.insert(name, pod);
    }
    let actions = world.look();
    let said: Vec<_> = actions.said.iter().map(|said| said.reason).collect();
    assert_eq!((actions.actions.len(), said), (1, vec!["FailedCreate"]));
    assert!(matches!(actions.actions[0].write, Write::Edit { part: "status", .. }));
    world.apply(actions.actions.into_iter().next().unwrap());
    let again = world.look();
    assert!(again.actions.is_empty() && again.said.is_empty(), "it is said once");
}

#[test]
fn the_pause_after_a_failure_begins_when_all_of_its_containers_have_ended() {
    let at = |second: u32| format!("1970-01-12T13:46:{second}Z");
    let ended = |name: &str, at: &str| json!({"name": name, "state": {"terminated": {"exitCode": 1, "finishedAt": at}}});
    let runs = json!({"name": "b", "state": {"running": {}}});
    let unready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": at(45)}]);
    #[track_caller]
    fn check(status: Value, begins: &str) {
        let mut world = World::new(json!({"completions": 1}));
        world.settle();
        let name = world.running()[0].clone();
        let pod = world.pods.get_mut(&name).unwrap();
        pod["metadata"]["creationTimestamp"] = "1970-01-12T13:46:30Z".into();
        pod["spec"]["initContainers"] =
            json!([{"name": "side", "restartPolicy": "Always"}, {"name": "first"}]);
        pod["status"] = status;
        pod["status"]["phase"] = "Failed".into();
        world.now = "1970-01-12T13:46:59Z".parse().unwrap();
        // As if it were the third.
        world.departed = (2, None);
        world.settle();
        let expected = begins.parse::<Timestamp>().unwrap().checked_add(SignedDuration::from_secs(40));
        assert_eq!(world.step(), Err(expected.ok()));
    }
    let both = json!([ended("a", &at(40)), ended("b", &at(41))]);
    check(json!({"containerStatuses": both, "conditions": unready}), &at(41));
    let side = json!([ended("side", &at(42)), ended("first", &at(44))]);
    check(json!({"containerStatuses": both, "initContainerStatuses": side}), &at(42));
    check(json!({"containerStatuses": [ended("a", &at(40)), runs], "conditions": unready}), &at(45));
    check(json!({"containerStatuses": [ended("a", &at(40)), runs]}), &at(30));
}
