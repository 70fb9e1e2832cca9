//! What ran and how it went, shown as it happens and again as a table at the end.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::clock;

/// How one check or test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not so, with what it said.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

impl Outcome {
    /// The outcome of something that returned `error`.
    pub fn failed(error: &anyhow::Error) -> Outcome {
        Outcome::Failed(format!("{error:#}"))
    }

    fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "ok",
            Outcome::Failed(_) => "FAILED",
            Outcome::Skipped(_) => "skipped",
        }
    }
}

/// All outcomes so far.
pub struct Report {
    rows: Vec<Row>,
    started: Instant,
}

struct Row {
    stage: String,
    name: String,
    outcome: Outcome,
}

impl Default for Report {
    fn default() -> Report {
        Report { rows: Vec::new(), started: clock::now() }
    }
}

impl Report {
    /// Adds an outcome and shows it.
    pub fn add(&mut self, stage: &str, name: &str, outcome: Outcome) {
        let why = match &outcome {
            Outcome::Skipped(why) => format!(": {why}"),
            Outcome::Passed | Outcome::Failed(_) => String::new(),
        };
        println!("{stage:<8} {name} ... {}{why}", outcome.word());
        if let Outcome::Failed(said) = &outcome {
            println!("{}", said.trim_end());
        }
        self.record(stage, name, outcome);
    }

    /// Adds an outcome that has been shown already.
    pub fn record(&mut self, stage: &str, name: &str, outcome: Outcome) {
        self.rows.push(Row { stage: stage.to_owned(), name: name.to_owned(), outcome });
    }

    /// Runs a check and adds how it went.
    pub fn step(&mut self, stage: &str, name: &str, run: impl FnOnce() -> Result<()>) {
        println!("{stage:<8} {name} ...");
        let outcome = run().map_or_else(|error| Outcome::failed(&error), |()| Outcome::Passed);
        self.add(stage, name, outcome);
    }

    /// Prints the table and the sums; returns the exit status.
    pub fn close(&self) -> i32 {
        println!("\n{:<10} {:>7} {:>7} {:>8}", "stage", "passed", "failed", "skipped");
        let mut stages: Vec<&str> = self.rows.iter().map(|row| row.stage.as_str()).collect();
        stages.dedup();
        for stage in stages {
            let [passed, failed, skipped] = self.count(|row| row.stage == stage);
            println!("{stage:<10} {passed:>7} {failed:>7} {skipped:>8}");
        }
        println!("host is kernel {}", super::kernel());
        for row in &self.rows {
            match &row.outcome {
                Outcome::Passed => {}
                Outcome::Failed(_) => println!("FAILED   {} {}", row.stage, row.name),
                Outcome::Skipped(why) => println!("skipped  {} {}: {why}", row.stage, row.name),
            }
        }
        let [passed, failed, skipped] = self.count(|_| true);
        println!("took {}", minutes(clock::now().saturating_duration_since(self.started)));
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        i32::from(failed > 0)
    }

    /// How many passed, failed and were skipped.
    fn count(&self, which: impl Fn(&Row) -> bool) -> [usize; 3] {
        let mut counts = [0; 3];
        for row in self.rows.iter().filter(|row| which(row)) {
            counts[match row.outcome {
                Outcome::Passed => 0,
                Outcome::Failed(_) => 1,
                Outcome::Skipped(_) => 2,
            }] += 1;
        }
        counts
    }
}

fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{} min {} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Report};

    #[test]
    fn one_failure_is_a_failure_and_a_skip_is_none() {
        let mut report = Report::default();
        report.add("unit", "a", Outcome::Passed);
        report.add("host", "b", Outcome::Skipped("it needs root".to_owned()));
        assert_eq!(report.close(), 0);
        report.add("6.1", "c", Outcome::Failed("said".to_owned()));
        assert_eq!(report.close(), 1);
        assert_eq!(report.count(|_| true), [1, 1, 1]);
    }
}
