//! Kernel events: loading the BPF programs, decoding and attributing what they report.
//!
//! Pure: `decode`, `attribute`, `snapshot`, `capability`, `budget`, `forecast`. Hands: `btf` and `load` put the programs into the
//! kernel, `map` and `tracer` ask its maps, `timeline` has probes' connections
//! watched, `follow` says whose ends are told one by one, `log` relays its debug lines, `ring` and `zombie` turn what comes into events, `start` tells how containers begin, `standing` compares the counts with the kernel's own files;
//! `pin` keeps programs and maps while no podbox runs, `journal` whose they are, and `survival` goes on with both.
//!
//! Invariants: events are hints, counts come from the maps; which cgroup is whose is in the map before the
//! first process starts there; nothing stays in the kernel when the process ends, but what was asked to be kept, and
//! nothing of that after [`remove`].

mod attribute;
mod btf;
mod budget;
mod capability;
mod cost;
mod decode;
mod follow;
mod forecast;
mod journal;
mod kills;
mod load;
mod log;
mod map;
mod offsets;
mod pin;
mod ring;
mod snapshot;
mod standing;
mod start;
mod survival;
mod timeline;
mod tracer;
mod zombie;

pub use budget::Allowance;
pub use capability::{Capability, CapabilityReport, Signal};
pub use load::{TraceConfig, TraceError};
pub use podbox_common::{ContainerStats, Kind, LIFETIME_BOUNDS_NS, Loss};
pub use snapshot::{ContainerKey, ProgramCost, Snapshot, Totals};
pub use survival::Gap;
pub use tracer::Tracer;

/// What this host's kernel can tell: loads everything, keeps it, looks, and takes it out again.
pub fn probe() -> CapabilityReport {
    // A thread of its own, which takes its mounts with it, and with them what is pinned.
    std::thread::scope(|scope| {
        let probed = scope.spawn(|| {
            let scratch = pin::scratch();
            let keep = scratch.as_ref().ok().cloned();
            let mut report = match load::load(&TraceConfig { keep, ..TraceConfig::new(1) }) {
                Ok(loaded) => loaded.report,
                Err(error) => return CapabilityReport::nothing(&crate::api::error::chain(&error)),
            };
            let none = scratch.err().map(|error| Capability::absent(Signal::Survival, error.to_string()));
            report.signals.extend(none);
            report
        });
        probed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes away all that was kept for this run directory, once nothing is to be recorded any more.
pub fn remove(run_dir: &std::path::Path) -> std::io::Result<()> {
    pin::remove(run_dir).and(journal::remove(run_dir))
}
