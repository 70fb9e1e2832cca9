//! The privileged tests: which there are, and running them on the kernel that this program runs on. The same code runs
//! them on the host and, called again, in a machine.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use super::isolated;
use super::report::{Outcome, Report};
use super::stages::Binary;
use super::took::Took;
use crate::workspace;

/// The stage of this host's kernel; the others are called by their kernels' series.
pub const HOST: &str = "host";

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The test target it belongs to.
    pub target: String,
    /// The program that has it.
    pub path: PathBuf,
    /// What it is called there.
    pub name: String,
}

impl Test {
    /// How people call it.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.target, self.name)
    }
}

/// The tests of `binaries` whose names contain one of `filter`, or all; those marked `ignore` are not for us.
pub fn find(binaries: &[Binary], filter: &[String]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for binary in binaries {
        let names = |more: &[&str]| -> Result<Vec<String>> {
            let text = workspace::output(
                Command::new(&binary.path).args(["--list", "--format", "terse"]).args(more),
            )?;
            Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
        };
        let ignored = names(&["--ignored"])?;
        for name in names(&[])?.into_iter().filter(|name| !ignored.contains(name)) {
            tests.push(Test { target: binary.name.clone(), path: binary.path.clone(), name });
        }
    }
    let wanted = |test: &Test| {
        let name = test.full_name();
        filter.is_empty() || filter.iter().any(|part| name.contains(part))
    };
    tests.retain(wanted);
    Ok(tests)
}

/// Runs `tests`, `at_once` of them at a time, and adds their outcomes; returns the names of those that no machine needs
/// to repeat.
pub fn run(stage: &str, tests: &[Test], at_once: usize, report: &Report) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let host_only = Mutex::new(Vec::new());
    let work = || {
        while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = test.full_name();
            match isolated::run(&test.path, &test.name, stage == HOST) {
                Ok(ran) => {
                    if ran.host_only
                        && let Ok(mut names) = host_only.lock()
                    {
                        names.push(name.clone());
                    }
                    report.add(stage, &name, ran.outcome, ran.took);
                }
                Err(error) => report.add(stage, &name, Outcome::failed(&error), Took::default()),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    host_only.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tests_run_whoever_is_first() {
        let here = std::env::current_exe().unwrap();
        let binary = Binary { name: "xtask".to_owned(), path: here };
        let filter = ["took::".to_owned()];
        let tests = find(&[binary], &filter).unwrap();
        assert!(
            tests.iter().any(|test| test.name.ends_with("a_time_is_read_back_as_it_was_shown")),
            "{tests:?}"
        );
        let report = Report::default();
        run("nowhere", &tests, 2, &report);
        assert_eq!(report.outcomes("nowhere").len(), tests.len());
    }
}
