//! How long a change takes to reach everybody who watches: from the moment its request is sent, so with the write
//! and its durability, to the event read from each watcher's connection.

use super::load::{COLLECTION, name};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result, ensure};
use podbox::clock;
use podbox_tests::api::{Access, Connection, request};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const CHANGES: usize = 200;

/// Opens watchers, changes an object again and again.
pub async fn fan_out(access: &Access, watchers: usize, report: &mut Report) -> Result<()> {
    let (seen, mut receive) = unbounded_channel();
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        tasks.push(tokio::spawn(follow(watch(access).await?, seen.clone())));
    }
    let mut writer = access.connect().await?;
    let (mut times, mut writes) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let patch = format!(r#"{{"data":{{"a":"{change}"}}}}"#);
        let path = format!("{COLLECTION}/{}", name(0));
        let patch = request("PATCH", &path, "application/merge-patch+json", patch.as_bytes());
        let began = clock::instant();
        writer.send(&patch).await?;
        let answer = writer.answer().await?;
        writes.push(clock::instant() - began);
        ensure!(answer.code == 200, "{}", String::from_utf8_lossy(&answer.body));
        for _ in 0..watchers {
            let at: Instant = receive.recv().await.context("the watchers go on")?;
            times.push(at - began);
        }
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let times = Samples::new(&format!("change to {watchers} watchers"), times);
    let p99 = times.p99_ms();
    report.table(&[times, Samples::new("the change itself", writes)]);
    report.at_most("fan_out_100_watchers_p99", p99, "ms", 5.0);
    Ok(())
}

/// A watch of what comes from now on.
async fn watch(access: &Access) -> Result<Connection> {
    let mut connection = access.connect().await?;
    let now = connection.ask("GET", &format!("{COLLECTION}?limit=1"), None).await?.json();
    let revision = now["metadata"]["resourceVersion"].as_str().context("a list has a revision")?.to_owned();
    let path = format!("{COLLECTION}?watch=1&resourceVersion={revision}");
    connection.send(&request("GET", &path, "", &[])).await?;
    let (code, head) = connection.head().await?;
    ensure!(code == 200, "a watch was answered with {head}");
    Ok(connection)
}

async fn follow(mut connection: Connection, seen: UnboundedSender<Instant>) {
    while let Ok(Some(_)) = connection.chunk().await {
        if seen.send(clock::instant()).is_err() {
            return;
        }
    }
}
