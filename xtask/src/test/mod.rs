//! `cargo xtask test`: everything that must hold. Ends with a table of what ran, what was skipped and why, and one plain
//! line with the sums; its status tells whether all is well.
//!
//! A step that fails doesn't keep the others from running, except that nothing is run that doesn't build.

mod report;
mod stages;
mod suite;

use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::{image, tidy, vm, workspace};
use report::{Outcome, Report};
use stages::Binary;

/// `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run only privileged tests whose name contains this; may be given more than once.
    #[arg(value_name = "NAME")]
    filter: Vec<String>,
    /// Leave out the virtual machines.
    #[arg(long)]
    no_vm: bool,
    /// Only run privileged tests: no formatting, lints and unit tests.
    #[arg(long)]
    privileged: bool,
    /// Run a list of test programs here; how the tool calls itself in the virtual machine.
    #[arg(long, hide = true, value_name = "FILE")]
    inside: Option<std::path::PathBuf>,
}

/// Runs the verb; returns its exit status.
pub fn main(args: &Args) -> Result<i32> {
    if let Some(list) = &args.inside {
        return suite::inside(list);
    }
    let mut report = Report::default();
    prepare(&mut report)?;
    if !args.privileged {
        checks(&mut report);
    }
    match stages::build() {
        Ok(binaries) => {
            privileged(&binaries, args, &mut report);
        }
        Err(error) => report.add("build", "tests", Outcome::failed(&error)),
    }
    Ok(report.close())
}

/// What must be there before anything can run.
fn prepare(report: &mut Report) -> Result<()> {
    let mut needs = vec![Need::Build, Need::Image, Need::Peers];
    needs.extend(vm::SERIES.iter().map(|series| Need::Vm(series)));
    setup::ensure(&needs)?;
    report.step("image", "built", || image::ensure().map(drop));
    Ok(())
}

/// Format, lints, the house rules, and the unit tests.
fn checks(report: &mut Report) {
    let cargo = |words: &[&str]| {
        let mut cargo = workspace::cargo();
        cargo.args(words);
        cargo
    };
    report.step("fmt", "format", || workspace::run(&mut cargo(&["fmt", "--all", "--check"])));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    report.step("clippy", "lints", || workspace::run(&mut cargo(&clippy)));
    report.step("tidy", "house rules", tidy::main);
    stages::cargo_test("unit", &["--workspace", "--lib", "--bins"], report);
    stages::cargo_test(
        "vm-tool",
        &["--package", "xtask", "--bins", "--", "--ignored", "--test-threads=1"],
        report,
    );
}

/// The privileged tests on this kernel and in the machines.
fn privileged(binaries: &[Binary], args: &Args, report: &mut Report) {
    if workspace::is_root() {
        suite::run("host", binaries, &args.filter, report);
    } else {
        report.add("host", "privileged tests", Outcome::Skipped("they need root".to_owned()));
    }
    for series in vm::SERIES {
        if args.no_vm {
            report.add(series, "privileged tests", Outcome::Skipped("--no-vm".to_owned()));
        } else if let Err(error) = suite::in_vm(series, binaries, &args.filter, report) {
            report.add(series, "machine", Outcome::failed(&error));
        }
    }
}

/// The kernel that `host` stands for.
fn kernel() -> String {
    let release = workspace::output(Command::new("uname").arg("-r")).context("no uname");
    release.map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}
