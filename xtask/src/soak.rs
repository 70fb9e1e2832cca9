//! `cargo xtask soak`: the randomised tests and the simulated cluster at length. `test` runs a seeded sample of the same ones; here property tests
//! meet other cases each time, unless `PROPTEST_RNG_SEED` says which.
//!
//! A randomised test reads its counts from the environment: property tests `PROPTEST_CASES`; privileged ones, whose
//! names contain `seeded`, `PODBOX_ROUNDS` and `PODBOX_SEED`, and the kernel's scenarios, of which there are more,
//! `PODBOX_SCENARIOS`. A failure names its seed; `--seed` starts there again.

use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// In the names of the test of scenarios, and of that of many processes.
const SCENARIOS: &str = "seeded_scenarios";
const PROCESSES: &str = "more_dead_processes";

/// `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Cases of each property test; 0 leaves them out.
    #[arg(long, default_value_t = 20_000)]
    cases: u32,
    /// Rounds of each seeded privileged test; 0 leaves them out.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// Scenarios of what the kernel is to tell truly; 0 leaves them out.
    #[arg(long, default_value_t = 1000)]
    scenarios: u32,
    /// Processes that lie dead at once in a machine; 0 leaves them out.
    #[arg(long, default_value_t = 100_000)]
    processes: u32,
    /// Seed of the first round; the next rounds count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of the simulated cluster; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    sim_steps: u64,
    /// Leave out the virtual machines.
    #[arg(long)]
    no_vm: bool,
}

/// Plays simulated clusters, built for release. Seeds below the first are what `test` plays.
fn simulate(args: &Args) -> Result<bool> {
    let first = 1_000_000 * args.seed;
    println!("simulated clusters, {} steps from seed {first}", args.sim_steps);
    let mut sim = workspace::cargo();
    sim.args(["run", "--quiet", "--release", "--bin", "podbox", "--", "sim", "--tally"]);
    sim.args(["--steps", "300", "--total-steps", &args.sim_steps.to_string()]);
    sim.args(["--seeds", &format!("{first}..{}", first + 1_000_000)]);
    Ok(sim.status().context("can't run cargo")?.success())
}

/// The filters of the privileged tests that are asked for.
fn filters(args: &Args) -> Vec<&'static str> {
    let seeded = match (args.rounds, args.scenarios) {
        (0, 0) => None,
        (0, _) => Some(SCENARIOS),
        _ => Some("seeded"),
    };
    seeded.into_iter().chain((args.processes > 0).then_some(PROCESSES)).collect()
}

/// Runs the privileged tests that are asked for, if any are; whether they passed.
fn privileged(args: &Args) -> Result<Option<bool>> {
    let filters = filters(args);
    if filters.is_empty() {
        return Ok(None);
    }
    let Args { rounds, scenarios, processes, seed, .. } = args;
    println!("{rounds} rounds and {scenarios} scenarios from seed {seed}, {processes} processes");
    let mut tests = Command::new(workspace::this_program()?);
    tests.args(["test", "--privileged"]).args(filters).args(args.no_vm.then_some("--no-vm"));
    tests.env("PODBOX_ROUNDS", rounds.to_string()).env("PODBOX_SCENARIOS", scenarios.to_string());
    tests.env("PODBOX_PROCESSES", processes.to_string()).env("PODBOX_SEED", seed.to_string());
    Ok(Some(tests.status().context("can't run the tests")?.success()))
}

/// Runs the verb; returns its exit status.
pub fn main(args: &Args) -> Result<i32> {
    let mut failed = Vec::new();
    if args.cases > 0 {
        println!("property tests, {} cases each", args.cases);
        let mut tests = workspace::cargo();
        tests.args(["test", "--quiet", "--workspace", "--lib", "--bins"]);
        tests.env("PROPTEST_CASES", args.cases.to_string());
        if !tests.status().context("can't run cargo")?.success() {
            failed.push("property tests");
        }
    }
    if privileged(args)? == Some(false) {
        failed.push("privileged tests");
    }
    if args.sim_steps > 0 && !simulate(args)? {
        failed.push("the simulation");
    }
    match failed.as_slice() {
        [] => println!("all of the soak passed"),
        failed => println!("failed: {}", failed.join(", ")),
    }
    Ok(i32::from(!failed.is_empty()))
}
