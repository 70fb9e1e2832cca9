//! StatefulSets and DaemonSets through the API, with nodes that say of every pod that it runs.

use super::workloads::{PODS, serve};
use super::{World, target, template};
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use serde_json::{Value, json};

const SETS: &str = "apps/statefulsets";
const DAEMONS: &str = "apps/daemonsets";
const REVISIONS: &str = "apps/controllerrevisions";
const CLAIMS: &str = "/persistentvolumeclaims";

fn set(kind: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template("one")});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({"name": "web", "namespace": "default"});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

async fn edit(world: &World, kind: &'static str, change: impl Fn(&mut Value) + Send + Sync) {
    let (namespace, name) = ("default".to_owned(), "web".to_owned());
    let at = ObjectRef { api_version: "apps/v1", kind, namespace, name };
    world.objects.update(&at, change).await.unwrap();
}

fn set_image(image: &'static str) -> impl Fn(&mut Value) {
    move |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
}

fn seen(set: &Value) -> bool {
    set["status"]["observedGeneration"] == set["metadata"]["generation"]
}

fn said(world: &World, reason: &str, message: &str) -> bool {
    world.list("/events").iter().any(|event| event["reason"] == reason && event["message"] == message)
}

/// Names and images of pods.
fn pods(world: &World) -> Vec<(String, String)> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    world.list(PODS).iter().map(|pod| (object::name(pod).to_owned(), image(pod))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_keeps_names_and_claims_through_updates_and_deletions() {
    let world = World::new().await;
    serve(&world).await;
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    world
        .create(set(
            "StatefulSet",
            json!({"replicas": 3, "serviceName": "web", "volumeClaimTemplates": [claim]}),
        ))
        .await;
    let is_at = |world: &World, count: u64| {
        let set = world.get(SETS, "web").unwrap();
        let counts = ["replicas", "readyReplicas", "updatedReplicas", "currentReplicas", "availableReplicas"];
        seen(&set) && counts.iter().all(|field| set["status"][*field] == count)
    };
    world.until(SETS, |world| is_at(world, 3)).await;
    let names = |image: &str| ["web-0", "web-1", "web-2"].map(|name| (name.to_owned(), image.to_owned()));
    assert_eq!(pods(&world), names("one"));
    let claims = |world: &World| -> Vec<String> {
        world
            .list(CLAIMS)
            .iter()
            .map(|claim| format!("{} {}", object::name(claim), object::uid(claim)))
            .collect()
    };
    let before = claims(&world);
    assert_eq!(before.len(), 3);

    edit(&world, "StatefulSet", set_image("two")).await;
    world.until(SETS, |world| is_at(world, 3) && world.list(REVISIONS).len() == 2).await;
    world.until(PODS, |world| pods(world) == names("two")).await;
    // A revision is what brings its template back: the number grows, and nothing is made anew.
    let first = world.list(REVISIONS).into_iter().find(|revision| revision["revision"] == 1).unwrap();
    assert_eq!(first["data"]["spec"]["template"]["spec"]["containers"][0]["image"], "one");
    edit(&world, "StatefulSet", set_image("one")).await;
    let again = |world: &World| world.get(REVISIONS, object::name(&first)).unwrap()["revision"] == 3;
    world.until(SETS, |world| is_at(world, 3) && again(world)).await;
    world.until(PODS, |world| pods(world) == names("one")).await;
    assert_eq!((claims(&world), world.list(REVISIONS).len()), (before.clone(), 2));

    let uid = |world: &World| world.get(PODS, "web-1").map(|pod| object::uid(&pod).to_owned());
    let old = uid(&world);
    world.delete(&target("v1", "Pod", "web-1"), Propagation::Background).await;
    world.until(PODS, |world| uid(world).is_some() && uid(world) != old).await;
    world.until(SETS, |world| is_at(world, 3)).await;
    world.delete(&target("apps/v1", "StatefulSet", "web"), Propagation::Foreground).await;
    world.until(SETS, |world| world.get(SETS, "web").is_none()).await;
    assert_eq!((world.list(PODS).len(), world.list(REVISIONS).len(), claims(&world)), (0, 0, before));
    let told = |world: &World| {
        said(world, "SuccessfulCreate", "create Pod web-0 in StatefulSet web successful")
            && said(world, "SuccessfulCreate", "create Claim data-web-0 Pod web-0 in StatefulSet web success")
            && said(world, "SuccessfulDelete", "delete Pod web-2 in StatefulSet web successful")
    };
    world.until("/events", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_takes_over_what_was_left_to_it() {
    let world = World::new().await;
    serve(&world).await;
    let of_two = || set("StatefulSet", json!({"replicas": 2, "serviceName": "web"}));
    world.create(of_two()).await;
    let ready = |world: &World| world.get(SETS, "web").is_some_and(|set| set["status"]["readyReplicas"] == 2);
    world.until(SETS, ready).await;
    let uids = |world: &World| -> Vec<String> {
        let all = world.list(PODS).into_iter().chain(world.list(REVISIONS));
        all.map(|one| object::uid(&one).to_owned()).collect()
    };
    let before = uids(&world);
    world.delete(&target("apps/v1", "StatefulSet", "web"), Propagation::Orphan).await;
    world.until(SETS, |world| world.get(SETS, "web").is_none()).await;
    world.create(of_two()).await;
    world.until(SETS, ready).await;
    assert_eq!(uids(&world), before);
}

/// A daemon set whose pods are on all nodes, by its word.
fn covers(world: &World, nodes: u64) -> bool {
    let set = world.get(DAEMONS, "web").unwrap();
    let counts =
        ["desiredNumberScheduled", "currentNumberScheduled", "numberAvailable", "updatedNumberScheduled"];
    seen(&set) && counts.iter().all(|field| set["status"][*field] == nodes)
}

async fn label(world: &World, node: &str, role: &str) {
    world
        .objects
        .update(&ObjectRef::node(node), |node| node["metadata"]["labels"]["role"] = role.into())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_follows_nodes_and_its_template() {
    let world = World::new().await;
    serve(&world).await;
    for name in ["a", "b", "c"] {
        world.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"role": "x"}}})).await;
    }
    let mut daemon = set("DaemonSet", json!({}));
    daemon["spec"]["template"]["spec"]["nodeSelector"] = json!({"role": "x"});
    // Nobody says of these nodes that they are ready.
    daemon["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    world.create(daemon).await;
    world.until(DAEMONS, |world| covers(world, 3)).await;
    let nodes = |world: &World| -> Vec<String> {
        let all = world
            .list(PODS)
            .into_iter()
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned());
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    };
    assert_eq!(nodes(&world), ["a", "b", "c"]);
    label(&world, "c", "y").await;
    world.until(DAEMONS, |world| covers(world, 2)).await;
    world.until(PODS, |world| nodes(world) == ["a", "b"]).await;

    edit(&world, "DaemonSet", set_image("two")).await;
    world.until(DAEMONS, |world| covers(world, 2) && world.list(REVISIONS).len() == 2).await;
    world
        .until(PODS, |world| {
            pods(world).iter().all(|(_, image)| image == "two") && nodes(world) == ["a", "b"]
        })
        .await;
    label(&world, "c", "x").await;
    world.until(DAEMONS, |world| covers(world, 3)).await;
    let created = |event: &Value| {
        event["reason"] == "SuccessfulCreate"
            && event["message"].as_str().is_some_and(|message| message.starts_with("Created pod: web-"))
    };
    world.until("/events", |world| world.list("/events").iter().any(created)).await;
    world.delete(&target("apps/v1", "DaemonSet", "web"), Propagation::Foreground).await;
    world.until(DAEMONS, |world| world.get(DAEMONS, "web").is_none()).await;
    assert_eq!((world.list(PODS).len(), world.list(REVISIONS).len()), (0, 0));
}
