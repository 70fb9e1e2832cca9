//! Seeds of all scenarios, each played twice: nothing that must hold is broken, both runs are the same, and what the checks are about
//! was seen.

use super::bugs::Bug;
use super::play::play_spoiled;
use super::{Options, Scenario, Sight, Tally, play, replay};
use crate::api::kinds::Kinds;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Steps of each in which things go wrong.
const STEPS: usize = 150;
/// Failures that are shown.
const SHOWN: usize = 5;

/// Plays these seeds twice each, on all processors; gives back what was seen. Which seeds is fixed, so that a change that passes goes on
/// to pass; `cargo xtask soak` plays others.
#[track_caller]
fn hold(seeds: std::ops::Range<u64>) -> Tally {
    let kinds = Arc::new(Kinds::new());
    let options = Options { steps: STEPS, scenarios: Scenario::ALL.to_vec(), whole: false };
    let (next, tally) = (AtomicU64::new(seeds.start), Mutex::new(Tally::default()));
    let failures = Mutex::new(BTreeMap::new());
    let work = || {
        let mut mine = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let played = play(&kinds, seed, &options);
            let again = play(&kinds, seed, &options).hash;
            mine.add(&played.tally);
            let failure = match played.failure {
                None if again != played.hash => Some("it is another run each time".to_owned()),
                failure => failure,
            };
            if let Some(failure) = failure {
                let told = format!("{failure}\n{}\n{}", played.lines.join("\n"), replay(seed, &options));
                failures.lock().unwrap().insert(seed, told);
            }
        }
        tally.lock().unwrap().add(&mine);
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let failures = failures.into_inner().unwrap();
    failures.values().take(SHOWN).for_each(|told| println!("{told}\n"));
    let failed: Vec<&u64> = failures.keys().collect();
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    tally.into_inner().unwrap()
}

#[test]
fn everything_holds_whatever_goes_wrong_and_each_time_alike() {
    hold(0..100);
}

#[test]
#[ignore = "takes minutes: run it by name"]
fn all_that_a_check_is_about_is_seen() {
    let tally = hold(0..2_000);
    for sight in Sight::ALL {
        println!("{:>8}  {}", tally.of(*sight), sight.words());
    }
    let unseen: Vec<&str> =
        Sight::ALL.iter().filter(|sight| tally.of(**sight) == 0).map(|sight| sight.words()).collect();
    assert!(unseen.is_empty(), "checks of what never happens prove nothing: {unseen:?}");
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
