//! The only caller of the system clocks: everywhere else, time is a parameter.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]

use std::time::{Instant, SystemTime};

/// Now, for measuring spans.
pub fn instant() -> Instant {
    Instant::now()
}

/// Now, for people and for the API.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
