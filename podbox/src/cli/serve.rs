//! Options of `podbox node`: how the node looks after itself, and which simulated nodes are beside it.

use super::duties::DutyArgs;
use super::node;
use crate::api::simulate::Span;
use crate::config::Config;
use crate::fleet::{self, Options};
use crate::limits;
use anyhow::ensure;
use clap::Args;
use std::process::ExitCode;

/// Where help has simulated nodes.
const SIMULATED: &str = "Simulated nodes";

/// What `podbox node` is asked for.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    duties: DutyArgs,
    /// How many nodes there are beside this one that run nothing, for tests of schedulers and controllers
    #[arg(long, env = "PODBOX_SIMULATED_NODES", value_name = "NUMBER", default_value_t = 0, hide_env = true)]
    #[arg(help_heading = SIMULATED, value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::SIMULATED_NODES)))]
    simulated_nodes: u32,
    /// How long pods on them take to start, about; `never` leaves them as they were bound
    #[arg(long, env = "PODBOX_SIMULATED_START", value_name = "TIME", default_value = "1s", hide_env = true)]
    #[arg(help_heading = SIMULATED, value_parser = Span::parse)]
    simulated_start: Span,
}

impl ServeArgs {
    /// Runs it.
    pub fn run(&self, config: Config) -> anyhow::Result<ExitCode> {
        let simulated = Options { nodes: self.simulated_nodes, start: self.simulated_start };
        let (own, theirs) = (config.pod_cidr, fleet::RANGE);
        let apart = !own.contains(&theirs.network()) && !theirs.contains(&own.network());
        ensure!(
            simulated.nodes == 0 || apart,
            "--pod-cidr {own} is among the addresses of simulated nodes and their pods, {theirs}"
        );
        node::run(Config { duties: self.duties.duties()?, ..config }, simulated)
    }
}
