//! `cargo xtask test`: everything that must hold. Tells each test's outcome and time as it comes, and ends with tables of
//! what ran, what was slowest, what was skipped and why, and one plain line with the sums; its status tells whether all is
//! well.
//!
//! A step that fails doesn't keep the others from running, except that nothing is run that doesn't build. The host's
//! tests run before the machines', and the two machines beside each other where they fit: without KVM each is one busy
//! thread.

mod isolated;
mod line;
mod machine;
mod report;
mod said;
mod stages;
mod suite;
mod took;

use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::{image, tidy, vm, workspace};
use report::{Outcome, Report};
use stages::Built;
use suite::{HOST, Test};
use took::Took;

/// The targets whose tests run by themselves: they take a whole machine, or count what happens on it.
const ALONE: &[&str] = &["abuse", "doctor", "harness", "starved", "trace"];

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
        return machine::inside(list);
    }
    let report = Report::default();
    if !prepare(&report) {
        return Ok(report.close());
    }
    if !args.privileged {
        checks(&report);
    }
    let mut built = None;
    report.step("build", "programs and tests", || stages::build().map(|all| built = Some(all)));
    if let Some(built) = built {
        if !args.privileged {
            units(&built, &report);
        }
        privileged(&built, args, &report);
    }
    Ok(report.close())
}

/// What must be there before anything can run; whether it is.
fn prepare(report: &Report) -> bool {
    let mut needs = vec![Need::Build, Need::Image, Need::Peers];
    needs.extend(vm::SERIES.iter().map(|series| Need::Vm(series)));
    report.step("setup", "packages, kernels and programs that tests need", || setup::ensure(&needs))
        && report.step("image", "the test image", || image::ensure().map(drop))
}

/// Format, the house rules, and lints.
fn checks(report: &Report) {
    let cargo = |words: &[&str]| {
        let mut cargo = workspace::cargo();
        cargo.args(words);
        cargo
    };
    report.step("fmt", "format", || workspace::run(&mut cargo(&["fmt", "--all", "--check"])));
    report.step("tidy", "house rules", tidy::main);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    report.step("clippy", "lints", || workspace::run(&mut cargo(&clippy)));
}

/// The unit tests, and those of the machines that boot some.
fn units(built: &Built, report: &Report) {
    let run = |stage: &str, only: Option<&str>, words: &[&str]| {
        let wanted = built.unit.iter().filter(|(binary, _)| only.is_none_or(|name| binary.name == name));
        report.stage(stage, || {
            wanted.for_each(|(binary, package)| stages::unit(stage, binary, package, words, report));
        });
    };
    run("unit", None, &[]);
    let threads = format!("--test-threads={}", if machine::two_fit() { 2 } else { 1 });
    run("vm-tool", Some("xtask"), &["--ignored", &threads]);
}

/// The privileged tests on this kernel and in the machines.
fn privileged(built: &Built, args: &Args, report: &Report) {
    let mut tests = match suite::find(&built.privileged, &args.filter) {
        Ok(tests) => tests,
        Err(error) => return report.add(HOST, "tests", Outcome::failed(&error), Took::default()),
    };
    let mut host_only = Vec::new();
    if workspace::is_root() {
        host_only = report.stage(HOST, || on_host(&tests, report));
    } else {
        report.skip(HOST, &names(&tests), "they need root");
    }
    if args.no_vm {
        return vm::SERIES.iter().for_each(|series| report.skip(series, &names(&tests), "--no-vm"));
    }
    for series in vm::SERIES {
        report.skip(series, &host_only, "asks nothing of the kernel, and ran on the host");
    }
    tests.retain(|test| !host_only.contains(&test.full_name()));
    if !tests.is_empty() {
        machines(&tests, report);
    }
}

/// The tests on this kernel. Most of them wait most of the time, so two run at once where there are two processors.
fn on_host(tests: &[Test], report: &Report) -> Vec<String> {
    let (alone, others): (Vec<Test>, Vec<Test>) =
        tests.iter().cloned().partition(|test| ALONE.contains(&test.target.as_str()));
    let at_once = thread::available_parallelism().map_or(1, |processors| processors.get().min(2));
    let mut host_only = suite::run(HOST, &others, at_once, report);
    host_only.extend(suite::run(HOST, &alone, 1, report));
    host_only
}

fn names(tests: &[Test]) -> Vec<String> {
    tests.iter().map(Test::full_name).collect()
}

/// The tests in a machine of each series, at once where that fits.
fn machines(tests: &[Test], report: &Report) {
    let run = |series: &str| {
        if let Err(error) = report.stage(series, || machine::run(series, tests, report)) {
            report.add(series, "machine", Outcome::failed(&error), Took::default());
        }
    };
    if !machine::two_fit() {
        return vm::SERIES.iter().for_each(|series| run(series));
    }
    if let Err(error) = vm::heed_signals() {
        return report.add("machines", "signals", Outcome::failed(&error), Took::default());
    }
    thread::scope(|scope| {
        for series in vm::SERIES {
            scope.spawn(|| run(series));
        }
    });
}

/// The kernel that `host` stands for.
fn kernel() -> String {
    let release = workspace::output(Command::new("uname").arg("-r")).context("no uname");
    release.map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}
