//! Pods are replaced by those of another template, and revisions remember what there was.

use super::*;

#[test]
fn pods_are_replaced_from_the_highest_down_to_the_partition() {
    let mut world = World::new(json!({}));
    world.run();
    let before = world.set["status"]["currentRevision"].clone();
    world.edit(json!({
        "template": template("two"), "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
    }));
    world.check(&["0 one", "1 one"]);
    world.sweep();
    world.settle();
    world.check(&["0 one", "1 one", "2 two"]);
    world.phase("web-2", "Running");
    world.check(&["0 one", "2 two"]);
    world.run();
    world.check(&["0 one", "1 two", "2 two"]);
    world.status("currentReplicas", 1);
    world.status("updatedReplicas", 2);
    world.status("currentRevision", before.clone());
    // Below the partition, one that is made anew is as it was.
    world.delete("web-0");
    world.run();
    world.check(&["0 one", "1 two", "2 two"]);
    world.edit(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}));
    world.run();
    world.check(&["0 two", "1 two", "2 two"]);
    assert_ne!(world.set["status"]["currentRevision"], before);
    world.status("currentReplicas", 3);
    world.status("updatedReplicas", 3);
}

#[test]
fn as_many_are_replaced_at_once_as_may_be_missing() {
    let strategy =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": "50%"}});
    let mut world = World::new(json!({"replicas": 5, "updateStrategy": strategy}));
    world.run();
    world.edit(json!({"template": template("two")}));
    world.check(&["0 one", "1 one", "2 one"]);
    world.run();
    world.check(&["0 one", "1 two", "2 two", "3 two", "4 two"]);
    // One that is missing anyway is one of them.
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}});
    let mut world = World::parallel(json!({"replicas": 4, "updateStrategy": strategy}));
    world.run();
    world.phase("web-0", "Pending");
    world.edit(json!({"template": template("two")}));
    world.check(&["1 one", "2 one"]);
    // Those that are ready are, whatever the clock says that was set back since.
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}});
    let mut world = World::parallel(json!({"replicas": 3, "updateStrategy": strategy}));
    world.run();
    world.now = world.now.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    world.edit(json!({"template": template("two")}));
    world.check(&["0 one", "1 one"]);
}

#[test]
fn nobody_is_replaced_but_by_hand_where_that_is_asked_for() {
    let mut world = World::new(json!({"updateStrategy": {"type": "OnDelete"}}));
    world.run();
    world.edit(json!({"template": template("two")}));
    world.run();
    world.check(&["0 one", "1 one", "2 one"]);
    world.delete("web-1");
    world.run();
    world.check(&["0 one", "1 two", "2 one"]);
    world.status("currentReplicas", 2);
    world.status("updatedReplicas", 1);
}

#[test]
fn an_update_that_never_becomes_ready_waits_for_somebody_to_end_its_pod() {
    let mut world = World::new(json!({}));
    world.run();
    world.edit(json!({"template": template("bad")}));
    world.run();
    world.check(&["0 one", "1 one", "2 bad"]);
    world.edit(json!({"template": template("one")}));
    world.run();
    world.check(&["0 one", "1 one", "2 bad"]);
    assert_eq!(world.revisions(), [(2, "bad".to_owned()), (3, "one".to_owned())]);
    world.delete("web-2");
    world.run();
    world.check(&["0 one", "1 one", "2 one"]);
}

#[test]
fn revisions_are_kept_and_numbered_as_far_as_somebody_may_want_them() {
    let mut world = World::new(json!({"replicas": 1, "revisionHistoryLimit": 2}));
    for image in ["a", "b", "c", "d", "b"] {
        world.edit(json!({"template": template(image)}));
        world.run();
    }
    let kept = [(3, "c"), (4, "d"), (5, "b")].map(|(number, image)| (number, image.to_owned()));
    assert_eq!(world.revisions(), kept);
    // What `kubectl rollout undo` sends.
    let (_, revision) = world.of("ControllerRevision")[0];
    assert_eq!(revision["data"]["spec"]["template"]["$patch"], "replace");
    let name = world.set["status"]["updateRevision"].as_str().unwrap().to_owned();
    assert_eq!(world.get("ControllerRevision", &name).unwrap()["metadata"]["labels"][HASH], name[4..]);
}

#[test]
fn a_name_that_is_taken_by_another_template_is_not_used() {
    let mut world = World::new(json!({"replicas": 1}));
    world.run();
    let name = world.of("ControllerRevision")[0].0.to_owned();
    world.get_mut("ControllerRevision", &name)["data"] = json!({"spec": {"template": template("other")}});
    world.run();
    world.status("collisionCount", 1);
    assert_eq!(world.of("ControllerRevision").len(), 2);
}

#[test]
fn pods_that_go_at_once_are_replaced_too_where_no_partition_is_named() {
    for begin in [World::new, World::parallel] {
        let mut world = begin(json!({"updateStrategy": {"type": "RollingUpdate"}}));
        world.at_once = true;
        world.settle();
        world.edit(json!({"template": template("two")}));
        world.run();
        world.check(&["0 two", "1 two", "2 two"]);
    }
}

#[test]
fn what_anybody_wrote_into_a_revision_breaks_nothing() {
    let at = Target {
        api_version: "apps/v1".into(),
        kind: "ControllerRevision".into(),
        namespace: "n".into(),
        name: "web-x".into(),
    };
    let world = World::new(json!({}));
    let set = StatefulSet::new(at.clone(), world.set.clone(), 1).unwrap();
    let wrong = [
        "x".into(),
        1.into(),
        json!({"metadata": {"labels": "x"}}),
        json!({"spec": "x"}),
        json!([]),
        Value::Null,
    ];
    for template in wrong {
        let object = json!({"metadata": {"name": "web-x"}, "data": {"spec": {"template": template}}});
        let revision = Revision::new(at.clone(), object, 1);
        assert_eq!(revision.template(), json!({}), "{template}");
        assert!(matches!(identity::create(&set, 0, &revision).write, Write::Create(_)));
    }
}
