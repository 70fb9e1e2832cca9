//! `podbox doctor`: what this host offers, found by trying it with the code that pods are built with, and what is
//! lost without it. Whatever it tries it takes away again; most of it happens in namespaces that end with it. The podbox that runs
//! here, if one does, is asked what it has given up and lost since.

mod kernel;
mod network;
mod process;
mod report;
mod running;
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
    let page = asked(config, "/metrics").and_then(|bytes| String::from_utf8(bytes).ok());
    findings.extend(page.iter().flat_map(|page| running::findings(page)));
    findings.extend([kernel::seccomp(), kernel::sparing()]);
    findings.extend(process::cgroup(&config.cgroup_root));
    findings.extend(network::examine(config));
    findings.extend(storage::examine(&config.state_dir));
    findings
}

/// What this host offers and the podbox that runs here, if one does, has given up since.
fn given_up(config: &Config, report: &mut CapabilityReport) {
    let told: Value = asked(config, "/capabilities")
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    for signal in told["signals"].as_array().into_iter().flatten() {
        match (Signal::deserialize(&signal["signal"]), signal["reason"].as_str()) {
            // Where it keeps its maps, not where a trial could.
            (Ok(Signal::Survival), Some(reason))
                if signal["backend"].is_null() && report.has(Signal::Survival) =>
            {
                report.lost(Signal::Survival, reason.to_owned());
            }
            (Ok(name), Some(reason)) => report.given_up(name, reason),
            _ => {}
        }
    }
}

/// What the podbox that runs here answers.
fn asked(config: &Config, path: &'static str) -> Option<Vec<u8>> {
    let answer = async { client::get(&config.run_dir, path).await?.all().await };
    super::runtime().ok()?.block_on(answer).ok()
}

/// Does the work on a thread of its own, which takes the namespaces it makes with it.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
