//! pods: what a client of `podbox node` sees of pods, through the whole system: API over TLS, store on a real disk,
//! scheduler, agent, engine, keeper, and back into the API. The image is on the node.
//!
//! - `start`: one pod after another, from the request that creates it to the watch event in which it is Ready; and from
//!   the kill of its container's process to the event in which another one runs, restarted for the first time.
//! - `burst`: a hundred pods by a hundred requests at the same moment, until the last one is Ready; then their deletion,
//!   until the last one is gone from the API. They end as soon as they are asked to, so their grace takes no time.
//! - `idle`: what the daemon and its keeper take of processor and memory while 110 pods sleep.
//! - `scrape`: what it costs to tell Prometheus of these 110 pods, by page.
//!
//! Every pod has what pods have by default: a service account's token in a volume, an address, Events that are told of it.

pub mod burst;
pub mod client;
mod idle;
mod scrape;
mod start;

use crate::node::{Ground, Node};
use crate::peers;
use crate::stats::Report;
use anyhow::Result;
use client::Client;

/// Where the nodes keep their state.
const STATE: &str = "pods";

/// Runs all of it.
pub async fn run(samples: usize) -> Result<Report> {
    let ground = Ground::new()?;
    ground.load_image(STATE)?;
    let mut report = Report::default();
    report.line(format!(
        "pods on {}, {} processors: store and containers on {}",
        peers::kernel(),
        std::thread::available_parallelism()?,
        ground.file_system()?
    ));
    let mut node = Node::start(&ground, STATE).await?;
    let mut client = Client::new(&node.access).await?;
    start::run(&ground, &mut client, samples, &mut report).await?;
    burst::run(&mut client, &mut report).await?;
    node.end()?;
    idle::run(&ground, &mut report).await?;
    Ok(report)
}
