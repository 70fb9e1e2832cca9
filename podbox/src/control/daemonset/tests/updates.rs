//! Pods are replaced by those of another template: within which bounds, and how that ends.

use super::*;
use proptest::prelude::*;

#[test]
fn as_many_are_replaced_at_once_as_may_be_missing() {
    let mut world = World::new(5, rolling(json!(0), json!("30%")));
    world.run();
    world.edit(json!({"template": template("two")}));
    world.check(&["n2 one", "n3 one", "n4 one"]);
    world.serve();
    world.settle();
    world.check(&["n0 two", "n1 two", "n2 one", "n3 one", "n4 one"]);
    world.run();
    world.check(&["n0 two", "n1 two", "n2 two", "n3 two", "n4 two"]);
    world.status("updatedNumberScheduled", 5);
    // Those that are of no use go in any case; no others do, then.
    for node in ["n3", "n4"] {
        let name = world.on(node);
        world.status_of(&name, "Pending");
    }
    world.edit(json!({"template": template("three")}));
    world.check(&["n0 two", "n1 two", "n2 two"]);
    world.run();
    assert!(world.found().iter().all(|found| found.ends_with("three")));
}

#[test]
fn an_update_that_never_becomes_ready_stops_and_is_taken_back() {
    let mut world = World::new(3, json!({}));
    world.run();
    world.edit(json!({"template": template("bad")}));
    world.run();
    world.check(&["n0 bad", "n1 one", "n2 one"]);
    world.edit(json!({"template": template("one")}));
    world.run();
    world.check(&["n0 one", "n1 one", "n2 one"]);
    let numbers: Vec<i64> = world.revisions.values().map(|one| one["revision"].as_i64().unwrap()).collect();
    assert_eq!((numbers.len(), numbers.iter().sum::<i64>()), (2, 5));
}

#[test]
fn successors_come_first_where_there_may_be_more() {
    let mut world = World::new(3, rolling(json!(1), json!(0)));
    world.run();
    world.edit(json!({"template": template("two")}));
    world.check(&["n0 one", "n0 two", "n1 one", "n2 one"]);
    world.serve();
    world.settle();
    world.check(&["n0 two", "n1 one", "n1 two", "n2 one"]);
    world.run();
    world.check(&["n0 two", "n1 two", "n2 two"]);
    // One that is of no use is joined by its successor at once.
    let name = world.on("n2");
    world.status_of(&name, "Pending");
    world.edit(json!({"template": template("bad")}));
    world.check(&["n0 bad", "n0 two", "n1 two", "n2 bad"]);
    world.edit(json!({"template": template("two")}));
    world.run();
    world.check(&["n0 two", "n1 two", "n2 two"]);
}

#[test]
fn of_two_that_are_older_the_one_that_serves_stays() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    world.run();
    let (serving, now) = (world.on("n0"), world.now);
    world.edit(json!({"template": template("two")}));
    world.check(&["n0 one", "n0 two"]);
    // Neither its age nor a clock that was set back is against it.
    world.change(&serving, |pod| {
        object::set(pod, "creationTimestamp", (now + SignedDuration::from_secs(1)).to_string())
    });
    world.now = world.now.checked_sub(SignedDuration::from_hours(1)).unwrap();
    world.edit(json!({"template": template("three")}));
    world.check(&["n0 one", "n0 three"]);
    assert_eq!(world.on("n0"), serving);
}

#[test]
fn nobody_is_replaced_but_by_hand_where_that_is_asked_for() {
    let mut world = World::new(2, json!({"updateStrategy": {"type": "OnDelete"}}));
    world.run();
    world.edit(json!({"template": template("two")}));
    world.run();
    world.check(&["n0 one", "n1 one"]);
    let name = world.on("n0");
    world.change(&name, |pod| object::set(pod, "deletionTimestamp", "2026-01-01T00:00:00Z"));
    world.run();
    world.check(&["n0 two", "n1 one"]);
    world.status("updatedNumberScheduled", 1);
}

#[test]
fn old_revisions_go_unless_a_pod_is_of_them() {
    let mut world = World::new(1, json!({"revisionHistoryLimit": 1}));
    for image in ["a", "b", "c"] {
        world.edit(json!({"template": template(image)}));
        world.run();
    }
    assert_eq!(world.revisions.len(), 2);
    world.edit(
        json!({"updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 0, "template": template("d")}),
    );
    world.run();
    let mut images: Vec<&Value> = world
        .revisions
        .values()
        .map(|one| &one["data"]["spec"]["template"]["spec"]["containers"][0]["image"])
        .collect();
    images.sort_by_key(|image| image.as_str());
    assert_eq!(images, ["c", "d"]);
}

#[test]
fn a_second_revision_of_the_same_template_makes_nothing_anew() {
    let mut world = World::new(2, json!({}));
    world.run();
    let before = world.pods.clone();
    let mut second = world.revisions.values().next().unwrap().clone();
    object::set(&mut second, "name", "agent-other");
    object::set(&mut second, "uid", "agent-other");
    second["metadata"]["labels"][LABEL] = "other".into();
    second["revision"] = 2.into();
    world.revisions.insert("agent-other".into(), second);
    world.run();
    assert_eq!((world.revisions.len(), &world.pods), (2, &before));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever becomes of pods and templates: as many are available as may be missing less, as far as that is up to the set, never more are
    /// there than there may be, and in the end each node has one of the newest.
    #[test]
    fn bounds_are_kept_and_it_comes_to_rest(
        surge in 0u64..3,
        unavailable in 1u64..3,
        steps in prop::collection::vec((0u8..7, 0usize..4), 0..60),
    ) {
        let strategy = if surge > 0 { rolling(json!(surge), json!(0)) } else { rolling(json!(0), json!(unavailable)) };
        let mut world = World::new(4, strategy);
        world.run();
        for (what, which) in steps {
            let names: Vec<String> = world.pods.keys().cloned().collect();
            let name = names.get(which % names.len().max(1)).cloned().unwrap_or_default();
            match what {
                0..=2 => check_step(&mut world, surge as usize, unavailable as usize)?,
                3 => world.serve(),
                4 => world.set["spec"]["template"] = template(["one", "two", "three"][which % 3]),
                5 => world.now = world.now.checked_add(SignedDuration::from_mins(1)).unwrap(),
                _ if world.pods.get(&name).is_some_and(|pod| !object::deleting(pod)) => world.status_of(&name, "Failed"),
                _ => {}
            }
        }
        for _ in 0..20 {
            world.run();
            world.now = world.now.checked_add(SignedDuration::from_mins(16)).unwrap();
        }
        let image = world.set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        let expected: Vec<String> = (0..4).map(|node| format!("n{node} {image}")).collect();
        prop_assert_eq!(world.found(), expected);
    }
}

fn check_step(world: &mut World, surge: usize, unavailable: usize) -> Result<(), TestCaseError> {
    let well = |pod: &Value| pod["status"]["phase"] == "Running" && !object::deleting(pod);
    let available = |world: &World| {
        let nodes: std::collections::BTreeSet<String> =
            world.pods.values().filter(|pod| well(pod)).map(node_of).collect();
        nodes.len()
    };
    let before = available(world);
    world.step();
    let after = available(world);
    let least = if surge > 0 { 4 } else { 4 - unavailable };
    prop_assert!(after >= before.min(least), "{before} were available, {after} are");
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for pod in world.pods.values().filter(|pod| !object::deleting(pod) && pod["status"]["phase"] != "Failed")
    {
        *running.entry(node_of(pod)).or_default() += 1;
    }
    let most = if surge > 0 { 2 } else { 1 };
    prop_assert!(running.values().all(|count| *count <= most), "{running:?}");
    Ok(())
}
