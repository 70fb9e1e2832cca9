//! control: what the control plane of `podbox node` does with many pods, over simulated nodes: they take pods, and nothing runs.
//!
//! - `bind`: through the real API over TLS and the durable store on a real disk, a Deployment of 5,000 replicas over 100 nodes, from
//!   the request that creates it to the watch event in which the last pod has its node; a node of podbox, and a store, of its own for each
//!   round. The pods stay as they were bound, as in what is recorded of Kubernetes. Then the same until all of them are Ready.
//! - `react`: with 1,000, 10,000 and 100,000 pods stored, one pod stops being ready, or starts to be, or is taken away: from the moment in
//!   which the store shows that to the moment in which it shows what the controllers wrote because of it, beside what such a write takes
//!   by itself.
//! - `idle`: what podbox takes of a processor while 10,000 pods are settled.

mod bind;
mod idle;
mod react;
mod watch;

use crate::node::Ground;
use crate::peers;
use crate::stats::Report;
use anyhow::Result;

/// Simulated nodes.
const NODES: usize = 100;

/// Runs all of it, or one part.
pub async fn run(samples: usize, part: Option<&str>) -> Result<Report> {
    let ground = Ground::new()?;
    let mut report = Report::default();
    report.line(format!(
        "control on {}, {} processors: store on {}",
        peers::kernel(),
        std::thread::available_parallelism()?,
        ground.file_system()?
    ));
    let asked = |name: &str| part.is_none_or(|part| part == name);
    if asked("bind") {
        bind::run(&ground, &mut report).await?;
    }
    if asked("react") {
        react::run(&ground, samples, &mut report).await?;
    }
    if asked("idle") {
        idle::run(&ground, &mut report).await?;
    }
    Ok(report)
}
