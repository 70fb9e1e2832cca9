//! Waiting for something to become so. Tests never sleep for a fixed time and hope.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something, and returns it; panics with `what` after `limit`.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's time limit is about real time")]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {} s in vain for: {what}", limit.as_secs());
        sleep(LOOK);
    }
}

/// Waits until `condition` holds; panics with `what` after `limit`.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}
