//! bpf-cost: what podbox's BPF programs cost a process that is in no pod, over its whole life, by the kernel's own
//! statistics (which add about 30 ns to each run).

use crate::engine::Bench;
use crate::peers;
use crate::stats::Report;
use anyhow::{Context, Result};
use podbox::trace::ProgramCost;
use std::time::Duration;

/// Processes that live and die.
const PROCESSES: u32 = 5_000;

/// Starts the daemon and lets processes outside of it come and go.
pub async fn run() -> Result<Report> {
    let bench = Bench::new().await?;
    let tracer =
        bench.daemon.tracer.clone().context("no BPF program could be loaded; `podbox doctor` says why")?;
    // Warm caches, and what the daemon's start left to be freed.
    lives(500)?;
    let before = tracer.costs();
    lives(PROCESSES)?;
    // Some programs run a grace period after a process' end.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = tracer.costs();
    drop(tracer);
    bench.close().await?;
    let mut report = Report::default();
    report.line(format!("bpf-cost on {}: {PROCESSES} processes outside pods", peers::kernel()));
    report.line(format!("{:<20} {:>10} {:>14} {:>16}", "program", "runs", "ns per run", "ns per process"));
    let mut total = 0.0;
    for program in &after {
        let start = before.iter().find(|cost| cost.program == program.program);
        let (runs, ns) = spent(start, program);
        if runs == 0 {
            continue;
        }
        let per_process = ns / f64::from(PROCESSES);
        total += per_process;
        report.line(format!(
            "{:<20} {runs:>10} {:>14.1} {per_process:>16.1}",
            program.program,
            ns / runs as f64
        ));
        report.figure(&format!("{}_per_run", program.program), ns / runs as f64, "ns");
    }
    report.at_most("bpf_per_process_outside_pods", total, "ns", 300.0);
    Ok(report)
}

fn spent(before: Option<&ProgramCost>, after: &ProgramCost) -> (u64, f64) {
    let (runs, time) = before.map_or((0, Duration::ZERO), |cost| (cost.runs, cost.time));
    (after.runs - runs, after.time.saturating_sub(time).as_nanos() as f64)
}

fn lives(number: u32) -> Result<()> {
    for _ in 0..number {
        peers::timed(&mut peers::bare())?;
    }
    Ok(())
}
