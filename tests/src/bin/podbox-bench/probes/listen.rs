//! From the moment at which a container asks the kernel to listen to the watch event in which its pod is Ready; beside it,
//! until plain probers of the same container know. Of podbox's time it is told which part passes until the probe begins, and
//! how long that takes; the rest is the status' way into the API and to the watch.

use super::STATE;
use super::plain::{RHYTHMS, first_success};
use super::servers::{PORT, all_gone, creation, probe, running, server, since};
use crate::node::Ground;
use crate::pods::burst::at_once;
use crate::pods::client::Client;
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use podbox::api::probed::{Row, Verdict};
use podbox::clock;
use podbox_tests::rounds::Random;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Pods that are started at once.
const PODS: usize = 50;
/// They listen after so many milliseconds at least, when all of them have been started,
const AFTER: u64 = 3_000;
/// and so many more at most.
const SPREAD: u64 = 5_000;

/// One pod's way.
struct Way {
    server: SocketAddr,
    ready: Option<Instant>,
    /// When the plain probers knew, in the order of [`RHYTHMS`].
    plain: Vec<JoinHandle<Instant>>,
}

/// Samples it, so many rounds.
pub async fn run(rounds: usize, ground: &Ground, client: &mut Client, report: &mut Report) -> Result<()> {
    let mut random = Random::new(1);
    let (mut own, mut begins, mut takes) = (Vec::new(), Vec::new(), Vec::new());
    let mut plain: Vec<Vec<Duration>> = RHYTHMS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        eprintln!("listen to Ready: {PODS} pods, round {} of {rounds}", round + 1);
        let names: Vec<_> = (0..PODS).map(|pod| format!("listen-{round}-{pod}")).collect();
        let ways = ways(&names, client, &mut random).await?;
        let rows = ground.probes(STATE)?;
        for (name, way) in ways {
            let listened = listened(way.server).await?;
            let (began, took) = passed(&rows, &name).with_context(|| format!("{name} passed no probe"))?;
            begins.push(began.saturating_duration_since(listened));
            takes.push(took);
            own.push(way.ready.context("it is Ready")?.saturating_duration_since(listened));
            for (samples, knew) in plain.iter_mut().zip(way.plain) {
                samples.push(knew.await?.saturating_duration_since(listened));
            }
        }
        all_gone(client, names).await?;
    }
    let mut rows = vec![
        Samples::new("listen to Ready, in the API", own),
        Samples::new("  listen to the probe's begin", begins),
        Samples::new("  the probe", takes),
    ];
    let name = |name| format!("plain prober, {name}");
    rows.extend(RHYTHMS.iter().zip(plain).map(|(rhythm, took)| Samples::new(&name(rhythm.name), took)));
    let p99 = rows[0].p99_ms();
    report.table(&rows);
    report.at_most("listen_to_ready_p99", p99, "ms", 10.0);
    Ok(())
}

async fn ways(names: &[String], client: &mut Client, random: &mut Random) -> Result<BTreeMap<String, Way>> {
    let request = |name: &String| {
        let after = (AFTER + random.below(SPREAD)).to_string();
        let probes = json!({"readinessProbe": probe(PORT, json!({}))});
        creation(name, json!({}), &[server(PORT, &["--after", &after], probes)])
    };
    let requests = names.iter().map(request).collect();
    at_once(client, requests, 201).await?;
    let mut ways = BTreeMap::<String, Way>::new();
    let last = client.until(|seen| {
        let name = seen.name().to_owned();
        if let (Some(server), false) = (running(seen), ways.contains_key(&name)) {
            let parts = RHYTHMS.map(|rhythm| (rhythm, random.below(1000) as f64 / 1000.0));
            let plain = parts.map(|(rhythm, part)| tokio::spawn(first_success(server, rhythm, part)));
            ways.insert(name.clone(), Way { server, ready: None, plain: plain.into() });
        }
        if let Some(way) = ways.get_mut(&name).filter(|_| seen.ready()) {
            way.ready.get_or_insert(seen.at);
        }
        ways.values().filter(|way| way.ready.is_some()).count() == names.len()
    });
    last.await?;
    Ok(ways)
}

/// When the probe began that a pod passed first, and how long it took.
fn passed(rows: &[Row], pod: &str) -> Option<(Instant, Duration)> {
    let mut results = rows.iter().filter(|row| row.pod == pod).flat_map(|row| &row.results);
    let result = results.find(|result| result.verdict == Verdict::Success)?;
    let (now, wall) = (clock::instant(), clock::wall());
    let ago = wall.duration_since(result.at.into()).unwrap_or_default();
    Some((now.checked_sub(ago)?, Duration::from_micros(result.took_us)))
}

async fn listened(server: SocketAddr) -> Result<Instant> {
    let since = since(server).await?;
    let (now, boot) = (clock::instant(), clock::boot());
    now.checked_sub(boot.saturating_sub(since)).context("it listened after this machine was started")
}
