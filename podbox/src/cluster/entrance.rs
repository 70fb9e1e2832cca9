//! The Service `kubernetes` in the namespace `default`, by which pods reach the API, and its endpoints.
//!
//! An API that listens on this host's loopback alone cannot be reached from a pod; so it listens on the bridge's address too,
//! where only this node and its pods reach it. Where that cannot be (there is no bridge), the Service has no endpoints,
//! and those of an earlier start are taken away.

use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::net::nat;
use crate::server::api::local::Local;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use tokio::net::TcpListener;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// What pods ask for.
const PORT: u16 = 443;

/// Where pods reach an API that is bound here, and the listener that it takes, if any.
pub async fn open(gateway: Ipv4Addr, bound: SocketAddr) -> (SocketAddr, Option<TcpListener>) {
    let at_bridge = SocketAddr::from((gateway, bound.port()));
    if bound.ip().is_unspecified() {
        return (at_bridge, None);
    }
    if !bound.ip().is_loopback() {
        return (bound, None);
    }
    match TcpListener::bind(at_bridge).await {
        Ok(listener) => (at_bridge, Some(listener)),
        Err(error) => {
            tracing::warn!("pods cannot reach the API: listening on {at_bridge} failed: {error}");
            (bound, None)
        }
    }
}

/// Lets the Service's address lead there, for pods and for this host.
pub fn lead(service: Ipv4Addr, reached: SocketAddr) {
    let IpAddr::V4(target) = reached.ip() else { return };
    if target.is_loopback() {
        return;
    }
    let led = nat::lead(SocketAddrV4::new(service, PORT), SocketAddrV4::new(target, reached.port()));
    if let Err(error) = led {
        tracing::warn!("pods cannot reach the API by its Service: {error}");
    }
}

/// Puts the Service at `address` into the store, leading to where the API is `reached`.
pub async fn publish(objects: &Local, address: IpAddr, reached: SocketAddr) -> Result<(), ApiError> {
    objects.ensure(service(address, reached.port())).await?;
    for (api_version, kind, wanted) in
        [("v1", "Endpoints", endpoints(reached)), ("discovery.k8s.io/v1", "EndpointSlice", slice(reached))]
    {
        let (namespace, name) = (NAMESPACE.to_owned(), NAME.to_owned());
        let place = ObjectRef { api_version, kind, namespace, name };
        match (objects.get(&place), reached.ip().is_loopback()) {
            (Ok(there), true) => objects.remove(&place, object::uid(&there)).await?,
            (Ok(there), false) if differs(&there, &wanted) => drop(objects.replace(&place, wanted).await?),
            (Ok(_), false) | (Err(_), true) => {}
            (Err(_), false) => objects.ensure(wanted).await?,
        }
    }
    Ok(())
}

fn differs(there: &Value, wanted: &Value) -> bool {
    ["subsets", "endpoints", "ports"].iter().any(|field| there.get(*field) != wanted.get(*field))
}

fn metadata(labels: Value) -> Value {
    json!({"name": NAME, "namespace": NAMESPACE, "labels": labels})
}

fn service(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(json!({"component": "apiserver", "provider": "kubernetes"})),
        "spec": {
            "clusterIP": address.to_string(),
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP", "targetPort": port}],
            "type": "ClusterIP",
        },
    })
}

fn endpoints(reached: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
        "subsets": [{
            "addresses": [{"ip": reached.ip().to_string()}],
            "ports": [{"name": "https", "port": reached.port(), "protocol": "TCP"}],
        }],
    })
}

fn slice(reached: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(json!({"kubernetes.io/service-name": NAME})),
        "addressType": if reached.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [reached.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": reached.port(), "protocol": "TCP"}],
    })
}
