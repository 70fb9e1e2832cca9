//! Deployments, ReplicaSets and ReplicationControllers through the API, with a node that says of every pod that it runs.

use super::{MEANT, World, target, template};
use crate::api::lifecycle::Propagation;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use serde_json::{Value, json};

pub(super) const PODS: &str = "/pods";
const SETS: &str = "apps/replicasets";
const DEPLOYMENTS: &str = "apps/deployments";

fn replica_set(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template("one")},
    })
}

pub(super) fn deployment(replicas: i32) -> Value {
    let mut deployment = replica_set("web", replicas);
    deployment["kind"] = "Deployment".into();
    deployment
}

/// Every pod is bound, and runs at once, unless its image is `bad`.
pub(super) async fn serve(world: &World) {
    let (store, objects) = (world.store.clone(), world.objects.clone());
    tokio::spawn(async move {
        let mut watch = store.watch(PODS, None, store.revision()).unwrap();
        loop {
            for change in watch.next().await.unwrap().changes {
                let pod: Value = serde_json::from_slice(&change.entry.bytes).unwrap();
                let at = ObjectRef::pod("default", object::name(&pod));
                if object::deleting(&pod) {
                    objects.remove(&at, object::uid(&pod)).await.unwrap();
                } else if pod["spec"]["nodeName"].is_null() {
                    let node = pod.pointer(MEANT).and_then(Value::as_str).unwrap_or("node");
                    // It may be gone by now.
                    let _ = objects.bind(&at, object::uid(&pod), node).await;
                } else if pod["status"]["phase"] == "Pending"
                    && pod["spec"]["containers"][0]["image"] != "bad"
                {
                    let now = object::time(crate::clock::wall());
                    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
                    let run = |pod: &mut Value| {
                        pod["status"]["phase"] = "Running".into();
                        pod["status"]["conditions"] = ready.clone();
                    };
                    let _ = objects.update_status(&at, run).await;
                }
            }
        }
    });
}

fn of_deployment(world: &World, good: impl Fn(&Value) -> bool) -> bool {
    world.get(DEPLOYMENTS, "web").is_some_and(|deployment| good(&deployment))
}

fn reason(deployment: &Value, of: &str) -> String {
    let conditions = deployment["status"]["conditions"].as_array().into_iter().flatten();
    let found =
        conditions.filter(|condition| condition["type"] == of).map(|condition| condition["reason"].as_str());
    found.flatten().collect()
}

fn images(world: &World) -> Vec<String> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    world.list(PODS).iter().map(image).collect()
}

async fn set_image(world: &World, image: &str) {
    let at = ObjectRef {
        api_version: "apps/v1",
        kind: "Deployment",
        namespace: "default".into(),
        name: "web".into(),
    };
    let set = |deployment: &mut Value| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
    };
    world.objects.update(&at, set).await.unwrap();
}

fn is_done(deployment: &Value) -> bool {
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && deployment["status"]["availableReplicas"] == deployment["spec"]["replicas"]
        && deployment["status"]["updatedReplicas"] == deployment["spec"]["replicas"]
        && reason(deployment, "Progressing") == "NewReplicaSetAvailable"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_rolled_out_stalls_and_is_taken_back() {
    let world = World::new().await;
    serve(&world).await;
    world.create(deployment(5)).await;
    world.until(DEPLOYMENTS, |world| of_deployment(world, is_done)).await;
    assert_eq!(images(&world), ["one"; 5]);

    set_image(&world, "bad").await;
    let stalls = |deployment: &Value| {
        deployment["status"]["unavailableReplicas"] == 3 && deployment["status"]["availableReplicas"] == 4
    };
    world.until(DEPLOYMENTS, |world| of_deployment(world, stalls)).await;
    let before = |world: &World| images(world).iter().filter(|image| *image == "one").count();
    world.until(PODS, |world| before(world) == 4).await;

    set_image(&world, "one").await;
    world.until(DEPLOYMENTS, |world| of_deployment(world, is_done)).await;
    world.until(PODS, |world| images(world) == ["one"; 5]).await;
    let revision = |deployment: &Value| {
        deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    };
    assert!(of_deployment(&world, revision));
    let said = |world: &World, reason: &str| {
        world.list("/events").iter().filter(|event| event["reason"] == reason).count()
    };
    let told = |world: &World| said(world, "ScalingReplicaSet") >= 4 && said(world, "SuccessfulCreate") >= 6;
    world.until("/events", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deployment_made_goes_before_it() {
    let world = World::new().await;
    serve(&world).await;
    world.create(deployment(20)).await;
    world.until(DEPLOYMENTS, |world| of_deployment(world, is_done)).await;
    world.delete(&target("apps/v1", "Deployment", "web"), Propagation::Foreground).await;
    world.until(DEPLOYMENTS, |world| world.get(DEPLOYMENTS, "web").is_none()).await;
    assert_eq!((world.list(SETS).len(), world.list(PODS).len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_left_by_one_set_and_found_by_the_next() {
    let world = World::new().await;
    serve(&world).await;
    world.create(replica_set("first", 8)).await;
    let ready = |name: &'static str, count: i32| {
        move |world: &World| world.get(SETS, name).is_some_and(|set| set["status"]["readyReplicas"] == count)
    };
    world.until(SETS, ready("first", 8)).await;
    let names =
        |world: &World| world.list(PODS).iter().map(|pod| object::uid(pod).to_owned()).collect::<Vec<_>>();
    let before = names(&world);
    world.delete(&target("apps/v1", "ReplicaSet", "first"), Propagation::Orphan).await;
    world.until(SETS, |world| world.get(SETS, "first").is_none()).await;
    assert_eq!(names(&world), before);
    world.create(replica_set("second", 5)).await;
    world.until(SETS, ready("second", 5)).await;
    world.until(PODS, |world| names(world).len() == 5).await;
    assert!(names(&world).iter().all(|uid| before.contains(uid)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_never_share_a_pod() {
    let world = World::new().await;
    serve(&world).await;
    for number in 0..20 {
        let mut pod = template("one");
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        object::set(&mut pod, "name", format!("p{number}"));
        object::set(&mut pod, "namespace", "default");
        world.create(pod).await;
    }
    let controller = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "rc", "namespace": "default"},
        "spec": {"replicas": 10, "selector": {"app": "x"}, "template": template("one")},
    });
    tokio::join!(world.create(replica_set("rs", 10)), world.create(controller));
    for (collection, name) in [("/replicationcontrollers", "rc"), (SETS, "rs")] {
        let ready = |world: &World| world.get(collection, name).unwrap()["status"]["readyReplicas"] == 10;
        world.until(collection, ready).await;
    }
    world.until(PODS, |world| world.list(PODS).len() == 20).await;
    for pod in world.list(PODS) {
        let owners = pod["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(owners.len(), 1, "{pod:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_quota_refuses_is_told_and_tried_again() {
    let world = World::new().await;
    serve(&world).await;
    let quota = |pods: i32| json!({"hard": {"pods": pods}});
    let metadata = json!({"name": "few", "namespace": "default"});
    world
        .create(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": quota(3)}))
        .await;
    world.create(replica_set("rs", 5)).await;
    let refused = |world: &World| {
        world.get(SETS, "rs").is_some_and(|set| {
            set["status"]["replicas"] == 3 && set["status"]["conditions"][0]["reason"] == "FailedCreate"
        })
    };
    world.until(SETS, refused).await;
    let at = ObjectRef {
        api_version: "v1",
        kind: "ResourceQuota",
        namespace: "default".into(),
        name: "few".into(),
    };
    world.objects.update(&at, |few| few["spec"] = quota(10)).await.unwrap();
    let well = |world: &World| {
        let set = world.get(SETS, "rs").unwrap();
        set["status"]["readyReplicas"] == 5 && set["status"]["conditions"].is_null()
    };
    world.until(SETS, well).await;
}
