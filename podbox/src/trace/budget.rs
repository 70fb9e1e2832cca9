//! What the programs may cost, by the kernel's own measure. One that takes more of the processors than its share, look after
//! look, is to be detached: what it tells is not worth that. Pure.
//!
//! Shares rather than times per run: a run takes ten times as long in an emulated machine, and is as seldom worth a
//! processor there. Exits and OOM kills are never given up: they are what containers' states are derived from.

use super::snapshot::ProgramCost;
use crate::limits;
use std::collections::BTreeMap;
use std::time::Duration;

/// Programs that go when they cost too much.
const DISPENSABLE: [&str; 6] =
    ["signal_sent", "process_exec", "socket_state", "connection_accepted", "zombie_freed", "zombie_released"];

/// What each program may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// The part of one processor.
    pub share: f64,
    /// How often it is looked at.
    pub every: Duration,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { share: limits::PROGRAM_SHARE, every: limits::PROGRAM_LOOK }
    }
}

/// What has been used up to the last look.
#[derive(Debug, Default)]
pub struct Budget {
    allowance: Allowance,
    at: Option<Duration>,
    used: BTreeMap<String, Duration>,
    /// Looks in a row in which a program took too much.
    strikes: BTreeMap<String, u32>,
}

/// A program that took too much for too long.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// Its name.
    pub program: String,
    /// The part of one processor that it took lately.
    pub share: f64,
    /// As much as it was to take.
    pub allowed: f64,
}

impl Budget {
    /// Nothing was used so far.
    pub fn new(allowance: Allowance) -> Budget {
        Budget { allowance, ..Budget::default() }
    }

    /// Whether it is time to look, by the time since boot.
    pub fn is_due(&self, now: Duration) -> bool {
        self.at.is_none_or(|at| now.saturating_sub(at) >= self.allowance.every)
    }

    /// One look: the programs that are to go.
    pub fn look(&mut self, costs: &[ProgramCost], now: Duration) -> Vec<Excess> {
        let past = self.at.replace(now).map(|at| now.saturating_sub(at).as_secs_f64());
        let (mut over, allowed) = (Vec::new(), self.allowance.share);
        for ProgramCost { program, time, .. } in costs {
            let Some(before) = self.used.insert(program.clone(), *time) else { continue };
            let Some(past) = past.filter(|past| *past > 0.0) else { continue };
            let share = time.saturating_sub(before).as_secs_f64() / past;
            let strikes = self.strikes.entry(program.clone()).or_default();
            *strikes = if share > allowed { *strikes + 1 } else { 0 };
            if *strikes >= limits::PROGRAM_STRIKES && DISPENSABLE.contains(&program.as_str()) {
                *strikes = 0;
                over.push(Excess { program: program.clone(), share, allowed });
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at costs that grow by so many milliseconds from one to the next; when the program was to go.
    fn looks(program: &str, each_ms: &[u64]) -> Option<usize> {
        let (mut budget, mut used, mut now) = (Budget::default(), Duration::ZERO, Duration::ZERO);
        each_ms.iter().position(|ms| {
            used += Duration::from_millis(*ms);
            now += limits::PROGRAM_LOOK;
            let cost = ProgramCost { program: program.into(), runs: 1, missed: 0, time: used };
            !budget.look(&[cost], now).is_empty()
        })
    }

    #[test]
    fn a_program_goes_after_some_looks_in_a_row_and_not_for_a_moment() {
        let much = limits::PROGRAM_LOOK.as_millis() as u64;
        assert_eq!(looks("socket_state", &[0, much, much, much]), Some(3));
        assert_eq!(looks("socket_state", &[0, much, much, 0, much, much, 0]), None);
        assert_eq!(looks("process_exit", &[0, much, much, much, much]), None);
        assert_eq!(looks("socket_state", &[much, 1, 1, 1, 1]), None);
    }
}
