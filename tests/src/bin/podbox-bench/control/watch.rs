//! A client that makes Deployments and watches their pods, at little cost of its own: of each event it reads what it counts.

use anyhow::{Context, Result, bail, ensure};
use podbox::clock;
use podbox_tests::api::{Access, Connection, request};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Where pods are.
const PODS: &str = "/api/v1/namespaces/default/pods";
/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is read of an event about a pod.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    happened: Cow<'a, str>,
    #[serde(borrow)]
    object: Pod<'a>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(default)]
    spec: Spec,
    #[serde(default, borrow)]
    status: Status<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow)]
    of: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

/// How far pods are to come.
#[derive(Clone, Copy)]
pub enum Goal {
    /// They have a node.
    Bound,
    /// They are Ready.
    Ready,
}

impl Pod<'_> {
    fn reaches(&self, goal: Goal) -> bool {
        match goal {
            Goal::Bound => self.spec.node_name.is_some(),
            Goal::Ready => self.status.conditions.iter().any(|one| one.of == "Ready" && one.status == "True"),
        }
    }
}

/// Waits until so many nodes are Ready.
pub async fn nodes_are_ready(access: &Access, number: usize) -> Result<()> {
    let mut connection = access.connect().await?;
    let path = "/api/v1/nodes?labelSelector=podbox.io%2Fsimulated%3Dtrue";
    let ready = async {
        loop {
            let nodes = connection.ask("GET", path, None).await?.json();
            let nodes = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
            // A taint is taken away a moment after a node says that it is ready.
            let open = |node: &&Value| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
            if nodes.iter().filter(open).count() == number {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.context("the simulated nodes are not ready")?
}

/// Makes a Deployment on the simulated nodes, and waits until its pods have come so far; tells when it was asked for, and when that
/// was so.
pub async fn deploy(access: &Access, name: &str, replicas: usize, goal: Goal) -> Result<[Instant; 2]> {
    let mut connection = access.connect().await?;
    let now = connection.ask("GET", &format!("{PODS}?limit=1"), None).await?.json();
    let revision = now["metadata"]["resourceVersion"].as_str().context("a list has a revision")?;
    let mut watch = access.connect().await?;
    let path = format!("{PODS}?watch=1&resourceVersion={revision}&labelSelector=app%3D{name}");
    watch.send(&request("GET", &path, "", &[])).await?;
    let (code, head) = watch.head().await?;
    ensure!(code == 200, "a watch was answered with {head}");
    let container = json!({"name": "main", "image": "registry.example/app:1"});
    let spec = json!({"containers": [container], "nodeSelector": {"podbox.io/simulated": "true"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    });
    let began = clock::instant();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let answer = connection.ask("POST", path, Some(&deployment)).await?;
    ensure!(answer.code == 201, "{}", String::from_utf8_lossy(&answer.body));
    let came = tokio::time::timeout(PATIENCE, all(&mut watch, replicas, goal));
    Ok([began, came.await.context("the pods do not come so far")??])
}

/// Reads until so many pods have come so far; tells when the last of them was read.
async fn all(watch: &mut Connection, number: usize, goal: Goal) -> Result<Instant> {
    let mut there = HashSet::with_capacity(number);
    while let Some(chunk) = watch.chunk().await? {
        let at = clock::instant();
        for event in serde_json::Deserializer::from_slice(&chunk).into_iter::<Event<'_>>() {
            let event = event?;
            ensure!(event.happened != "ERROR", "the watch fell behind");
            if event.object.reaches(goal) {
                there.insert(event.object.metadata.name.into_owned());
            }
        }
        if there.len() == number {
            return Ok(at);
        }
    }
    bail!("the watch ended with {} of {number}", there.len())
}
