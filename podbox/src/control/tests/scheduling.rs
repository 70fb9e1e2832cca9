//! The scheduler's loop against the real store and API: what it writes, and that it goes on whatever becomes of its writes.

use super::World;
use crate::api::lifecycle::Propagation;
use crate::api::objects::{ObjectRef, Objects, Seen, Target, Token, TokenWanted, Writes};
use crate::api::status::ApiError;
use crate::control::scheduler::run::{Hint, run};
use crate::server::api::local::Local;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// The API, of which the first calls to bind and to delete break off.
#[derive(Clone)]
struct Frail {
    local: Local,
    left: Arc<AtomicUsize>,
}

impl Frail {
    fn may_break(&self) {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "this is to break off");
    }
}

impl Objects for Frail {
    async fn ensure(&self, object: Value) -> Result<(), ApiError> {
        self.local.ensure(object).await
    }
    async fn update(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        self.local.update(object, change).await
    }
    async fn update_status(
        &self,
        object: &ObjectRef,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<Value, ApiError> {
        self.local.update_status(object, change).await
    }
    async fn bind(&self, pod: &ObjectRef, uid: &str, node: &str) -> Result<(), ApiError> {
        self.may_break();
        self.local.bind(pod, uid, node).await
    }
    async fn token(
        &self,
        pod: &ObjectRef,
        uid: &str,
        account: &str,
        wanted: &TokenWanted,
    ) -> Result<Token, ApiError> {
        self.local.token(pod, uid, account, wanted).await
    }
    async fn remove(&self, object: &ObjectRef, uid: &str) -> Result<(), ApiError> {
        Objects::remove(&self.local, object, uid).await
    }
}

impl Writes for Frail {
    async fn create(&self, object: Value) -> Result<String, ApiError> {
        Writes::create(&self.local, object).await
    }
    async fn edit(
        &self,
        at: &Target,
        part: &'static str,
        seen: &Seen,
        edit: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<bool, ApiError> {
        self.local.edit(at, part, seen, edit).await
    }
    async fn delete(
        &self,
        at: &Target,
        seen: &Seen,
        propagation: Option<Propagation>,
    ) -> Result<bool, ApiError> {
        self.may_break();
        Writes::delete(&self.local, at, seen, propagation).await
    }
    async fn remove(&self, at: &Target, seen: &Seen) -> Result<bool, ApiError> {
        Writes::remove(&self.local, at, seen).await
    }
}

/// A world with a node of one processor, and the scheduler; and how many of its calls are to break off.
async fn world() -> (World, Arc<AtomicUsize>) {
    let world = World::new().await;
    world.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})).await;
    let has =
        |node: &mut Value| node["status"]["allocatable"] = json!({"cpu": "1", "memory": "1Gi", "pods": "10"});
    Objects::update_status(&world.objects, &ObjectRef::node("n"), has).await.unwrap();
    let left = Arc::new(AtomicUsize::new(0));
    let writes = Frail { local: world.objects.clone(), left: Arc::clone(&left) };
    // Nobody tells that the node is short of something.
    let short = watch::channel(BTreeSet::new()).1;
    tokio::spawn(run(world.store.clone(), writes, Hint { node: "n".to_owned(), short }));
    (world, left)
}

/// A pod that asks for all of the node.
async fn pod(world: &World, name: &str, class: &str) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}});
    // Nobody tells of this node that it is ready, so it is tainted.
    let bears = json!([{"operator": "Exists"}]);
    let spec = json!({"containers": [container], "priorityClassName": class, "tolerations": bears});
    world.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})).await;
}

async fn class(world: &World, name: &str, value: i32) {
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
    world.create(class).await;
}

fn is_on_its_node(world: &World, name: &str) -> bool {
    world.get("/pods", name).is_some_and(|pod| pod["spec"]["nodeName"] == "n")
}

#[tokio::test]
async fn what_breaks_off_while_it_is_written_is_decided_again() {
    let (world, left) = world().await;
    left.store(1, Ordering::SeqCst);
    class(&world, "low", 1).await;
    pod(&world, "p", "low").await;
    world.until("/pods", |world| is_on_its_node(world, "p")).await;
}

#[tokio::test]
async fn a_more_important_pod_gets_the_node_of_a_less_important_one() {
    let (world, left) = world().await;
    class(&world, "low", 1).await;
    class(&world, "high", 1000).await;
    pod(&world, "less", "low").await;
    world.until("/pods", |world| is_on_its_node(world, "less")).await;
    // The first end breaks off, once the node is kept and before the pod goes.
    left.store(1, Ordering::SeqCst);
    pod(&world, "more", "high").await;
    world
        .until("/pods", |world| {
            !world.get("/pods", "less").unwrap()["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    let (less, more) = (world.get("/pods", "less").unwrap(), world.get("/pods", "more").unwrap());
    let why =
        less["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "DisruptionTarget");
    let why = why.expect("it says why it goes");
    assert_eq!(why["reason"], "PreemptionByScheduler");
    assert_eq!(why["message"], "default-scheduler: preempting to accommodate a higher priority pod");
    assert_eq!(more["status"]["nominatedNodeName"], "n");
    // There is nobody on this node who would say that it has ended.
    let uid = less["metadata"]["uid"].as_str().unwrap();
    Objects::remove(&world.objects, &ObjectRef::pod("default", "less"), uid).await.unwrap();
    world.until("/pods", |world| is_on_its_node(world, "more")).await;
    let more = world.get("/pods", "more").unwrap();
    assert_eq!(more["status"].get("nominatedNodeName"), None, "it is there");
    let said = |world: &World| -> BTreeSet<String> {
        let events = world.list("/events");
        events.iter().map(|event| format!("{}: {}", event["reason"], event["message"])).collect()
    };
    let uid = more["metadata"]["uid"].as_str().unwrap();
    let expected = format!("\"Preempted\": \"Preempted by pod {uid} on node n\"");
    world.until("/events", |world| said(world).contains(&expected)).await;
    let waited = "\"FailedScheduling\": \"0/1 nodes are available: 1 Insufficient cpu.\"";
    world.until("/events", |world| said(world).contains(waited)).await;
}
