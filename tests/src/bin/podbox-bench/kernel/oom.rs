//! How soon a pod's status says that the OOM killer took its container.

use crate::node::{Ground, Node};
use crate::peers;
use crate::pods::client::{Client, deletion, done};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use jiff::Timestamp;
use podbox::clock;
use podbox_tests::api::{Access, request};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Of fewer, the 99th percentile is the longest.
const SAMPLES: usize = 100;
/// Where the node keeps its state.
const STATE: &str = "kernel";
/// On a file system in memory that a container's root may lie on: the machine's own root may not be one.
const PLACE: &str = "/var/lib/podbox";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Samples it, in turn with a bare spawn.
pub async fn run(samples: usize, report: &mut Report) -> Result<()> {
    let ground = Ground::below(Path::new(PLACE))?;
    ground.load_image(STATE)?;
    let mut node = Node::start(&ground, STATE).await?;
    let mut client = Client::new(&node.access).await?;
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=samples.max(SAMPLES) {
        let name = format!("oom-{round}");
        let took = killed(&ground, &node.access, &mut client, &name).await?;
        let spawn = peers::timed(&mut peers::bare())?;
        // The first round only warms up.
        if round > 0 {
            own.push(took);
            bare.push(spawn);
        }
    }
    node.end()?;
    let rows =
        [Samples::new("bare spawn of /bin/true", bare), Samples::new("OOM kill to OOMKilled in status", own)];
    report.table(&rows);
    report.figure("oom_to_status_p99", rows[1].p99_ms(), "ms");
    report.at_most("oom_to_status_of_bare_spawn_p99", rows[1].p99_ms() / rows[0].p99_ms(), "ratio", 3.0);
    Ok(())
}

/// From the killer's signal to the watch event that says so.
async fn killed(ground: &Ground, access: &Access, client: &mut Client, name: &str) -> Result<Duration> {
    let container = json!({
        "name": "main", "image": "podbox.local/testjobs:latest", "imagePullPolicy": "Never",
        "args": ["eat", "200"], "resources": {"limits": {"memory": "32Mi"}},
    });
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let pod = json!({"metadata": {"name": name}, "spec": spec}).to_string();
    let mut connection = access.connect().await?;
    connection.send(&request("POST", PODS, "application/json", pod.as_bytes())).await?;
    done(&connection.answer().await?, 201)?;
    let said =
        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled";
    let seen = client.until(|seen| seen.name() == name && said(&seen.pod)).await?;
    let ago = clock::instant().saturating_duration_since(seen.at);
    let at = clock::wall().checked_sub(ago).context("the clock is after its beginning")?;
    let took =
        at.duration_since(signalled(&ground.why(STATE, name)?)?).context("an effect follows its cause")?;
    connection.send(&deletion(name)).await?;
    done(&connection.answer().await?, 200)?;
    client.until(|seen| seen.name() == name && seen.deleted).await?;
    Ok(took)
}

/// When the killer sent the signal, by the kernel's own clock.
fn signalled(why: &Value) -> Result<SystemTime> {
    let sender = &why[0]["containers"][0]["ends"][0]["cause"]["sender"];
    let time = sender["time"].as_str().with_context(|| format!("no sender in {why}"))?;
    Ok(time.parse::<Timestamp>()?.into())
}
