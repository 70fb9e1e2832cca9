//! What ran, how it went and how long it took: shown as it happens, and again as tables at the end. Several stages may
//! report at once; a line is never torn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};

use super::took::{Took, minutes};
use crate::clock;

/// How many of the slowest tests are listed at the end.
const SLOWEST: usize = 10;
/// From how many on the tests of one stage that were skipped for the same reason are told in one line.
const MANY: usize = 3;

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
    rows: Mutex<Rows>,
    started: Instant,
}

#[derive(Default)]
struct Rows {
    all: Vec<Row>,
    /// What each stage took by the clock, in the order in which they began.
    stages: Vec<(String, Duration)>,
}

struct Row {
    stage: String,
    name: String,
    outcome: Outcome,
    took: Took,
}

impl Default for Report {
    fn default() -> Report {
        Report { rows: Mutex::default(), started: clock::now() }
    }
}

impl Report {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an outcome and shows it.
    pub fn add(&self, stage: &str, name: &str, outcome: Outcome, took: Took) {
        let mut rows = self.rows();
        let why = match &outcome {
            Outcome::Skipped(why) => format!(": {why}"),
            Outcome::Passed | Outcome::Failed(_) => String::new(),
        };
        println!("{stage:<8} {name} ... {} ({took}){why}", outcome.word());
        if let Outcome::Failed(said) = &outcome {
            println!("{}", said.trim_end());
        }
        rows.all.push(Row { stage: stage.to_owned(), name: name.to_owned(), outcome, took });
    }

    /// Adds tests that were skipped without being asked, all for one reason: they are told in one line.
    pub fn skip(&self, stage: &str, names: &[String], why: &str) {
        if names.is_empty() {
            return;
        }
        let mut rows = self.rows();
        println!("{stage:<8} {} skipped: {why}", names.len());
        let outcome = || Outcome::Skipped(why.to_owned());
        rows.all.extend(names.iter().map(|name| Row {
            stage: stage.to_owned(),
            name: name.clone(),
            outcome: outcome(),
            took: Took::default(),
        }));
    }

    /// Says something that is no outcome.
    pub fn say(&self, stage: &str, text: &str) {
        let _rows = self.rows();
        println!("{stage:<8} {text}");
    }

    /// Runs a stage, and keeps how long it took.
    pub fn stage<T>(&self, stage: &str, run: impl FnOnce() -> T) -> T {
        let at = {
            let mut rows = self.rows();
            rows.stages.push((stage.to_owned(), Duration::ZERO));
            rows.stages.len() - 1
        };
        let start = clock::now();
        let result = run();
        self.rows().stages[at].1 = clock::now().saturating_duration_since(start);
        result
    }

    /// Runs a stage that is one check, and adds how it went.
    pub fn step(&self, stage: &str, name: &str, run: impl FnOnce() -> Result<()>) -> bool {
        self.say(stage, &format!("{name} ..."));
        let start = clock::now();
        let outcome = self.stage(stage, run);
        let outcome = outcome.map_or_else(|error| Outcome::failed(&error), |()| Outcome::Passed);
        let passed = outcome == Outcome::Passed;
        self.add(stage, name, outcome, Took::wall(clock::now().saturating_duration_since(start)));
        passed
    }

    /// Prints the tables and the sums; returns the exit status.
    pub fn close(&self) -> i32 {
        let rows = self.rows();
        rows.table();
        rows.slowest();
        rows.exceptions();
        let [passed, failed, skipped] = rows.count(|_| true);
        let used = getrusage(UsageWho::RUSAGE_CHILDREN).map(|usage| {
            let (user, system) = (usage.user_time(), usage.system_time());
            u64::try_from(user.tv_sec() + system.tv_sec()).unwrap_or_default()
        });
        println!(
            "took {}, and {} of the processors",
            minutes(clock::now().saturating_duration_since(self.started)),
            minutes(Duration::from_secs(used.unwrap_or_default()))
        );
        let verdict = if failed > 0 { "FAILED" } else { "all is well" };
        println!("{verdict}: {passed} passed, {failed} failed, {skipped} skipped");
        i32::from(failed > 0)
    }
}

impl Rows {
    fn table(&self) {
        println!("\n{:<10} {:>7} {:>7} {:>8}   took", "stage", "passed", "failed", "skipped");
        let mut seen: Vec<&str> = Vec::new();
        for stage in self.stages.iter().map(|(stage, _)| stage).chain(self.all.iter().map(|row| &row.stage)) {
            if seen.contains(&stage.as_str()) {
                continue;
            }
            seen.push(stage);
            let [passed, failed, skipped] = self.count(|row| row.stage == *stage);
            let took = self.stages.iter().filter(|(name, _)| name == stage).map(|(_, took)| *took).sum();
            println!("{stage:<10} {passed:>7} {failed:>7} {skipped:>8}   {}", minutes(took));
        }
        println!("host is kernel {}", super::kernel());
    }

    fn slowest(&self) {
        // A stage that is one step stands in the table with its time already.
        let of_many = |row: &&Row| self.count(|other| other.stage == row.stage) != [1, 0, 0];
        let mut tests: Vec<&Row> = self.all.iter().filter(of_many).collect();
        tests.sort_by_key(|row| std::cmp::Reverse(row.took.wall));
        println!("\nthe slowest tests");
        for row in tests.into_iter().take(SLOWEST) {
            println!("{:<10} {} ({})", row.stage, row.name, row.took);
        }
        println!();
    }

    /// What failed, and what was skipped and why.
    fn exceptions(&self) {
        let mut told: Vec<(&str, &str)> = Vec::new();
        for row in &self.all {
            let Outcome::Skipped(why) = &row.outcome else { continue };
            let alike = self.count(|other| other.stage == row.stage && other.outcome == row.outcome)[2];
            if alike < MANY {
                println!("skipped  {} {}: {why}", row.stage, row.name);
            } else if !told.contains(&(row.stage.as_str(), why.as_str())) {
                told.push((&row.stage, why));
                println!("skipped  {} {alike} tests: {why}", row.stage);
            }
        }
        for row in self.all.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_))) {
            println!("FAILED   {} {}", row.stage, row.name);
        }
    }

    /// How many passed, failed and were skipped.
    fn count(&self, which: impl Fn(&Row) -> bool) -> [usize; 3] {
        let mut counts = [0; 3];
        for row in self.all.iter().filter(|row| which(row)) {
            counts[match row.outcome {
                Outcome::Passed => 0,
                Outcome::Failed(_) => 1,
                Outcome::Skipped(_) => 2,
            }] += 1;
        }
        counts
    }
}

#[cfg(test)]
impl Report {
    /// What has been added to a stage, in its order.
    pub fn outcomes(&self, stage: &str) -> Vec<(String, Outcome)> {
        let rows = self.rows();
        let of_stage = rows.all.iter().filter(|row| row.stage == stage);
        of_stage.map(|row| (row.name.clone(), row.outcome.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Report, Took};

    #[test]
    fn one_failure_is_a_failure_and_a_skip_is_none() {
        let report = Report::default();
        report.add("unit", "a", Outcome::Passed, Took::default());
        report.skip("host", &["b".to_owned(), "c".to_owned()], "it needs root");
        assert_eq!(report.close(), 0);
        assert!(!report.step("6.1", "d", || anyhow::bail!("no")));
        assert_eq!(report.close(), 1);
        assert_eq!(report.rows().count(|_| true), [1, 1, 2]);
    }
}
