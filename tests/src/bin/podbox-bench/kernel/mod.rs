//! kernel: what podbox's BPF programs cost whom, and how soon the kernel's word is in a pod's status.
//!
//! - `cost`: all programs together for a process' life (fork, exec, exit) outside of pods and inside, and for a TCP connection on
//!   the host, by the kernel's own statistics (which add about 30 ns to each run); which programs ran, and how often. Whatever
//!   else runs on the machine meanwhile is in the figures, too.
//! - `oom`: from the OOM killer's signal, by the kernel's clock, to the watch event in which the pod's status says `OOMKilled`,
//!   beside a bare spawn in turn, at least a hundred times. Through the whole system, but for a disk: it takes the v2 memory
//!   controller, which is usually in a virtual machine, and its disk is in memory.

mod cost;
mod oom;

use crate::peers;
use crate::stats::Report;
use anyhow::Result;

/// Runs what this host can, or one part.
pub async fn run(samples: usize, part: Option<&str>) -> Result<Report> {
    let mut report = Report::default();
    let processors = std::thread::available_parallelism()?;
    report.line(format!("kernel on {}, {processors} processors", peers::kernel()));
    if part.is_none_or(|part| part == "cost") {
        cost::run(&mut report).await?;
    }
    if part.is_none_or(|part| part == "oom") {
        match podbox_tests::needs::has_controller("memory") {
            true => oom::run(samples, &mut report).await?,
            false => report
                .line("oom: not here, where cgroup v2 has no memory controller: in a machine".to_owned()),
        }
    }
    Ok(report)
}
