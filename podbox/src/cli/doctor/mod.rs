//! `podbox doctor`: what this host offers, found by trying it with the code that pods are built with, and what is
//! lost without it. Whatever it tries it takes away again; most of it happens in namespaces that end with it.

mod kernel;
mod network;
mod process;
mod report;
mod storage;

use crate::config::Config;
use clap::{Args, ValueEnum};
use report::{Finding, Report};
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
    findings.extend(kernel::signals(&crate::trace::probe()));
    findings.extend([kernel::seccomp(), kernel::sparing()]);
    findings.extend(process::cgroup(&config.cgroup_root));
    findings.extend(network::examine(config));
    findings.extend(storage::examine(&config.state_dir));
    findings
}

/// Does the work on a thread of its own, which takes the namespaces it makes with it.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
