//! Endpoints that somebody keeps by hand, and what whoever reads slices alone finds of them.

use super::{World, target};
use crate::api::lifecycle::Propagation;
use crate::api::objects::{ObjectRef, Objects};
use serde_json::{Value, json};

const SLICES: &str = "discovery.k8s.io/endpointslices";

async fn service(world: &World, selector: Value) {
    world
        .create(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"ports": [{"name": "http", "port": 80}], "selector": selector},
        }))
        .await;
}

async fn endpoints(world: &World, labels: Value, subsets: Value) -> Value {
    world
        .create(json!({
            "apiVersion": "v1", "kind": "Endpoints", "subsets": subsets,
            "metadata": {"name": "web", "namespace": "default", "labels": labels},
        }))
        .await
}

fn subset(address: &str, port: u16) -> Value {
    json!({"addresses": [{"ip": address}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]})
}

fn mirrored(world: &World) -> Vec<Value> {
    let by = |slice: &Value| {
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
            == "endpointslicemirroring-controller.k8s.io"
    };
    world.list(SLICES).into_iter().filter(by).collect()
}

/// Whether exactly these addresses are told, each with its port and whether it is ready.
fn tells(world: &World, wanted: &[(&str, u16, bool)]) -> bool {
    let mut found = Vec::new();
    for slice in mirrored(world) {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let (address, ready) = (&endpoint["addresses"][0], &endpoint["conditions"]["ready"]);
            found.push(json!([address, slice["ports"][0]["port"], ready]));
        }
    }
    found.sort_by_key(Value::to_string);
    found == wanted.iter().map(|(address, port, ready)| json!([address, port, ready])).collect::<Vec<_>>()
}

fn place() -> ObjectRef {
    let (namespace, name) = ("default".to_owned(), "web".to_owned());
    ObjectRef { api_version: "v1", kind: "Endpoints", namespace, name }
}

#[tokio::test]
async fn endpoints_by_hand_are_mirrored_as_they_come_change_and_go() {
    let world = World::new().await;
    service(&world, Value::Null).await;
    let made = endpoints(&world, json!({"tier": "front"}), json!([subset("10.1.2.3", 80)])).await;
    world.until(SLICES, |world| tells(world, &[("10.1.2.3", 80, true)])).await;
    let slice = &mirrored(&world)[0];
    let (metadata, labels) = (&slice["metadata"], &slice["metadata"]["labels"]);
    assert_eq!((&labels["kubernetes.io/service-name"], &labels["tier"]), (&json!("web"), &json!("front")));
    assert_eq!(metadata["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    assert_eq!((&slice["addressType"], &metadata["generateName"]), (&json!("IPv4"), &json!("web-")));

    let more = json!([
        {"addresses": [{"ip": "10.2.3.4"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.2.3.5"}],
         "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        subset("10.2.3.4", 8080),
    ]);
    world.objects.update(&place(), |object| object["subsets"] = more.clone()).await.unwrap();
    let all =
        [("10.2.3.4", 80, true), ("10.2.3.4", 8080, true), ("10.2.3.5", 80, false), ("fd00::1", 80, true)];
    world.until(SLICES, |world| tells(world, &all)).await;
    assert_eq!(mirrored(&world).len(), 3, "one for each port and family");

    world.delete(&target("v1", "Endpoints", "web"), Propagation::Background).await;
    world.until(SLICES, |world| mirrored(world).is_empty()).await;
    endpoints(&world, json!({}), json!([subset("10.1.2.3", 80)])).await;
    world.until(SLICES, |world| tells(world, &[("10.1.2.3", 80, true)])).await;

    // It does not want to be mirrored any more.
    let skip = |object: &mut Value| {
        object["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true".into();
    };
    world.objects.update(&place(), skip).await.unwrap();
    world.until(SLICES, |world| mirrored(world).is_empty()).await;
}

#[tokio::test]
async fn slices_of_a_service_that_goes_or_selects_go() {
    let world = World::new().await;
    service(&world, Value::Null).await;
    endpoints(&world, json!({}), json!([subset("10.1.2.3", 80)])).await;
    world.until(SLICES, |world| !mirrored(world).is_empty()).await;
    world.delete(&target("v1", "Service", "web"), Propagation::Background).await;
    world.until(SLICES, |world| mirrored(world).is_empty()).await;
    service(&world, Value::Null).await;
    world.until(SLICES, |world| !mirrored(world).is_empty()).await;
    let service = ObjectRef { kind: "Service", ..place() };
    let select = |object: &mut Value| object["spec"]["selector"] = json!({"app": "x"});
    world.objects.update(&service, select).await.unwrap();
    world.until(SLICES, |world| mirrored(world).is_empty() && world.list(SLICES).len() == 1).await;
}

#[tokio::test]
async fn endpoints_follow_their_node_to_another_zone() {
    let world = World::new().await;
    let label = |zone: &str| json!({"topology.kubernetes.io/zone": zone});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": label("a")}});
    world.create(node).await;
    service(&world, json!({"app": "x"})).await;
    let metadata = json!({"name": "p", "namespace": "default", "labels": {"app": "x"}});
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]});
    world.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    let runs = |pod: &mut Value| {
        pod["status"] = json!({"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]});
    };
    world.objects.update_status(&ObjectRef::pod("default", "p"), runs).await.unwrap();
    let zone = |world: &World| world.list(SLICES)[0]["endpoints"][0]["zone"].clone();
    world.until(SLICES, |world| world.list(SLICES).len() == 1 && zone(world) == "a").await;
    let place = ObjectRef { api_version: "v1", kind: "Node", namespace: String::new(), name: "n".to_owned() };
    world.objects.update(&place, |node| node["metadata"]["labels"] = label("b")).await.unwrap();
    world.until(SLICES, |world| zone(world) == "b").await;
}
