//! Claims: made before their pods, kept after them, and owned by whom they are to go with.

use super::*;
use crate::control::action::Saying;

const CLAIM: &str = "PersistentVolumeClaim";

fn with_claims(spec: Value) -> World {
    let template = json!({
        "metadata": {"name": "data", "labels": {"tier": "back"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let mut all = json!({"replicas": 2, "volumeClaimTemplates": [template]});
    all["template"] = super::template("one");
    all["template"]["spec"]["volumes"] =
        json!([{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]);
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    World::new(all)
}

fn policy(scaled: &str, deleted: &str) -> Value {
    json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted}})
}

/// The kinds of a claim's owners.
fn owners(world: &World, claim: &str) -> Vec<String> {
    let owners = world.get(CLAIM, claim).unwrap()["metadata"]["ownerReferences"].as_array().cloned();
    owners.unwrap_or_default().iter().map(|owner| owner["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn claims_come_before_their_pods_and_stay_after_them() {
    let mut world = with_claims(json!({}));
    world.run();
    let said = [
        "create Claim data-web-0 Pod web-0 in StatefulSet web success",
        "create Pod web-0 in StatefulSet web successful",
    ];
    assert_eq!(world.said[..2], said);
    let claim = world.get(CLAIM, "data-web-1").unwrap();
    assert_eq!(claim["metadata"]["labels"], json!({"tier": "back", "app": "x"}));
    assert_eq!(
        (&claim["metadata"]["namespace"], &claim["spec"]["accessModes"][0]),
        (&json!("n"), &json!("ReadWriteOnce"))
    );
    let volumes = json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}, {"name": "other", "emptyDir": {}},
    ]);
    assert_eq!(world.get("Pod", "web-1").unwrap()["spec"]["volumes"], volumes);
    let before = claim.clone();
    world.edit(json!({"replicas": 1}));
    world.run();
    world.edit(json!({"replicas": 2}));
    world.run();
    assert_eq!(world.get(CLAIM, "data-web-1"), Some(&before));
    // One that waits gets a claim that was lost.
    world.phase("web-1", "Pending");
    world.objects.remove(&(CLAIM.to_owned(), "data-web-1".to_owned()));
    world.settle();
    assert!(world.get(CLAIM, "data-web-1").is_some());
}

#[test]
fn a_claim_that_goes_is_waited_for() {
    let mut world = with_claims(json!({"replicas": 1}));
    world.run();
    object::set(world.get_mut(CLAIM, "data-web-0"), "deletionTimestamp", "2026-01-01T00:00:00Z");
    world.delete("web-0");
    world.run();
    world.check(&[]);
    let message = "create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted";
    assert_eq!(world.look().said, [Saying::warning("FailedCreate", message)]);
    world.objects.remove(&(CLAIM.to_owned(), "data-web-0".to_owned()));
    world.run();
    world.check(&["0 one"]);
}

#[test]
fn the_claim_of_a_pod_that_goes_already_goes_with_it_once_the_set_gets_smaller() {
    let mut world = with_claims(policy("Delete", "Retain"));
    world.run();
    world.delete("web-1");
    world.edit(json!({"replicas": 1}));
    world.settle();
    assert_eq!(owners(&world, "data-web-1"), ["Pod"]);
}

#[test]
fn claims_are_owned_by_whom_they_are_to_go_with() {
    for (scaled, deleted, kept, beyond) in [
        ("Retain", "Retain", vec![], vec![]),
        ("Retain", "Delete", vec!["StatefulSet"], vec!["StatefulSet"]),
        ("Delete", "Retain", vec![], vec!["Pod"]),
        ("Delete", "Delete", vec!["StatefulSet"], vec!["Pod"]),
    ] {
        let mut world = with_claims(policy(scaled, deleted));
        world.run();
        assert_eq!(
            [owners(&world, "data-web-0"), owners(&world, "data-web-1")],
            [kept.clone(), kept.clone()]
        );
        world.edit(json!({"replicas": 1}));
        assert_eq!(
            [owners(&world, "data-web-0"), owners(&world, "data-web-1")],
            [kept, beyond],
            "{scaled} {deleted}"
        );
    }
    // The policy may change, and then the owners do.
    let mut world = with_claims(policy("Retain", "Delete"));
    world.run();
    world.edit(policy("Retain", "Retain"));
    assert_eq!(owners(&world, "data-web-0"), Vec::<String>::new());
}

#[test]
fn claims_of_others_are_left_alone_and_those_of_a_pod_that_went_are_waited_for() {
    let mut world = with_claims(policy("Delete", "Delete"));
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": if kind == "Pod" { "v1" } else { "apps/v1" }, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    world.run();
    for others in [owner("StatefulSet", "web", "earlier"), owner("Deployment", "theirs", "d")] {
        world.get_mut(CLAIM, "data-web-0")["metadata"]["ownerReferences"] = others.clone();
        world.settle();
        assert_eq!(world.get(CLAIM, "data-web-0").unwrap()["metadata"]["ownerReferences"], others);
    }
    world.edit(json!({"replicas": 1}));
    world.run();
    world.edit(json!({"replicas": 2}));
    world.run();
    // Its claim is the earlier pod's, and goes with that.
    world.check(&["0 one"]);
    world.objects.remove(&(CLAIM.to_owned(), "data-web-1".to_owned()));
    world.run();
    world.check(&["0 one", "1 one"]);
}

#[test]
fn a_claims_name_tells_whose_it_may_be() {
    let sets: Vec<&str> = claim_owners("data-my-web-1").collect();
    assert_eq!(sets, ["my-web", "web"]);
    assert_eq!(claim_owners("data").chain(claim_owners("data-x")).count(), 0);
}
