//! Every core is kept busy by others that come first: two spinning processes for each, of the highest priority. So are the
//! servers, which answer at once; podbox has the usual one, and is kept waiting. Their liveness probes have a second, and the
//! first failure kills.
//!
//! A plain prober of podbox's priority says how many kills it would have made, and one of the servers' priority whether any
//! of them would have been deserved. A host whose cpu controller is on gives pods that ask for nothing so little that they
//! do not answer themselves: this is for hosts without.

use super::STATE;
use super::plain::{Rhythm, Ticks, asked};
use super::servers::{PORT, all_gone, creation, probe, running, server};
use crate::node::{Ground, renice};
use crate::pods::burst::at_once;
use crate::pods::client::Client;
use crate::stats::Report;
use anyhow::{Context, Result};
use podbox::api::probed::Verdict;
use podbox_tests::rounds::Random;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;

const PODS: usize = 20;
/// The highest priority.
const FIRST: i32 = -20;
const COUNTED: Duration = Duration::from_secs(60);
const RHYTHM: Rhythm = Rhythm { name: "", first: Duration::from_secs(1), period: Duration::from_secs(1) };
/// It ends with whoever started it.
const SPIN: &str = "while kill -0 $PPID; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";

/// Measures it.
pub async fn run(ground: &Ground, client: &mut Client, report: &mut Report) -> Result<()> {
    let names: Vec<_> = (0..PODS).map(|pod| format!("busy-{pod}")).collect();
    let servers = start(ground, &names, client).await?;
    let processors = std::thread::available_parallelism()?.get();
    eprintln!("busy: {processors} processors for {} s", COUNTED.as_secs());
    let spinning = (0..processors * 2).map(|_| Spinning::start()).collect::<Result<Vec<_>>>()?;
    let peers = servers.clone();
    let fair = std::thread::spawn(move || {
        renice(nix::unistd::gettid(), FIRST)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok::<_, anyhow::Error>(runtime.block_on(counted(peers)))
    });
    let plain = tokio::spawn(counted(servers));
    let kills = kills(client).await;
    drop(spinning);
    let (plain, fair) = (plain.await?, fair.join().ok().context("a prober panicked")??);
    let rows = ground.probes(STATE)?;
    all_gone(client, names).await?;

    let results = rows.iter().filter(|row| row.pod.starts_with("busy-")).flat_map(|row| &row.results);
    let (mut all, mut again) = (0, 0);
    for result in results {
        all += 1;
        again += usize::from(result.verdict == Verdict::Unknown);
    }
    report.line(format!(
        "{processors} processors, {} spinning processes of priority {FIRST}, {} s: {PODS} servers, liveness probes every 1 s",
        processors * 2,
        COUNTED.as_secs()
    ));
    report.line(format!(
        "  podbox: {kills} killed; {again} of the last {all} probes were run again, since it was kept waiting"
    ));
    report.line(format!(
        "  a plain prober of its priority would have killed {} times ({} probes)",
        plain.bad, plain.all
    ));
    report.line(format!("  one of the servers' priority: {} times ({} probes)", fair.bad, fair.all));
    report.at_most("false_kills", kills as f64, "kills", 0.0);
    Ok(())
}

/// Starts the servers, and gives them the highest priority; where they are.
async fn start(ground: &Ground, names: &[String], client: &mut Client) -> Result<Vec<SocketAddr>> {
    let probes = || {
        let liveness = probe(PORT, json!({"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}));
        let readiness = probe(PORT, json!({}));
        // What has just been started is not asked before it listens.
        json!({"livenessProbe": liveness, "readinessProbe": readiness, "startupProbe": probe(PORT, json!({}))})
    };
    let request = |name: &String| creation(name, json!({}), &[server(PORT, &[], probes())]);
    at_once(client, names.iter().map(request).collect(), 201).await?;
    let mut ready = BTreeMap::new();
    let last = client.until(|seen| {
        if let (true, Some(server)) = (seen.ready(), running(seen)) {
            ready.insert(seen.uid().to_owned(), server);
        }
        ready.len() == names.len()
    });
    last.await?;
    ready.keys().try_for_each(|uid| renice(ground.process_of(uid)?, FIRST))?;
    Ok(ready.into_values().collect())
}

/// How many containers are killed in that time.
async fn kills(client: &mut Client) -> u64 {
    let mut restarts = BTreeMap::new();
    let watched = client.until(|seen| {
        let count = seen.pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        restarts.insert(seen.name().to_owned(), count.unwrap_or_default());
        false
    });
    // It ends with the time, and never before.
    let _ = tokio::time::timeout(COUNTED, watched).await;
    restarts.into_values().sum()
}

/// What a plain prober came to.
#[derive(Default)]
struct Count {
    all: usize,
    bad: usize,
}

async fn counted(servers: Vec<SocketAddr>) -> Count {
    let mut random = Random::new(4);
    let end = podbox::clock::instant() + COUNTED;
    let mut tasks = JoinSet::new();
    for server in servers {
        let mut ticks = Ticks::new(&RHYTHM, random.below(1000) as f64 / 1000.0);
        tasks.spawn(async move {
            let mut count = Count::default();
            while podbox::clock::instant() < end {
                ticks.tick().await;
                count.all += 1;
                count.bad += usize::from(!asked(server).await);
            }
            count
        });
    }
    let mut sum = Count::default();
    while let Some(Ok(count)) = tasks.join_next().await {
        sum = Count { all: sum.all + count.all, bad: sum.bad + count.bad };
    }
    sum
}

/// A process that spins until it is dropped.
struct Spinning(Child);

impl Spinning {
    fn start() -> Result<Spinning> {
        let mut command = Command::new("nice");
        command.args(["-n", &FIRST.to_string(), "/bin/busybox", "sh", "-c", SPIN]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Spinning(child.context("starting nice")?))
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
