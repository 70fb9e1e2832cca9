//! Who is looked at again, when, and what is told.

use super::*;
use crate::control::scheduler::Decision;

fn decide(world: &mut World) -> Decision {
    world.scheduler.next(world.now, 1000).expect("something is decided")
}

#[test]
fn what_changes_nothing_wakes_nobody_and_what_is_told_is_told_once() {
    let mut world = World::default();
    let full = node("n", "", "");
    world.node(&full);
    world.there(&pod("other", "", &asks("cpu: 2")), "n");
    world.pod(&pod("p", "", &asks("cpu: 1")));
    assert_eq!(reasons(&world.all()[0]), "1 Insufficient cpu");
    // A heartbeat, and a status of the pod itself.
    let mut beat = full.clone();
    beat["metadata"]["resourceVersion"] = "2".into();
    beat["status"]["images"] = json!([{"names": ["x"]}]);
    world.node(&beat);
    let mut told = pod("p", "", &asks("cpu: 1"));
    told["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False"}]);
    world.pod(&told);
    assert!(!world.scheduler.is_ready());
    // A label is news, but nothing new is to be told.
    world.node(&node("n", "new: label", ""));
    assert!(world.scheduler.is_ready());
    assert_eq!(world.all(), Vec::<String>::new());
    world.now += Duration::from_secs(10);
    world.gone("other");
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn who_was_told_before_a_restart_is_not_told_again() {
    let mut world = World::default();
    let mut known = pod("p", "", "");
    known["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "no nodes available to schedule pods"}]);
    world.pod(&known);
    assert_eq!(world.all(), Vec::<String>::new());
    world.node(&node("n", "", ""));
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn a_pod_that_takes_less_makes_room() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.there(&pod("other", "", &asks("cpu: 2")), "n");
    world.pod(&pod("p", "", &asks("cpu: 1")));
    assert_eq!(world.all().len(), 1);
    let mut smaller = pod("other", "", &format!("nodeName: n, {}", asks("cpu: 1")));
    smaller["metadata"]["generation"] = 2.into();
    world.pod(&smaller);
    assert_eq!(world.all(), ["p on n"]);
    // So does one that has ended.
    world.pod(&pod("q", "", &asks("cpu: 1")));
    assert_eq!(world.all().len(), 1);
    smaller["status"]["phase"] = "Succeeded".into();
    world.pod(&smaller);
    assert_eq!(world.all(), ["q on n"]);
}

#[test]
fn a_binding_counts_before_it_is_written_and_is_taken_back_if_it_cannot_be() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.pod(&pod("p", "", &asks("cpu: 2")));
    let bound = decide(&mut world);
    world.pod(&pod("q", "", &asks("cpu: 2")));
    assert_eq!(reasons(&world.next().unwrap()), "1 Insufficient cpu");
    world.scheduler.ended(&bound, false, world.now);
    assert_eq!(world.all(), ["q on n"]);
    // The first one's turn comes after a pause, whatever happens.
    world.gone("q");
    assert_eq!(world.all(), Vec::<String>::new());
    let at = world.scheduler.next_time().expect("it is looked at again");
    world.now = at;
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn a_pod_that_is_deleted_while_it_is_bound_is_let_go() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.pod(&pod("p", "", &asks("cpu: 2")));
    let bound = decide(&mut world);
    let mut going = pod("p", "", &asks("cpu: 2"));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(&going);
    world.scheduler.ended(&bound, false, world.now);
    world.now += Duration::from_secs(60);
    assert_eq!((world.all(), world.scheduler.next_time()), (Vec::new(), None));
    world.pod(&pod("q", "", &asks("cpu: 2")));
    assert_eq!(world.all(), ["q on n"]);
}

#[test]
fn another_pod_of_the_same_name_is_another_pod() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.there(&pod("p", "", &asks("cpu: 2")), "n");
    let mut other = pod("p", "", &asks("cpu: 1"));
    other["metadata"]["uid"] = "another".into();
    world.pod(&other);
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn what_a_node_is_short_of_counts_before_it_says_so() {
    let mut world = World::default();
    let taint = read("{key: node.kubernetes.io/disk-pressure, effect: NoSchedule}");
    world.scheduler.taint_ahead("n", vec![serde_json::from_value(taint).unwrap()]);
    world.node(&node("n", "", ""));
    world.pod(&pod("p", "", ""));
    let why = "1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }";
    assert_eq!(reasons(&world.next().unwrap()), why);
    world.scheduler.taint_ahead("n", Vec::new());
    world.node(&node("n", "", ""));
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    for bad in ["", "[]", "{\"metadata\": {\"uid\": \"u\"}, \"spec\": {\"containers\": 5}}"] {
        world.scheduler.note_pod(&Key::new("default", "bad"), bad.as_bytes());
        world.scheduler.note_node(&Key::new("", "bad"), b"{\"spec\": 5}");
    }
    world.pod(&pod("p", "", ""));
    assert_eq!(world.all(), ["p on n"]);
}

#[test]
fn a_pod_of_a_node_that_is_gone_takes_no_room_on_the_next_and_gives_it_none() {
    let mut world = World::default();
    world.there(&pod("left", "", &asks("cpu: 1")), "gone");
    let mut changed = pod("left", "", &asks("cpu: 1"));
    changed["metadata"]["generation"] = 2.into();
    world.there(&changed, "gone");
    world.node(&node("n", "", ""));
    world.gone("left");
    world.pod(&pod("a", "", &asks("cpu: 2")));
    world.pod(&pod("b", "", &asks("cpu: 1")));
    let decided = world.all();
    assert_eq!((decided[0].as_str(), reasons(&decided[1])), ("a on n", "1 Insufficient cpu"));
}

#[test]
fn a_pod_whose_wait_could_not_be_told_is_not_decided_twice_while_it_is_bound() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.there(&pod("other", "", &asks("cpu: 2")), "n");
    world.pod(&pod("p", "", &asks("cpu: 2")));
    let told = decide(&mut world);
    world.gone("other");
    let bound = decide(&mut world);
    assert!(matches!((&told, &bound), (Decision::Tell(..), Decision::Bind(..))), "{told:?} {bound:?}");
    world.scheduler.ended(&told, false, world.now);
    world.now += Duration::from_secs(60);
    assert_eq!(world.all(), Vec::<String>::new());
    world.scheduler.ended(&bound, true, world.now);
    // It has taken its room once.
    world.gone("p");
    world.pod(&pod("q", "", &asks("cpu: 2")));
    assert_eq!(world.all(), ["q on n"]);
}

#[test]
fn why_a_pod_waits_is_said_again_before_it_is_forgotten() {
    let mut world = World::default();
    world.pod(&pod("p", "", ""));
    assert_eq!(world.all(), ["no nodes available to schedule pods"]);
    world.now += Duration::from_secs(299);
    assert_eq!(world.all(), Vec::<String>::new());
    for _ in 0..2 {
        world.now = world.scheduler.next_time().expect("it is looked at again");
        assert_eq!(world.all(), ["again: no nodes available to schedule pods"]);
    }
}

#[test]
fn a_pod_that_changes_while_it_is_bound_takes_what_it_asks_for_now() {
    let mut world = World::default();
    world.node(&node("n", "", ""));
    world.pod(&pod("p", "", &asks("cpu: 2")));
    let bound = decide(&mut world);
    let mut smaller = pod("p", "", &asks("cpu: 1"));
    smaller["metadata"]["generation"] = 2.into();
    world.pod(&smaller);
    world.there(&smaller, "n");
    world.scheduler.ended(&bound, true, world.now);
    world.pod(&pod("q", "", &asks("cpu: 1")));
    assert_eq!(world.all(), ["q on n"]);
}

#[test]
fn a_pod_that_somebody_else_bound_meanwhile_waits_for_nothing() {
    let mut world = World::default();
    ["m", "n"].into_iter().for_each(|name| world.node(&node(name, "", "")));
    world.pod(&pod("p", "", ""));
    let bound = decide(&mut world);
    world.there(&pod("p", "", ""), "n");
    world.scheduler.ended(&bound, false, world.now);
    assert!(world.scheduler.waiting.is_empty());
}
