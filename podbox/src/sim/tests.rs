//! Seeds of all scenarios: nothing that must hold is broken, a seed plays the same run each time, and what the checks are about was
//! seen often enough.

use super::bugs::Bug;
use super::play::play_spoiled;
use super::{Options, Scenario, Sight, Tally, play, replay};
use crate::api::kinds::Kinds;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Seeds that are played. Which ones is fixed, so that a change that passes goes on to pass; `cargo xtask soak` plays others.
const SEEDS: u64 = 2_000;
/// Steps of each in which things go wrong. Each takes about 70 ms of a processor, where nothing is optimised.
const STEPS: usize = 150;
/// What is seen less often than this in all of them is hardly held to anything: either the world has become too kind, or the check
/// looks away.
const LEAST: u64 = 10;
/// Failures that are shown.
const SHOWN: usize = 5;

/// What came of all seeds.
#[derive(Default)]
struct Found {
    tally: Tally,
    /// By seed: what, and how to see it again.
    failures: BTreeMap<u64, String>,
}

impl Found {
    fn play(&mut self, kinds: &Arc<Kinds>, seed: u64, options: &Options) {
        let played = play(kinds, seed, options);
        self.tally.add(&played.tally);
        let differs = || play(kinds, seed, options).hash != played.hash;
        let failure = match played.failure {
            None if differs() => Some("it is another run each time".to_owned()),
            failure => failure,
        };
        if let Some(failure) = failure {
            let told = format!("{failure}\n{}\n{}", played.lines.join("\n"), replay(seed, options));
            self.failures.insert(seed, told);
        }
    }
}

#[test]
fn everything_holds_whatever_goes_wrong_each_time_alike_and_all_is_seen() {
    let kinds = Arc::new(Kinds::new());
    let options = Options { steps: STEPS, scenarios: Scenario::ALL.to_vec(), whole: false };
    let (next, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let work = || {
        let mut mine = Found::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                break;
            }
            mine.play(&kinds, seed, &options);
        }
        let mut all = found.lock().unwrap();
        all.tally.add(&mine.tally);
        all.failures.append(&mut mine.failures);
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let Found { tally, failures } = found.into_inner().unwrap();
    failures.values().take(SHOWN).for_each(|told| println!("{told}\n"));
    Sight::ALL.iter().for_each(|sight| println!("{:>8}  {}", tally.of(*sight), sight.words()));
    let failed: Vec<&u64> = failures.keys().collect();
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    let rare = Sight::ALL.iter().filter(|sight| tally.of(**sight) < LEAST);
    let rare: Vec<&str> = rare.map(|sight| sight.words()).collect();
    assert!(rare.is_empty(), "checks of what hardly happens prove nothing: {rare:?}");
}

/// The seed of a scenario that finds this bug, and how.
fn found(kinds: &Arc<Kinds>, bug: Bug, scenario: Scenario) -> Option<(u64, String)> {
    let options = Options { steps: STEPS, scenarios: vec![scenario], whole: false };
    (0..60).find_map(|seed| Some((seed, play_spoiled(kinds, seed, &options, bug).failure?)))
}

#[test]
fn bugs_are_found() {
    let bugs = [
        (Bug::ForgetsDecisions, Scenario::Deployment),
        (Bug::ForgetsDecisions, Scenario::Job),
        (Bug::ForgetsStatuses, Scenario::DaemonSet),
        (Bug::MakesTwice, Scenario::ReplicaSet),
        (Bug::MakesTwice, Scenario::DaemonSet),
        (Bug::TakesAnother, Scenario::ReplicaSet),
        (Bug::TakesAnother, Scenario::DaemonSet),
        (Bug::TakesAnother, Scenario::StatefulSet),
        (Bug::MakesAndTakes, Scenario::Deployment),
        (Bug::ScalesTooFar, Scenario::Deployment),
        (Bug::KeepsAll, Scenario::ReplicaSet),
        (Bug::TakesTheOneBefore, Scenario::StatefulSet),
        (Bug::MakesTheOneAfter, Scenario::StatefulSet),
        (Bug::TakesClaims, Scenario::StatefulSet),
        (Bug::CountsOnceMore, Scenario::Job),
        (Bug::CountsOneLess, Scenario::Job),
        (Bug::FailsTwice, Scenario::Job),
        (Bug::BeginsOneMore, Scenario::Job),
        (Bug::StartsTwice, Scenario::CronJob),
        (Bug::LeavesGarbage, Scenario::Deployment),
        (Bug::AdoptsTwice, Scenario::ReplicaSet),
        (Bug::IgnoresPreconditions, Scenario::ReplicaSet),
        (Bug::ForgetsRevisions, Scenario::Deployment),
    ];
    let kinds = Arc::new(Kinds::new());
    let mut missed = Vec::new();
    for (bug, scenario) in bugs {
        match found(&kinds, bug, scenario) {
            Some((seed, how)) => println!("{bug:?}, {}: seed {seed}: {how}", scenario.name()),
            None => missed.push((bug, scenario)),
        }
    }
    assert!(missed.is_empty(), "nobody finds {missed:?}");
}

#[test]
fn seeds_play_different_runs() {
    let kinds = Arc::new(Kinds::new());
    let options = Options { steps: 10, scenarios: Scenario::ALL.to_vec(), whole: false };
    let hashes: Vec<u64> = (0..12).map(|seed| play(&kinds, seed, &options).hash).collect();
    assert!(hashes.windows(2).all(|two| two[0] != two[1]));
}
