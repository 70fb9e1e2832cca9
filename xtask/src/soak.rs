//! `cargo xtask soak`: the randomised tests and the simulated cluster at length. `test` runs a seeded sample of the same ones; here property tests
//! meet other cases each time, unless `PROPTEST_RNG_SEED` says which.
//!
//! A randomised test reads its counts from the environment: property tests `PROPTEST_CASES`; privileged ones, whose
//! names contain `seeded`, `PODBOX_ROUNDS` and `PODBOX_SEED`. A failure names its seed; `--seed` starts there again.

use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Cases of each property test; 0 leaves them out.
    #[arg(long, default_value_t = 20_000)]
    cases: u32,
    /// Rounds of each seeded privileged test; 0 leaves them out.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
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
    if args.rounds > 0 {
        println!("seeded tests, {} rounds each from seed {}", args.rounds, args.seed);
        let this = workspace::this_program()?;
        let mut tests = Command::new(this);
        tests.args(["test", "--privileged", "seeded"]).args(args.no_vm.then_some("--no-vm"));
        tests.env("PODBOX_ROUNDS", args.rounds.to_string()).env("PODBOX_SEED", args.seed.to_string());
        if !tests.status().context("can't run the tests")?.success() {
            failed.push("seeded tests");
        }
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
