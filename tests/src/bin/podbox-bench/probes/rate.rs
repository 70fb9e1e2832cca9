//! A thousand HTTP probes a second over 200 containers: what the daemon and its keeper take of a processor, and how late
//! probes begin. Beside it, for a second while, a plain prober of the same servers in the same rhythm, as well.
//!
//! When a probe should have begun isn't told; but they are due at even distances and never begin too early. So of one
//! container's probes the least late one is taken to be in time, and the others' lateness is counted from its ticks.

use super::STATE;
use super::plain::{Rhythm, Ticks, asked};
use super::servers::{PORT, all_gone, all_ready, creation, probe, server};
use crate::node::{Ground, Node, worked};
use crate::pods::client::Client;
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use podbox::api::probed::{Row, Verdict};
use podbox::clock;
use podbox_tests::rounds::Random;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PODS: usize = 50;
/// Servers in each pod.
const SERVERS: u16 = 4;
const PERIOD: Duration = Duration::from_millis(200);
/// How long nothing is counted yet.
const SETTLED: Duration = Duration::from_secs(5);
/// How long each of both is counted; what podbox keeps of each probe's results is as long.
const COUNTED: Duration = Duration::from_secs(15);
/// What is asked for in a second.
const RATE: usize = 1000;

/// Measures it.
pub async fn run(ground: &Ground, node: &Node, client: &mut Client, report: &mut Report) -> Result<()> {
    eprintln!("rate: {RATE} HTTP probes a second");
    let annotations = json!({"podbox.io/probe-period": format!("{}ms", PERIOD.as_millis())});
    let ports = PORT..PORT + SERVERS;
    let one = |port| server(port, &[], json!({"readinessProbe": probe(port, json!({}))}));
    let containers: Vec<_> = ports.clone().map(one).collect();
    let names: Vec<_> = (0..PODS).map(|pod| format!("rate-{pod}")).collect();
    let requests = names.iter().map(|name| creation(name, annotations.clone(), &containers)).collect();
    let addresses = all_ready(client, requests).await?;
    tokio::time::sleep(SETTLED).await;

    let (began, daemon, keeper) = (clock::instant(), node.worked()?, worked(node.keeper)?);
    tokio::time::sleep(COUNTED).await;
    let passed = (clock::instant() - began).as_secs_f64();
    let share = |spent: Duration| spent.as_secs_f64() / passed * 100.0;
    let (daemon, keeper) = (share(node.worked()? - daemon), share(worked(node.keeper)? - keeper));
    let rows = ground.probes(STATE)?;
    let servers = addresses.iter().flat_map(|ip| ports.clone().map(|port| SocketAddr::new(*ip, port)));
    let plain = Plain::run(servers.collect()).await?;
    all_gone(client, names).await?;

    let rows: Vec<_> = rows.iter().filter(|row| row.pod.starts_with("rate-")).collect();
    let rate: f64 = rows.iter().map(|row| frequency(row)).sum();
    let results = || rows.iter().flat_map(|row| &row.results);
    let bad = results().filter(|result| result.verdict != Verdict::Success).count();
    let late =
        Samples::new("begin of a probe after it was due", rows.iter().flat_map(|row| late(row)).collect());
    let took = results().map(|result| Duration::from_micros(result.took_us)).collect();
    let p99 = late.p99_ms();
    report.line(format!("{rate:.0} HTTP probes a second of {} containers; not well: {bad}", rows.len()));
    report.line(format!("  podbox: {daemon:.1} % of a core, and its keeper {keeper:.1} %"));
    report.line(format!(
        "  a plain prober beside it: {:.1} % of a core for {:.0} a second; not well: {}",
        plain.processor, plain.rate, plain.bad
    ));
    report.table(&[late, Samples::new("  of the plain prober", plain.late), Samples::new("a probe", took)]);
    report.at_least("http_probes", rate, "per s", RATE as f64 * 0.99);
    report.at_most("http_1000_processor", daemon + keeper, "% of a core", 15.0);
    report.at_most("http_1000_late_p99", p99, "ms", 5.0);
    Ok(())
}

/// How often a probe is run in a second.
fn frequency(row: &Row) -> f64 {
    let at = |result: Option<&podbox::api::probed::Probed>| result.map(|result| result.at.as_nanosecond());
    match (at(row.results.first()), at(row.results.last())) {
        (Some(first), Some(last)) if last > first => {
            (row.results.len() - 1) as f64 / ((last - first) as f64 / 1e9)
        }
        _ => 0.0,
    }
}

/// By how much each result missed its tick.
fn late(row: &Row) -> Vec<Duration> {
    let period = PERIOD.as_nanos().cast_signed();
    let Some(first) = row.results.first().map(|result| result.at.as_nanosecond()) else { return Vec::new() };
    let offset = |at: i128| (at - first + period / 2).rem_euclid(period) - period / 2;
    let offsets: Vec<_> = row.results.iter().map(|result| offset(result.at.as_nanosecond())).collect();
    let least = offsets.iter().copied().min().unwrap_or_default();
    offsets
        .iter()
        .map(|offset| Duration::from_nanos(u64::try_from(offset - least).unwrap_or_default()))
        .collect()
}

/// What a plain prober came to.
struct Plain {
    late: Vec<Duration>,
    bad: usize,
    rate: f64,
    /// Per cent of a core.
    processor: f64,
}

impl Plain {
    async fn run(servers: Vec<SocketAddr>) -> Result<Plain> {
        let rhythm = Rhythm { name: "", first: PERIOD, period: PERIOD };
        let (over, bad) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let own = nix::unistd::getpid();
        let mut random = Random::new(3);
        let (began, before) = (clock::instant(), worked(own)?);
        let tasks: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let mut ticks = Ticks::new(&rhythm, random.below(1000) as f64 / 1000.0);
                let (over, bad) = (Arc::clone(&over), Arc::clone(&bad));
                tokio::spawn(async move {
                    let mut late = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        late.push(ticks.tick().await);
                        bad.fetch_add(usize::from(!asked(server).await), Ordering::Relaxed);
                    }
                    late
                })
            })
            .collect();
        tokio::time::sleep(COUNTED).await;
        over.store(true, Ordering::Relaxed);
        let passed = (clock::instant() - began).as_secs_f64();
        let processor = (worked(own)? - before).as_secs_f64() / passed * 100.0;
        let mut late = Vec::new();
        for task in tasks {
            late.extend(task.await.context("a plain prober's task")?);
        }
        Ok(Plain { rate: late.len() as f64 / passed, late, bad: bad.load(Ordering::Relaxed), processor })
    }
}
