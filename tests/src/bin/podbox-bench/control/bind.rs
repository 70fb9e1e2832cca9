//! A Deployment of 5,000: until its pods are bound, and what podbox holds then; until they are Ready.

use super::NODES;
use super::watch::{Goal, deploy, nodes_are_ready};
use crate::node::{Ground, Node};
use crate::stats::{Report, Samples};
use anyhow::Result;
use std::time::Duration;

const REPLICAS: usize = 5000;
const ROUNDS: usize = 5;
/// What was recorded once of Kubernetes 1.36 on such a machine: API server, etcd, controller manager and scheduler, with the clients' own
/// limits at 5,000 requests a second; and what they held then.
const KUBERNETES: (Duration, f64) = (Duration::from_millis(14_800), 1505.0);

/// Samples all of it.
pub async fn run(ground: &Ground, report: &mut Report) -> Result<()> {
    let (mut bound, mut ready, mut held, mut worked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("bind {} of {ROUNDS}", round + 1);
        let (taken, of) = one(ground, &format!("bound-{round}"), "never", Goal::Bound).await?;
        bound.push(taken);
        worked.push(of.worked);
        held.push(of.held);
        ready.push(one(ground, &format!("ready-{round}"), "0s", Goal::Ready).await?.0);
    }
    let bound = Samples::new("5,000 replicas to all bound", bound);
    let (median, p99) = (bound.median_ms() / 1e3, bound.p99_ms() / 1e3);
    let worked = Samples::new("  processor time of podbox for it", worked);
    let each = worked.median_ms() * 1e3 / REPLICAS as f64;
    report.table(&[
        bound,
        worked,
        Samples::new("5,000 replicas to all Ready", ready),
        Samples::new("Kubernetes to all bound, recorded", vec![KUBERNETES.0]),
    ]);
    held.sort_by(f64::total_cmp);
    let held = held[held.len() / 2];
    let pods = REPLICAS as f64;
    report.at_most("bound_5000_p50", median, "s", 2.5);
    report.figure("bound_5000_p99", p99, "s");
    report.at_least("bound_rate", pods / median, "pods per s", 2000.0);
    report.figure("processor_per_pod", each, "µs");
    report.at_most("resident_5000", held, "MB", 150.0);
    report.at_most("bound_of_kubernetes", median / KUBERNETES.0.as_secs_f64(), "", 0.17);
    report.at_most("resident_of_kubernetes", held / KUBERNETES.1, "", 0.1);
    Ok(())
}

struct Of {
    worked: Duration,
    /// Megabytes.
    held: f64,
}

/// One round, on a podbox of its own whose pods take so long to start.
async fn one(ground: &Ground, state: &str, start: &str, goal: Goal) -> Result<(Duration, Of)> {
    let nodes = NODES.to_string();
    let options = ["--simulated-nodes", &nodes, "--simulated-start", start];
    let mut node = Node::start_with(ground, state, &options).await?;
    nodes_are_ready(&node.access, NODES).await?;
    let before = node.worked()?;
    let [began, came] = deploy(&node.access, "many", REPLICAS, goal).await?;
    let worked = node.worked()? - before;
    let held = node.resident_when_quiet().await?;
    node.end()?;
    ground.forget(state)?;
    Ok((came - began, Of { worked, held }))
}
