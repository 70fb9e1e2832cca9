//! The only caller of the system clocks: everywhere else, time is a parameter.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// Now, for measuring spans.
pub fn instant() -> Instant {
    Instant::now()
}

/// Now, for people and for the API.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Time since boot, suspended time included: the clock of kernel events.
pub fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
