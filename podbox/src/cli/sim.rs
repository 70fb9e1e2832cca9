//! `podbox sim`: plays seeds of a simulated cluster, one thread each, and says which of them found what. It needs neither root nor a
//! node, and leaves nothing.

use crate::api::kinds::Kinds;
use crate::sim::{self, Options, Played, SCRIPTS, Scenario, Sight, Tally, play, replay};
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
    /// Play from the first of the seeds on until there were so many steps
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    total_steps: Option<u64>,
    /// Play a script instead, and print it with what comes of it: a file, or one that comes with podbox (`list` names them)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "scenario", "total_steps", "twice"])]
    script: Option<String>,
    /// Print how often what was seen
    #[arg(long, conflicts_with = "seed")]
    tally: bool,
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
    steps: u64,
    tally: Tally,
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
    if let Some(script) = &args.script {
        return script_named(&kinds, script);
    }
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
        println!("replay: {}\n", replay(*seed, &options));
    }
    for sight in Sight::ALL.iter().filter(|_| args.tally) {
        println!("{:>9}  {}", sum.tally.of(*sight), sight.words());
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

/// Plays a script, or says which there are.
fn script_named(kinds: &Arc<Kinds>, name: &str) -> anyhow::Result<ExitCode> {
    if name == "list" {
        SCRIPTS.iter().for_each(|(name, text)| {
            println!("{name:<12} {}", text.lines().next().unwrap_or_default().trim_start_matches("# "));
        });
        return Ok(ExitCode::SUCCESS);
    }
    let text = match SCRIPTS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?,
    };
    let (told, failed) = sim::run(kinds, &text);
    print!("{told}");
    failed.map_or(Ok(ExitCode::SUCCESS), |why| Err(anyhow::Error::msg(why)))
}

/// Plays all seeds, as many at a time as there are processors.
fn many(kinds: &Arc<Kinds>, args: &SimArgs, options: &Options) -> anyhow::Result<Sum> {
    let (next, sum) = (AtomicU64::new(args.seeds.start), Mutex::new(Sum::default()));
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let over = match args.total_steps {
                Some(steps) => sum.lock().unwrap_or_else(PoisonError::into_inner).steps >= steps,
                None => seed >= args.seeds.end,
            };
            if over {
                return Ok(());
            }
            let played = play(kinds, seed, options);
            if args.twice && play(kinds, seed, options).hash != played.hash {
                bail!("seed {seed} plays another run each time: nothing that it finds can be replayed");
            }
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.seeds += 1;
            sum.steps += played.steps as u64;
            sum.tally.add(&played.tally);
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
