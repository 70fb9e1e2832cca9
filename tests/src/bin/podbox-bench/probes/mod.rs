//! probes: what probes cost, and what they know how early, beside `crun exec` and a plain prober that does as upstream's
//! does (`plain`), on the same containers at the same time. All but `exec` go through the whole system: API over TLS,
//! store on a real disk, `podbox node` as a process of its own, keeper, real containers.
//!
//! - `exec`: a probe by a command, beside `crun exec` and a bare spawn of the same program, in turn: time and processor.
//! - `listen`: containers that listen at a random moment: from there to the watch event in which the pod is Ready.
//! - `rollout`: ten pods of a Deployment, replaced one after another, each waited for.
//! - `rate`: a thousand HTTP probes a second over 200 containers: processor, and how late they begin.
//! - `busy`: every core spins for others' sake: how many containers are killed though they answer at once.

mod busy;
mod exec;
mod listen;
mod plain;
mod rate;
mod rollout;
mod servers;

use crate::node::{Ground, Node};
use crate::peers;
use crate::pods::client::Client;
use crate::stats::Report;
use anyhow::Result;

/// Where the node keeps its state.
const STATE: &str = "probes";

/// Runs all of it, or one part.
pub async fn run(samples: usize, part: Option<&str>) -> Result<Report> {
    let wanted = |name| part.is_none_or(|part| part == name);
    let mut report = Report::default();
    let processors = std::thread::available_parallelism()?;
    report.line(format!("probes on {}, {processors} processors", peers::kernel()));
    if wanted("exec") {
        exec::run(samples * 5, &mut report).await?;
    }
    if part == Some("exec") {
        // The only one that a virtual machine, whose disk is in memory, can run.
        return Ok(report);
    }
    let ground = Ground::new()?;
    ground.load_image(STATE)?;
    let mut node = Node::start(&ground, STATE).await?;
    let mut client = Client::new(&node.access).await?;
    if wanted("listen") {
        listen::run(samples.div_ceil(10), &ground, &mut client, &mut report).await?;
    }
    if wanted("rollout") {
        rollout::run(&node.access, &mut client, &mut report).await?;
    }
    if wanted("rate") {
        rate::run(&ground, &node, &mut client, &mut report).await?;
    }
    if wanted("busy") {
        busy::run(&ground, &mut client, &mut report).await?;
    }
    node.end()?;
    Ok(report)
}
