//! A client that creates and deletes pods and watches what becomes of them.

use anyhow::{Context, Result, anyhow, bail, ensure};
use podbox::clock;
use podbox_tests::api::{Access, Answer, Connection, request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where pods are.
const PODS: &str = "/api/v1/namespaces/default/pods";
/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a watch told, and when it was read from its connection.
pub struct Seen {
    /// Before it was parsed.
    pub at: Instant,
    /// The pod is gone.
    pub deleted: bool,
    /// As it is now, or was at last.
    pub pod: Value,
}

impl Seen {
    /// Which pod.
    pub fn name(&self) -> &str {
        self.pod["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.pod["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// It has a node.
    pub fn bound(&self) -> bool {
        self.pod["spec"]["nodeName"].is_string()
    }

    /// It is Ready.
    pub fn ready(&self) -> bool {
        let conditions = self.pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    /// Its container runs after so many restarts.
    pub fn runs_after(&self, restarts: u64) -> bool {
        let container = &self.pod["status"]["containerStatuses"][0];
        container["restartCount"] == restarts && container["state"]["running"].is_object()
    }
}

/// One connection that asks, and one that watches.
pub struct Client {
    access: Access,
    connection: Connection,
    seen: UnboundedReceiver<Result<Seen>>,
}

impl Client {
    /// Connects, and watches from now on.
    pub async fn new(access: &Access) -> Result<Client> {
        let mut connection = access.connect().await?;
        let now = connection.ask("GET", PODS, None).await?.json();
        let revision = now["metadata"]["resourceVersion"].as_str().context("a list has a revision")?;
        let mut watch = access.connect().await?;
        let path = format!("{PODS}?watch=1&resourceVersion={revision}");
        watch.send(&request("GET", &path, "", &[])).await?;
        let (code, head) = watch.head().await?;
        ensure!(code == 200, "a watch was answered with {head}");
        let (sender, seen) = unbounded_channel();
        tokio::spawn(follow(watch, sender));
        Ok(Client { access: access.clone(), connection, seen })
    }

    /// Connections that wait for what to ask.
    pub async fn connections(&self, number: usize) -> Result<Vec<Connection>> {
        let mut all = Vec::new();
        for _ in 0..number {
            all.push(self.access.connect().await?);
        }
        Ok(all)
    }

    /// Creates a pod.
    pub async fn create(&mut self, name: &str) -> Result<()> {
        self.connection.send(&creation(name)).await?;
        done(&self.connection.answer().await?, 201)
    }

    /// Asks a pod to go.
    pub async fn delete(&mut self, name: &str) -> Result<()> {
        self.connection.send(&deletion(name)).await?;
        done(&self.connection.answer().await?, 200)
    }

    /// How long the write of an object that nobody acts on takes.
    pub async fn plain_write(&mut self, name: &str) -> Result<Duration> {
        let maps = "/api/v1/namespaces/default/configmaps";
        let body = json!({"metadata": {"name": name}, "data": {"a": "b"}}).to_string();
        let began = clock::instant();
        self.connection.send(&request("POST", maps, "application/json", body.as_bytes())).await?;
        done(&self.connection.answer().await?, 201)?;
        Ok(clock::instant() - began)
    }

    /// The next event of which this is so.
    pub async fn until(&mut self, mut so: impl FnMut(&Seen) -> bool) -> Result<Seen> {
        let wait = async {
            while let Some(seen) = self.seen.recv().await {
                let seen = seen?;
                if so(&seen) {
                    return Ok(seen);
                }
            }
            bail!("the watch ended")
        };
        tokio::time::timeout(PATIENCE, wait).await.context("a pod does not become what it should")?
    }
}

/// Hands on what a watch tells until it ends, and why it did.
async fn follow(mut watch: Connection, seen: UnboundedSender<Result<Seen>>) {
    loop {
        let told = match watch.chunk().await {
            Ok(Some(bytes)) => events(&bytes),
            Ok(None) => Err(anyhow!("the server ended the watch")),
            Err(error) => Err(error),
        };
        let (events, last) = match told {
            Ok(events) => (events.into_iter().map(Ok).collect(), false),
            Err(error) => (vec![Err(error)], true),
        };
        if events.into_iter().any(|event| seen.send(event).is_err()) || last {
            return;
        }
    }
}

/// What a chunk tells: several events may share one, and none is cut in two.
fn events(chunk: &[u8]) -> Result<Vec<Seen>> {
    let at = clock::instant();
    let events = serde_json::Deserializer::from_slice(chunk).into_iter::<Value>();
    let read = |event: Result<Value, _>| {
        let mut event = event?;
        let (deleted, pod) = (event["type"] == "DELETED", event["object"].take());
        Ok(Seen { at, deleted, pod })
    };
    events.map(read).collect()
}

/// The request that creates a pod that sleeps until it is asked to end.
pub fn creation(name: &str) -> Vec<u8> {
    let container = json!({
        "name": "main", "image": "podbox.local/testjobs:latest", "imagePullPolicy": "Never",
        "args": ["sleep", "100000000"],
    });
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
    request("POST", PODS, "application/json", pod.to_string().as_bytes())
}

/// The request that deletes a pod.
pub fn deletion(name: &str) -> Vec<u8> {
    request("DELETE", &format!("{PODS}/{name}"), "", &[])
}

/// An answer is what it should be.
pub fn done(answer: &Answer, code: u16) -> Result<()> {
    ensure!(answer.code == code, "{}", String::from_utf8_lossy(&answer.body));
    Ok(())
}
