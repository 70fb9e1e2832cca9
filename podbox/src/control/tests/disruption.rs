//! Budgets and evictions through the API: what one allows, the other takes.

use super::workloads::{deployment, serve};
use super::{World, target};
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use serde_json::{Value, json};

const BUDGETS: &str = "policy/poddisruptionbudgets";

fn allows(world: &World, healthy: i64, allowed: i64) -> bool {
    let status = world.get(BUDGETS, "b").unwrap_or_default()["status"].clone();
    status["currentHealthy"] == healthy && status["disruptionsAllowed"] == allowed
}

#[tokio::test]
async fn a_budget_follows_its_pods_and_who_asks_for_them() {
    let world = World::new().await;
    serve(&world).await;
    let selector = json!({"matchLabels": {"app": "x"}});
    let budget = |most: Value| {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "b", "namespace": "default"},
            "spec": {"maxUnavailable": most, "selector": selector},
        })
    };
    world.create(budget(json!("50%"))).await;
    world.until(BUDGETS, |world| world.get(BUDGETS, "b").unwrap()["status"]["observedGeneration"] == 1).await;
    assert!(allows(&world, 0, 0), "there is nobody to go");
    world.create(deployment(4)).await;
    world.until(BUDGETS, |world| allows(world, 4, 2)).await;
    let pods = world.list("/pods");
    let sick = |pod: &mut Value| pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    for pod in &pods[..2] {
        world.objects.update_status(&ObjectRef::pod("default", object::name(pod)), sick).await.unwrap();
    }
    world.until(BUDGETS, |world| allows(world, 2, 0)).await;
    // The Deployment's number is what the share is of.
    let set = ObjectRef {
        api_version: "apps/v1",
        kind: "Deployment",
        namespace: "default".into(),
        name: "web".into(),
    };
    world.objects.update(&set, |set| set["spec"]["replicas"] = 6.into()).await.unwrap();
    world.until(BUDGETS, |world| allows(world, 4, 1)).await;
    assert_eq!(world.get(BUDGETS, "b").unwrap()["status"]["expectedPods"], 6);
    let at = target("policy/v1", "PodDisruptionBudget", "b");
    let place = ObjectRef {
        api_version: "policy/v1",
        kind: "PodDisruptionBudget",
        namespace: at.namespace,
        name: at.name,
    };
    world.objects.update(&place, |budget| budget["spec"]["maxUnavailable"] = 0.into()).await.unwrap();
    world.until(BUDGETS, |world| allows(world, 4, 0)).await;
    assert_eq!(world.get(BUDGETS, "b").unwrap()["status"]["observedGeneration"], 2);
}
