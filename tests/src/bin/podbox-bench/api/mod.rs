//! api: what clients of `podbox node` get, over TLS on this host, with every write durable on a real disk.
//!
//! The node is a process of its own; load comes from Debian's `wrk`, where the server takes a token for it, and from
//! this program, which logs in with the administrator's certificate and sees each request's time. The figures of
//! Kubernetes' own server were recorded once on such a machine; etcd, its store, is measured in the same run.

mod etcd;
mod load;
mod watchers;
mod wrk;

use crate::node::{Ground, Node};
use crate::peers;
use crate::stats::{Report, Samples};
use anyhow::{Result, ensure};
use load::{Body, Load, OBJECTS};
use podbox::clock;
use podbox_tests::api::Access;
use std::time::Duration;
use wrk::Wrk;

/// Connections that ask at the same time.
const CONNECTIONS: usize = 16;
/// How long reads are measured.
const READING: Duration = Duration::from_secs(8);

/// Runs all of it.
pub async fn run() -> Result<Report> {
    let ground = Ground::new()?;
    let mut report = Report::default();
    report.line(format!(
        "api on {}: ConfigMaps of {} bytes of data, {CONNECTIONS} TLS connections, store on {}",
        peers::kernel(),
        Body::DATA,
        ground.file_system()?,
    ));
    let mut node = Node::start(&ground, "load").await?;
    report.figure("idle_resident", node.resident_when_quiet().await?, "MB");
    let wrk = Wrk::new(&node.access).await;
    eprintln!("bench: creating");
    let before = node.worked()?;
    let (created, samples) = Load::new(&node.access, CONNECTIONS).creates(OBJECTS).await?;
    cost(&node, before, "create", samples, &mut report)?;
    report.at_most("resident_35000_objects", node.resident_when_quiet().await?, "MB", 120.0);
    gets(&node, &wrk, &mut report).await?;
    lists(&node.access, &mut report).await?;
    report.figure("resident_after_lists", node.resident_when_quiet().await?, "MB");
    watchers::fan_out(&node.access, 100, &mut report).await?;
    creates(created, &wrk, &mut report)?;
    node.end()?;
    starts(&ground, &mut report).await?;
    etcd::beside(ground.path(), &mut report).await?;
    recorded(&mut report);
    Ok(report)
}

/// By wrk, beside all that is there, or else as many as our own client got from the first on.
fn creates(ours: f64, wrk: &Result<Wrk>, report: &mut Report) -> Result<()> {
    let rate = match wrk {
        Ok(wrk) => {
            report.line(format!("creates by our own client: {ours:.0} per s"));
            let seen = wrk.creates(CONNECTIONS)?;
            report.line(format!("creates by wrk: {seen}"));
            seen.rate
        }
        Err(_) => ours,
    };
    report.at_least("creates", rate, "per s", 6000.0);
    Ok(())
}

async fn gets(node: &Node, wrk: &Result<Wrk>, report: &mut Report) -> Result<()> {
    eprintln!("bench: getting");
    let before = node.worked()?;
    let (rate, samples) = Load::new(&node.access, CONNECTIONS).gets(READING).await?;
    let p99 = samples.p99_ms();
    cost(node, before, "get", samples, report)?;
    let (rate, p99) = match wrk {
        Ok(wrk) => {
            report.line(format!("gets by our own client: {rate:.0} per s"));
            let seen = wrk.gets(CONNECTIONS, READING)?;
            report.line(format!("gets by wrk: {seen}"));
            (seen.rate, seen.p99_ms)
        }
        Err(error) => {
            report.line(format!("wrk cannot be used: {error:#}; by our own client:"));
            (rate, p99)
        }
    };
    report.at_least("gets", rate, "per s", 20_000.0);
    report.at_most("gets_p99", p99, "ms", 4.0);
    Ok(())
}

/// What requests took of the server's processors, which a busy machine falsifies less than rates.
fn cost(node: &Node, before: Duration, what: &str, samples: Samples, report: &mut Report) -> Result<()> {
    let each = (node.worked()? - before).as_secs_f64() * 1e6 / samples.count() as f64;
    report.table(&[samples]);
    report.line(format!("processor time of the server per {what}: {each:.0} µs"));
    report.figure(&format!("{what}_processor_time"), each, "µs");
    Ok(())
}

async fn lists(access: &Access, report: &mut Report) -> Result<()> {
    let mut times = Vec::new();
    let mut bytes = 0;
    let mut connection = access.connect().await?;
    for _ in 0..10 {
        let began = clock::instant();
        let answer = connection.ask("GET", load::COLLECTION, None).await?;
        times.push(clock::instant() - began);
        ensure!(answer.code == 200, "a list was answered with {}", answer.code);
        bytes = answer.body.len();
    }
    let samples = Samples::new(&format!("list of {OBJECTS}, {:.1} MB", bytes as f64 / 1e6), times);
    let median = samples.median_ms();
    report.table(&[samples]);
    report.at_most("list_35000_objects", median / 1e3, "s", 0.15);
    Ok(())
}

/// How long a new process takes until it answers, over what an end and what a kill left.
async fn starts(ground: &Ground, report: &mut Report) -> Result<()> {
    let mut node = Node::start(ground, "start").await?;
    Load::new(&node.access, 64).creates(10_000).await?;
    let (mut killed, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        node.kill()?;
        node = Node::start(ground, "start").await?;
        killed.push(node.started_in);
        node.end()?;
        node = Node::start(ground, "start").await?;
        ended.push(node.started_in);
    }
    node.end()?;
    let killed = Samples::new("start after a kill, 10,000 objects", killed);
    let ended = Samples::new("start after an end, 10,000 objects", ended);
    let worst = killed.median_ms().max(ended.median_ms());
    report.table(&[killed, ended]);
    report.at_most("start_10000_objects", worst, "ms", 300.0);
    Ok(())
}

/// What cannot be run here.
fn recorded(report: &mut Report) {
    report.line(
        "recorded, not run here: Kubernetes 1.36 with etcd on a machine with 2 cores and wrk beside it: 2,344 creates \
         per s (p99 23 ms), 4,879 gets per s (p99 16 ms), 720 MB at 35,000 ConfigMaps, 0.45 s for their list, 320 MB \
         idle"
            .to_owned(),
    );
}
