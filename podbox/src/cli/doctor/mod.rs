//! `podbox doctor`: what this host offers, found by trying it with the code that pods are built with, and what is
//! lost without it. Whatever it tries it takes away again; most of it happens in namespaces that end with it.

mod kernel;
mod network;
mod process;
mod report;
mod storage;

use crate::config::Config;
use crate::server::client;
use crate::trace::{CapabilityReport, Signal};
use clap::{Args, ValueEnum};
use report::{Finding, Report};
use serde::Deserialize;
use serde_json::Value;
use std::io::IsTerminal;
use std::process::ExitCode;

/// How to print.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// One JSON object.
    Json,
}

/// Options of `podbox doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print for programs
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

/// Looks at everything and prints it. Fails, without an error, where no pod can run.
pub fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let report = Report::new(examine(config));
    match args.output {
        Some(Output::Json) => println!("{}", serde_json::to_string_pretty(&report)?),
        None => print!("{}", report.render(std::io::stdout().is_terminal())),
    }
    Ok(if report.can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![kernel::release(), kernel::privilege(), kernel::btf()];
    let mut signals = crate::trace::probe();
    given_up(config, &mut signals);
    findings.extend(kernel::signals(&signals));
    findings.extend([kernel::seccomp(), kernel::sparing()]);
    findings.extend(process::cgroup(&config.cgroup_root));
    findings.extend(network::examine(config));
    findings.extend(storage::examine(&config.state_dir));
    findings
}

/// What this host offers and the podbox that runs here, if one does, has given up since.
fn given_up(config: &Config, report: &mut CapabilityReport) {
    let asked = super::runtime().ok().and_then(|runtime| {
        runtime.block_on(async { client::get(&config.run_dir, "/capabilities").await?.all().await }).ok()
    });
    let told: Value = asked.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    for signal in told["signals"].as_array().into_iter().flatten() {
        if let (Ok(name), Some(reason)) = (Signal::deserialize(&signal["signal"]), signal["reason"].as_str())
        {
            report.given_up(name, reason);
        }
    }
}

/// Does the work on a thread of its own, which takes the namespaces it makes with it.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
