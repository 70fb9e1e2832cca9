//! What cargo does for the tests: running the unprivileged ones, building the privileged ones.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{Outcome, Report};
use super::suite;
use crate::workspace;

/// The packages whose integration tests are the privileged tests.
const PRIVILEGED: &[&str] = &["podbox", "podbox-tests"];

/// A built test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The test target's name.
    pub name: String,
    /// The program.
    pub path: PathBuf,
}

/// Runs `cargo test` with `words`, live, and adds each test's outcome.
pub fn cargo_test(stage: &str, words: &[&str], report: &mut Report) {
    if let Err(error) = try_cargo_test(stage, words, report) {
        report.add(stage, "cargo test", Outcome::failed(&error));
    }
}

fn try_cargo_test(stage: &str, words: &[&str], report: &mut Report) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(words).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut failures = Vec::new();
    let mut seen = 0;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo's output")?;
        let Some(test) = suite::parse(&line) else {
            failures.push(line);
            continue;
        };
        seen += 1;
        match test {
            // What an ignored test is for is its own business: those we want are asked for by name.
            (_, Outcome::Skipped(_)) => {}
            (name, outcome) => report.add(stage, &name, outcome),
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        println!("{}", failures.join("\n"));
        if seen == 0 {
            bail!("cargo test failed before any test ran: {status}");
        }
    }
    Ok(())
}

/// Builds everything; returns the programs of the privileged tests.
pub fn build() -> Result<Vec<Binary>> {
    // Tests start the programs of the build, which `cargo test` alone builds only for their own package.
    workspace::run(workspace::cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--quiet", "--test", "*", "--message-format", "json-render-diagnostics"]);
    for package in PRIVILEGED {
        cargo.args(["--package", package]);
    }
    let mut binaries: Vec<Binary> = workspace::output(&mut cargo)?.lines().filter_map(binary).collect();
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(binaries)
}

/// The test program that a line of cargo's JSON tells of.
fn binary(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let path = message["executable"].as_str().filter(|_| is_test)?;
    Some(Binary { name: message["target"]["name"].as_str()?.to_owned(), path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::binary;

    #[test]
    fn only_built_integration_tests_are_taken() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"net"},"executable":"/t/net-1"}"#;
        assert_eq!(binary(line).unwrap().name, "net");
        assert_eq!(binary(&line.replace(r#"["test"]"#, r#"["lib"]"#)), None);
        assert_eq!(binary(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
