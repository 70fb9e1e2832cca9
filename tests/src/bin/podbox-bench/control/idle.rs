//! 10,000 pods that run and to which nothing happens: what podbox takes of a processor, with the leases of 100 nodes.

use super::NODES;
use super::watch::{Goal, deploy, nodes_are_ready};
use crate::node::{Ground, Node};
use crate::stats::Report;
use anyhow::Result;
use podbox::clock;
use std::time::Duration;

const PODS: usize = 10_000;
/// How long it is left alone before it is measured.
const QUIET: Duration = Duration::from_secs(10);
/// How long its processor time is counted: several rounds of whatever it does by the clock.
const COUNTED: Duration = Duration::from_secs(30);

/// Measures it.
pub async fn run(ground: &Ground, report: &mut Report) -> Result<()> {
    let nodes = NODES.to_string();
    let options = ["--simulated-nodes", &nodes, "--simulated-start", "0s"];
    let mut node = Node::start_with(ground, "idle", &options).await?;
    nodes_are_ready(&node.access, NODES).await?;
    let without = processor(&node).await?;
    eprintln!("idle: {PODS} pods");
    deploy(&node.access, "idle", PODS, Goal::Ready).await?;
    let with = processor(&node).await?;
    let held = node.resident_when_quiet().await?;
    node.end()?;
    ground.forget("idle")?;
    report.line(format!("processor with {NODES} idle simulated nodes: {without:.2} % of a core"));
    report.figure("nodes_idle_processor", without, "% of a core");
    report.at_most("10000_idle_processor", with, "% of a core", 1.0);
    report.figure("10000_resident", held, "MB");
    Ok(())
}

/// Per cent of a core that podbox takes while nobody asks for anything.
async fn processor(node: &Node) -> Result<f64> {
    tokio::time::sleep(QUIET).await;
    let (began, before) = (clock::instant(), node.worked()?);
    tokio::time::sleep(COUNTED).await;
    let spent = (node.worked()? - before).as_secs_f64() / (clock::instant() - began).as_secs_f64();
    Ok(spent * 100.0)
}
