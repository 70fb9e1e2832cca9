//! `podbox sim`: plays seeds of a simulated cluster, one thread each, and says which of them found what. It needs neither root nor a
//! node, and leaves nothing.

use crate::api::kinds::Kinds;
use crate::sim::{Options, Played, Scenario, play};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Failures that are shown; more are counted.
const SHOWN: usize = 5;

/// What is to be played.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// Play this seed, and print all that happens
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Play these seeds, the last not included
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = range)]
    seeds: Range<u64>,
    /// Steps of each in which things go wrong, before all is brought to rest, checked and deleted
    #[arg(long, value_name = "N", default_value_t = 200)]
    steps: usize,
    /// What may be in the cluster [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Scenario::ALL.map(Scenario::name)))]
    scenario: Vec<String>,
    /// Play each seed twice, and compare
    #[arg(long)]
    twice: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (first, end) = text.split_once("..").ok_or("it should be as 0..100")?;
    let range = number(first)?..number(end)?;
    if range.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(range) }
}

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: usize,
    /// Of each seed, so that it does not matter which was done first.
    hash: u64,
    failed: BTreeMap<u64, Played>,
}

/// Plays.
pub fn run(args: &SimArgs) -> anyhow::Result<ExitCode> {
    let named = |scenario: &Scenario| {
        args.scenario.is_empty() || args.scenario.iter().any(|name| name == scenario.name())
    };
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(named).collect();
    let options = Options { steps: args.steps, scenarios, whole: args.seed.is_some() };
    let kinds = Arc::new(Kinds::new());
    if let Some(seed) = args.seed {
        let played = play(&kinds, seed, &options);
        played.lines.iter().for_each(|line| println!("{line}"));
        println!(
            "seed {seed}: {}, {} steps, transcript {:016x}",
            played.scenarios.join(" and "),
            played.steps,
            played.hash
        );
        return Ok(if played.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let sum = many(&kinds, args, &options)?;
    for (seed, played) in sum.failed.iter().take(SHOWN) {
        println!("seed {seed} ({}) FAILED after {} steps:", played.scenarios.join(" and "), played.steps);
        played.lines.iter().for_each(|line| println!("  {line}"));
        println!("replay: podbox sim --seed {seed} --steps {}{}\n", args.steps, words(&args.scenario));
    }
    println!(
        "{} seeds, {} steps, {} failed; transcripts {:016x}",
        sum.seeds,
        sum.steps,
        sum.failed.len(),
        sum.hash
    );
    if sum.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {:?}", sum.failed.keys().collect::<Vec<_>>());
    Ok(ExitCode::FAILURE)
}

fn words(scenarios: &[String]) -> String {
    if scenarios.is_empty() { String::new() } else { format!(" --scenario {}", scenarios.join(",")) }
}

/// Plays all seeds, as many at a time as there are processors.
fn many(kinds: &Arc<Kinds>, args: &SimArgs, options: &Options) -> anyhow::Result<Sum> {
    let (next, sum) = (AtomicU64::new(args.seeds.start), Mutex::new(Sum::default()));
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= args.seeds.end {
                return Ok(());
            }
            let played = play(kinds, seed, options);
            if args.twice && play(kinds, seed, options).hash != played.hash {
                bail!("seed {seed} plays another run each time: nothing that it finds can be replayed");
            }
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.seeds += 1;
            sum.steps += played.steps;
            sum.hash ^= played.hash.rotate_left(u32::try_from(seed % 64).unwrap_or(0));
            if played.failure.is_some() {
                sum.failed.insert(seed, played);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|thread| thread.join().ok().context("a simulation panicked")?)
    })?;
    Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}
