//! One pod after another: its start, its container's restart, its end; beside other runtimes, in turn.

use super::client::Client;
use crate::engine::{add, find, progress};
use crate::floor::Floor;
use crate::node::Ground;
use crate::peers::{self, Runtimes};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use podbox::clock;
use std::time::Duration;

const READY: &str = "create to Ready";
const RESTARTED: &str = "kill to its replacement running";
/// Within this time a program that was started listens to signals.
const SETTLED: Duration = Duration::from_millis(100);
const GONE: &str = "deletion to gone";

/// Samples all of it.
pub async fn run(ground: &Ground, client: &mut Client, samples: usize, report: &mut Report) -> Result<()> {
    let runtimes = Runtimes::find()?;
    let floor = Floor::new()?;
    let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
    for round in 0..=samples {
        let mut taken = life(ground, client, &format!("bench-{round}")).await?;
        taken.push(("a ConfigMap's create", client.plain_write(&format!("bench-{round}")).await?));
        for runtime in &runtimes.found {
            let name = if runtime.name == "crun" { "crun run" } else { "runc run" };
            taken.push((name, peers::timed(&mut runtime.run(&format!("bench-{round}")))?));
        }
        taken.push(("bare spawn of /bin/true", peers::timed(&mut peers::bare())?));
        taken.push(("kernel floor", floor.sample(round).await?));
        add(&mut rows, taken, round);
        progress(round, samples);
    }
    let rows: Vec<_> = rows.into_iter().map(|(name, samples)| Samples::new(name, samples)).collect();
    report.table(&rows);
    for missing in runtimes.missing() {
        report.line(missing.clone());
    }
    let median = |name| find(name, &rows).context("it was measured");
    report.at_most("ready_p50", median(READY)?, "ms", 15.0);
    report.at_most("restart_p50", median(RESTARTED)?, "ms", 10.0);
    report.figure("gone_p50", median(GONE)?, "ms");
    Ok(())
}

/// A pod's whole life.
async fn life(ground: &Ground, client: &mut Client, name: &str) -> Result<Vec<(&'static str, Duration)>> {
    let began = clock::instant();
    client.create(name).await?;
    let answered = clock::instant();
    let bound = client.until(|seen| seen.name() == name && seen.bound()).await?;
    let ready = match bound.ready() {
        true => bound.at,
        false => client.until(|seen| seen.name() == name && seen.ready()).await?.at,
    };
    let process = ground.process_of(bound.uid())?;
    let killed = clock::instant();
    kill(process, Signal::SIGKILL)?;
    let again = client.until(|seen| seen.name() == name && seen.runs_after(1)).await?.at;
    // PID 1 that gets its signal before it knows what to do with it does not hear it.
    tokio::time::sleep(SETTLED).await;
    let asked = clock::instant();
    client.delete(name).await?;
    let gone = client.until(|seen| seen.name() == name && seen.deleted).await?.at;
    Ok(vec![
        (READY, ready - began),
        ("  create to its answer", answered - began),
        ("  create to bound", bound.at - began),
        (RESTARTED, again - killed),
        (GONE, gone - asked),
    ])
}
