//! What is built, once for all stages, and running the unit tests of it.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::line;
use super::report::{Outcome, Report};
use super::said::Said;
use super::took::Took;
use crate::workspace;

/// The seed of all property tests' random cases, as proptest reads it.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";

/// A built test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The target's name.
    pub name: String,
    /// The program.
    pub path: PathBuf,
}

/// All test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// With the unit tests of libraries and programs, and the directory of the package each belongs to.
    pub unit: Vec<(Binary, PathBuf)>,
    /// With integration tests, which are the privileged tests.
    pub privileged: Vec<Binary>,
}

/// Builds everything that tests run: the programs, and the tests. The whole workspace each time, so that dependencies are
/// built once, with the same features.
pub fn build() -> Result<Built> {
    // Tests start the programs of the build, which `cargo test` alone builds only for their own package.
    workspace::run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--workspace", "--lib", "--bins", "--test", "*"]);
    let mut child = cargo
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut built = Built::default();
    for line in BufReader::new(output).lines() {
        built.take(&line.context("cannot read cargo's output")?);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the tests can't be built: cargo test {status}");
    }
    built.unit.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    built.privileged.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(built)
}

impl Built {
    /// Keeps the test program that a line of cargo's JSON tells of, if it is one.
    fn take(&mut self, line: &str) -> Option<()> {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
        let binary = Binary { name: message["target"]["name"].as_str()?.to_owned(), path: path.into() };
        if message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test") {
            self.privileged.push(binary);
        } else {
            let package = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
            self.unit.push((binary, package));
        }
        Some(())
    }
}

/// Runs the tests of a program as they are, many at once, and adds their outcomes as they come.
pub fn unit(stage: &str, binary: &Binary, package: &Path, words: &[&str], report: &Report) {
    if let Err(error) = try_unit(stage, binary, package, words, report) {
        report.add(stage, &binary.name, Outcome::failed(&error), Took::default());
    }
}

fn try_unit(stage: &str, binary: &Binary, package: &Path, words: &[&str], report: &Report) -> Result<()> {
    let mut command = Command::new(&binary.path);
    // libtest tells each test's time only if it is asked as a nightly's.
    command.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1").args(words);
    command.current_dir(package).env("CARGO_MANIFEST_DIR", package);
    // The same cases each time: a change is judged by what it changes. To look for more is what a soak is for.
    if env::var_os(PROPTEST_SEED).is_none() {
        command.env(PROPTEST_SEED, "1");
    }
    let mut said = Said::new()?;
    command.stdout(Stdio::piped()).stderr(said.writer()?).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", binary.path.display()))?;
    let output = child.stdout.take().context("a test program has no output")?;
    let mut other = Vec::new();
    let mut failed = false;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the test program's output")?;
        match line::parse(&line) {
            None => other.push(line),
            // What an ignored test is for is its own business: those we want are asked for by name.
            Some(test) if matches!(test.outcome, Outcome::Skipped(_)) => {}
            Some(mut test) => {
                failed |= test.outcome != Outcome::Passed;
                if let Some(why) = said.why_skipped(&test.name)?.filter(|_| test.outcome == Outcome::Passed) {
                    test.outcome = Outcome::Skipped(why);
                }
                report.add(stage, &test.name, test.outcome, test.took);
            }
        }
    }
    let status = child.wait().context("cannot wait for the test program")?;
    said.show()?;
    if !status.success() {
        println!("{}", other.join("\n"));
        if !failed {
            bail!("{status}, though no test failed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Built;

    #[test]
    fn built_tests_are_told_apart_and_nothing_else_is_taken() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","profile":{"test":true},
            "target":{"kind":["test"],"name":"net"},"executable":"/t/net-1"}"#;
        let mut built = Built::default();
        built.take(line).unwrap();
        built.take(&line.replace(r#"["test"]"#, r#"["lib"]"#)).unwrap();
        assert_eq!(built.take(&line.replace("true", "false")), None);
        assert_eq!(built.take(r#"{"reason":"build-finished","success":true}"#), None);
        let (unit, package) = &built.unit[0];
        assert_eq!((&built.privileged[0], built.unit.len()), (unit, 1));
        assert_eq!(package, std::path::Path::new("/w/tests"));
    }
}
