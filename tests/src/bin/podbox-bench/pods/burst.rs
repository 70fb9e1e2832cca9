//! A hundred pods at once: their start, and their end.

use super::client::{Client, creation, deletion, done};
use crate::peers::{self, Runtimes};
use crate::stats::{Report, Samples};
use anyhow::{Context, Result};
use podbox::clock;
use podbox_tests::api::Connection;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So many.
const PODS: usize = 100;
const ROUNDS: usize = 5;

/// Samples all of it.
pub async fn run(client: &mut Client, report: &mut Report) -> Result<()> {
    let mut ready = Vec::new();
    let mut gone = Vec::new();
    for round in 0..=ROUNDS {
        eprintln!("burst {round} of {ROUNDS}");
        let taken = [start(client, round).await?, end(client, round).await?];
        // The first round only warms up.
        if round > 0 {
            ready.push(taken[0]);
            gone.push(taken[1]);
        }
    }
    let ready = Samples::new("100 creates to all Ready", ready);
    let gone = Samples::new("100 deletions to all gone", gone);
    let (all_ready, all_gone) = (ready.median_ms() / 1e3, gone.median_ms() / 1e3);
    let mut rows = vec![ready, gone];
    for runtime in &Runtimes::find()?.found {
        let run = |number| peers::timed(&mut runtime.run(&format!("burst-{number}")));
        let name = if runtime.name == "crun" { "100 crun run" } else { "100 runc run" };
        rows.push(Samples::new(&format!("{name}, two at a time"), vec![two_at_a_time(run)?]));
    }
    report.table(&rows);
    report.at_most("100_ready", all_ready, "s", 3.0);
    report.at_most("100_gone", all_gone, "s", 2.0);
    Ok(())
}

fn name(round: usize, pod: usize) -> String {
    format!("burst-{round}-{pod}")
}

async fn start(client: &mut Client, round: usize) -> Result<Duration> {
    let requests = (0..PODS).map(|pod| creation(&name(round, pod))).collect();
    let began = at_once(client, requests, 201).await?;
    let mut ready = BTreeSet::new();
    let last = client.until(|seen| {
        if seen.ready() {
            ready.insert(seen.name().to_owned());
        }
        ready.len() == PODS
    });
    Ok(last.await?.at - began)
}

async fn end(client: &mut Client, round: usize) -> Result<Duration> {
    let requests = (0..PODS).map(|pod| deletion(&name(round, pod))).collect();
    let began = at_once(client, requests, 200).await?;
    let mut gone = 0;
    let last = client.until(|seen| {
        gone += usize::from(seen.deleted);
        gone == PODS
    });
    Ok(last.await?.at - began)
}

/// Sends each request by a connection of its own, all at the same moment, and waits for the answers; tells the moment.
pub async fn at_once(client: &Client, requests: Vec<Vec<u8>>, code: u16) -> Result<Instant> {
    let connections = client.connections(requests.len()).await?;
    let began = clock::instant();
    let ask = |(mut connection, request): (Connection, Vec<u8>)| async move {
        connection.send(&request).await?;
        done(&connection.answer().await?, code)
    };
    let tasks: Vec<_> = connections.into_iter().zip(requests).map(|pair| tokio::spawn(ask(pair))).collect();
    for task in tasks {
        task.await??;
    }
    Ok(began)
}

/// How long it takes to do this for each pod, on two threads.
fn two_at_a_time(run: impl Fn(usize) -> Result<Duration> + Sync) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let work = || {
        std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
            .take_while(|number| *number < PODS)
            .try_for_each(|number| run(number).map(drop))
    };
    let began = clock::instant();
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work()?;
        other.join().ok().context("a thread that starts containers panicked")?
    })?;
    Ok(clock::instant() - began)
}
