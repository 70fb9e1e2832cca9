//! Seeds of each scenario, each played twice: nothing that must hold is broken, and both runs are the same.

use super::{Options, Scenario, play};
use crate::api::kinds::Kinds;
use std::sync::Arc;

/// Steps of each in which things go wrong.
const STEPS: usize = 40;

/// Plays seeds of one scenario. Which ones is fixed, so that a change that passes goes on to pass; `cargo xtask soak` plays others.
#[track_caller]
fn check(scenarios: &[Scenario], seeds: std::ops::Range<u64>, steps: usize) {
    let kinds = Arc::new(Kinds::new());
    let options = Options { steps, scenarios: scenarios.to_vec(), whole: false };
    for seed in seeds {
        let played = play(&kinds, seed, &options);
        if let Some(failure) = played.failure {
            let words: Vec<&str> = scenarios.iter().map(|one| one.name()).collect();
            panic!(
                "{failure}\n{}\nreplay: podbox sim --seed {seed} --steps {steps} --scenario {}",
                played.lines.join("\n"),
                words.join(",")
            );
        }
        assert_eq!(play(&kinds, seed, &options).hash, played.hash, "seed {seed} plays another run each time");
    }
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn deployments_hold_whatever_goes_wrong() {
    check(&[Scenario::Deployment], 0..100, STEPS);
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn stateful_sets_hold_whatever_goes_wrong() {
    check(&[Scenario::StatefulSet], 0..100, STEPS);
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn daemon_sets_hold_whatever_goes_wrong() {
    check(&[Scenario::DaemonSet], 0..100, STEPS);
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn jobs_hold_whatever_goes_wrong() {
    check(&[Scenario::Job], 0..100, STEPS);
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn cron_jobs_hold_whatever_goes_wrong() {
    check(&[Scenario::CronJob], 0..100, STEPS);
}

#[test]
#[ignore = "takes minutes: run it by name, or `podbox sim`"]
fn pods_that_must_not_meet_do_not_whatever_goes_wrong() {
    check(&[Scenario::Spread], 0..100, STEPS);
}

#[test]
fn all_of_them_hold_together() {
    check(&Scenario::ALL, 0..100, STEPS);
}

#[test]
fn a_seed_holds_and_plays_the_same_run_each_time() {
    let kinds = Arc::new(Kinds::new());
    let options = Options { steps: STEPS, scenarios: Scenario::ALL.to_vec(), whole: false };
    let hash = |seed| {
        let played = play(&kinds, seed, &options);
        assert!(played.failure.is_none(), "seed {seed}: {:?}", played.failure);
        played.hash
    };
    let hashes = |seeds: std::ops::Range<u64>| seeds.map(hash).collect::<Vec<_>>();
    let (first, again) = (hashes(0..12), hashes(0..12));
    assert_eq!(first, again);
    assert!(first.windows(2).all(|two| two[0] != two[1]), "seeds differ");
}
