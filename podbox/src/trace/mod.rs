//! Kernel events: loading the BPF programs, decoding and attributing what they report.
//!
//! Pure: `decode`, `attribute`, `snapshot`, `capability`. Hands: `btf` and `load` put the programs into the
//! kernel, `map` and `tracer` ask its maps, `timeline` has probes' connections
//! watched, `log` relays its debug lines, `ring` and `zombie` turn what comes into events.
//!
//! Invariants: events are hints, counts come from the maps; which cgroup is whose is in the map before the
//! first process starts there; nothing stays in the kernel when the process ends.

mod attribute;
mod btf;
mod capability;
mod decode;
mod load;
mod log;
mod map;
mod offsets;
mod ring;
mod snapshot;
mod timeline;
mod tracer;
mod zombie;

pub use capability::{Capability, CapabilityReport, Signal};
pub use load::{TraceConfig, TraceError};
pub use podbox_common::{ContainerStats, Kind, LIFETIME_BOUNDS_NS, Loss};
pub use snapshot::{ContainerKey, ProgramCost, Snapshot, Totals};
pub use tracer::Tracer;

/// What this host's kernel can tell: loads everything, looks, and takes it out again.
pub fn probe() -> CapabilityReport {
    match load::load(&TraceConfig::new(1)) {
        Ok(loaded) => loaded.report,
        Err(error) => CapabilityReport::nothing(&crate::api::error::chain(&error)),
    }
}
