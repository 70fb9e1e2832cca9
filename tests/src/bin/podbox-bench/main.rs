//! The benchmarks, as one program that runs where podbox runs: `cargo xtask bench NAME` builds it and starts it, on
//! this host or in a virtual machine.
//!
//! Everything that is compared is sampled in turn in the same run (A B C A B C …), since machines drift; medians
//! and p99 are told, and ratios of medians. The whole daemon is in this process, with the real store, keeper, BPF
//! programs and network; only `memory`, `api`, `pods`, `probes`, most of `control` and a part of `kernel` start podbox itself, as its own
//! process is what they measure.

mod api;
mod control;
mod engine;
mod floor;
mod kernel;
mod memory;
mod node;
mod peers;
mod pods;
mod probes;
mod stats;
mod store;

use anyhow::{Context, Result, bail};
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let name = words
        .next()
        .context("which benchmark? pod-start, exec, kernel, memory, store, api, pods, probes or control")?;
    if name == "keeper" || name.starts_with('-') {
        // The engine starts its keeper from the program it runs in.
        return Ok(podbox::cli::main());
    }
    let samples = words.next().map_or(Ok(20), |number| number.parse()).context("the number of samples")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        match name.as_str() {
            "pod-start" => engine::start(samples).await,
            "exec" => engine::exec(samples).await,
            "kernel" => kernel::run(samples, words.next().as_deref()).await,
            "memory" => memory::run().await,
            "store" => store::run().await,
            "api" => api::run().await,
            "pods" => pods::run(samples).await,
            "control" => control::run(samples, words.next().as_deref()).await,
            "probes" => probes::run(samples, words.next().as_deref()).await,
            other => bail!("there is no benchmark {other:?}"),
        }
    })?;
    report.print(&name);
    Ok(ExitCode::SUCCESS)
}
