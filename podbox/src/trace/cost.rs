//! What the programs cost, by the kernel's own measure.

use super::snapshot::ProgramCost;
use super::tracer::{Tracer, lock};
use aya::programs::{Program, ProgramInfo};
use std::os::fd::{AsFd, AsRawFd};

impl Tracer {
    /// What each program cost since it was loaded.
    pub fn costs(&self) -> Vec<ProgramCost> {
        let ebpf = lock(&self.ebpf);
        let cost = |(name, program): (&str, &Program)| {
            let info: ProgramInfo = program.info().ok()?;
            let missed = missed(program);
            Some(ProgramCost {
                program: name.to_owned(),
                runs: info.run_count(),
                missed,
                time: info.run_time(),
            })
        };
        let mut costs: Vec<ProgramCost> = ebpf.programs().filter_map(cost).collect();
        costs.sort_by(|a, b| a.program.cmp(&b.program));
        costs
    }
}

/// How often the kernel skipped a program because it was running on that processor already: it says so in /proc alone.
fn missed(program: &Program) -> u64 {
    let Ok(fd) = program.fd() else { return 0 };
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
