//! What becomes of dependents.

use super::{World, owner, target};
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{Seen, Writes};
use serde_json::{Value, json};

const MAPS: &str = "/configmaps";
const SECRETS: &str = "/secrets";

fn map(name: &str, owners: &[Value]) -> Value {
    let metadata = json!({"name": name, "namespace": "default", "ownerReferences": owners});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

/// An owner, and secrets and maps that depend on it, with others below them.
async fn family(world: &World, name: &str) {
    let top = world.create(map(name, &[])).await;
    for number in 0..30 {
        let middle = world.create(map(&format!("{name}-{number}"), &[owner("v1", "ConfigMap", &top)])).await;
        let metadata = json!({
            "name": format!("{name}-{number}"), "namespace": "default",
            "ownerReferences": [owner("v1", "ConfigMap", &middle)],
        });
        world.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).await;
    }
}

fn count(world: &World, collection: &str, prefix: &str) -> usize {
    world.list(collection).iter().filter(|object| object::name(object).starts_with(prefix)).count()
}

#[tokio::test]
async fn dependents_go_after_their_owner_or_before_it_or_stay() {
    let world = World::new().await;
    for name in ["background", "foreground", "orphan"] {
        family(&world, name).await;
    }
    let delete = async |name: &str, how| world.delete(&target("v1", "ConfigMap", name), how).await;

    delete("background", Propagation::Background).await;
    assert_eq!(world.get(MAPS, "background"), None);
    world.until(SECRETS, |world| count(world, SECRETS, "background") == 0).await;
    assert_eq!(count(&world, MAPS, "background"), 0);

    delete("foreground", Propagation::Foreground).await;
    world.until(MAPS, |world| world.get(MAPS, "foreground").is_none()).await;
    // It was the last.
    assert_eq!([count(&world, MAPS, "foreground"), count(&world, SECRETS, "foreground")], [0, 0]);

    delete("orphan", Propagation::Orphan).await;
    world.until(MAPS, |world| world.get(MAPS, "orphan").is_none()).await;
    assert_eq!([count(&world, MAPS, "orphan-"), count(&world, SECRETS, "orphan-")], [30, 30]);
    let owned = |object: &Value| object["metadata"]["ownerReferences"].is_array();
    assert!(!world.list(MAPS).iter().any(owned));
    assert!(world.list(SECRETS).iter().all(owned));
}

#[tokio::test]
async fn who_names_an_owner_that_never_was_goes() {
    let world = World::new().await;
    let there = world.create(map("there", &[])).await;
    let mut other = owner("v1", "ConfigMap", &there);
    other["uid"] = "0".into();
    world.create(map("lost", &[other.clone()])).await;
    world.create(map("half", &[other, owner("v1", "ConfigMap", &there)])).await;
    world.until(MAPS, |world| world.get(MAPS, "lost").is_none()).await;
    world
        .until(MAPS, |world| {
            let half = world.get(MAPS, "half").unwrap();
            half["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1)
        })
        .await;
}

#[tokio::test]
async fn an_owner_in_another_namespace_is_told_of() {
    let world = World::new().await;
    // Of a kind whose objects are known without a look at the store.
    let template =
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template});
    let metadata = json!({"name": "far", "namespace": "kube-system"});
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec});
    let set = world.create(set).await;
    world.create(map("strayed", &[owner("apps/v1", "ReplicaSet", &set)])).await;
    world.until(MAPS, |world| world.get(MAPS, "strayed").is_none()).await;
    let mut elsewhere = map("there", &[]);
    object::set(&mut elsewhere, "namespace", "kube-system");
    let elsewhere = world.create(elsewhere).await;
    world.create(map("lost", &[owner("v1", "ConfigMap", &elsewhere)])).await;
    world
        .until("/events", |world| {
            let told = |event: &Value| {
                event["reason"] == "OwnerRefInvalidNamespace" && event["involvedObject"]["name"] == "lost"
            };
            world.list("/events").iter().any(told)
        })
        .await;
    world.until(MAPS, |world| world.get(MAPS, "lost").is_none()).await;
}

#[tokio::test]
async fn a_deletion_tells_whether_anything_was_different() {
    let world = World::new().await;
    world
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "held", "namespace": "default", "finalizers": ["e.io/x"]},
        }))
        .await;
    let at = target("v1", "ConfigMap", "held");
    let delete = async || Writes::delete(&world.objects, &at, &Seen::default(), None).await.unwrap();
    assert_eq!([delete().await, delete().await], [true, false]);
}
