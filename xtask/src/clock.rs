//! The one place where the tools read the clock: their time-outs and measurements are about real time.

use std::time::Instant;

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the tools' only reading of the clock")]
pub fn now() -> Instant {
    Instant::now()
}
