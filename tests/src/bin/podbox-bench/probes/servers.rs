//! The pods of these benchmarks: servers of the test image, and where they are.

use crate::pods::burst::at_once;
use crate::pods::client::{Client, Seen, deletion};
use anyhow::{Context, Result};
use podbox_tests::api::request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Where a pod's first server listens; the others follow.
pub const PORT: u16 = 8080;

/// A container that serves HTTP on this port, with whatever else it has.
pub fn server(port: u16, options: &[&str], more: Value) -> Value {
    let port = port.to_string();
    let args = [&["http", &port, "--quiet"], options].concat();
    let mut container = json!({
        "name": format!("s{port}"), "image": "podbox.local/testjobs:latest", "imagePullPolicy": "Never", "args": args,
    });
    let fields = container.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    container
}

/// What asks a server on this port, with whatever else it has.
pub fn probe(port: u16, more: Value) -> Value {
    let mut probe = json!({"httpGet": {"port": port, "path": "/"}});
    let fields = probe.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    probe
}

/// The request that creates a pod of these containers.
pub fn creation(name: &str, annotations: Value, containers: &[Value]) -> Vec<u8> {
    let metadata = json!({"name": name, "annotations": annotations});
    let pod = json!({"metadata": metadata, "spec": {"containers": containers}});
    request("POST", "/api/v1/namespaces/default/pods", "application/json", pod.to_string().as_bytes())
}

/// Creates pods at once, and waits until all of them are Ready; their addresses.
pub async fn all_ready(client: &mut Client, requests: Vec<Vec<u8>>) -> Result<Vec<IpAddr>> {
    let pods = requests.len();
    at_once(client, requests, 201).await?;
    let mut ready = std::collections::BTreeMap::new();
    let last = client.until(|seen| {
        if let (true, Some(address)) = (seen.ready(), address(seen)) {
            ready.insert(seen.name().to_owned(), address);
        }
        ready.len() == pods
    });
    last.await?;
    Ok(ready.into_values().collect())
}

/// Deletes pods at once, and waits until they have gone.
pub async fn all_gone(client: &mut Client, names: Vec<String>) -> Result<()> {
    at_once(client, names.iter().map(|name| deletion(name)).collect(), 200).await?;
    let mut left: BTreeSet<String> = names.into_iter().collect();
    let last = client.until(|seen| {
        if seen.deleted {
            left.remove(seen.name());
        }
        left.is_empty()
    });
    last.await.map(drop)
}

/// A pod's address.
pub fn address(seen: &Seen) -> Option<IpAddr> {
    seen.pod["status"]["podIP"].as_str()?.parse().ok()
}

/// Where the first server of a pod is to be asked, once its container runs.
pub fn running(seen: &Seen) -> Option<SocketAddr> {
    let runs = seen.pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
    Some(SocketAddr::new(address(seen).filter(|_| runs)?, PORT))
}

/// When a server began to listen, as time since boot.
pub async fn since(server: SocketAddr) -> Result<std::time::Duration> {
    let answer = super::plain::get(server, "/since").await.context("asking since when it listens")?;
    let body = answer.split("\r\n\r\n").nth(1).and_then(|body| body.parse().ok());
    body.map(std::time::Duration::from_nanos).with_context(|| format!("{answer:?} says no time"))
}
