//! 110 pods that sleep, which is as many as a node takes: what the daemon and the keeper need for them.
//!
//! Memory is the growth of both processes' proportional set sizes from a node without pods to one with 110, by pod. What
//! the kernel holds for namespaces, mounts and links, and what the containers' own processes hold, is not counted.

use super::STATE;
use super::burst::at_once;
use super::client::{Client, creation, deletion};
use super::scrape;
use crate::node::{Ground, Node, proportional, worked};
use crate::stats::Report;
use anyhow::Result;
use podbox::clock;
use std::collections::BTreeSet;
use std::time::Duration;

const PODS: usize = 110;
/// How long a node is left alone before it is measured.
const QUIET: Duration = Duration::from_secs(5);
/// How long its processor time is counted: several rounds of whatever it does by the clock.
const COUNTED: Duration = Duration::from_secs(40);

/// Measures it.
pub async fn run(ground: &Ground, report: &mut Report) -> Result<()> {
    let mut node = Node::start(ground, STATE).await?;
    let without = quiet(&node).await?;
    let mut client = Client::new(&node.access).await?;
    eprintln!("bench: {PODS} pods, idle");
    at_once(&client, (0..PODS).map(|pod| creation(&name(pod))).collect(), 201).await?;
    let mut ready = BTreeSet::new();
    let all_ready = client.until(|seen| {
        if seen.ready() {
            ready.insert(seen.name().to_owned());
        }
        ready.len() == PODS
    });
    all_ready.await?;
    let with = quiet(&node).await?;
    let scraped = scrape::all(&node)?;
    let mut gone = 0;
    at_once(&client, (0..PODS).map(|pod| deletion(&name(pod))).collect(), 200).await?;
    let all_gone = client.until(|seen| {
        gone += usize::from(seen.deleted);
        gone == PODS
    });
    all_gone.await?;
    node.end()?;
    report.line(format!("{:<10} {:>14} {:>14} {:>14}", "", "no pod", "110 pods", "per pod"));
    let mut memory = 0.0;
    for (name, before, after) in
        [("daemon", without.daemon_kb, with.daemon_kb), ("keeper", without.keeper_kb, with.keeper_kb)]
    {
        let each = (after - before) / PODS as f64;
        memory += each;
        report.line(format!("{name:<10} {before:>11.0} kB {after:>11.0} kB {each:>11.1} kB"));
    }
    report.line(format!("processor  {:>13.2}% {:>13.2}%", without.processor, with.processor));
    scrape::tell(scraped, report);
    report.at_most("110_idle_processor", with.processor, "% of a core", 1.0);
    report.at_most("memory_per_pod", memory, "kB", 200.0);
    Ok(())
}

fn name(pod: usize) -> String {
    format!("idle-{pod}")
}

/// What a node needs.
struct Need {
    daemon_kb: f64,
    keeper_kb: f64,
    /// Per cent of a core.
    processor: f64,
}

async fn quiet(node: &Node) -> Result<Need> {
    tokio::time::sleep(QUIET).await;
    let all = || Ok::<_, anyhow::Error>(node.worked()? + worked(node.keeper)?);
    let (began, before) = (clock::instant(), all()?);
    tokio::time::sleep(COUNTED).await;
    let spent = (all()? - before).as_secs_f64() / (clock::instant() - began).as_secs_f64();
    Ok(Need {
        daemon_kb: proportional(node.pid())?,
        keeper_kb: proportional(node.keeper)?,
        processor: spent * 100.0,
    })
}
