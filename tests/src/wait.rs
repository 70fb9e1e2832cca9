//! Waiting for something to become so. Tests never sleep for a fixed time and hope.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something, and returns it; panics with `what` after `limit`.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    look(limit, || condition().ok_or_else(|| what.to_owned()))
}

/// Waits until `condition` holds; panics with `what` after `limit`.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}

/// Waits until what `value` gives is `expected`; panics with `what` and with what it is instead after `limit`.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
pub fn wait_equal<T: PartialEq + Debug>(what: &str, limit: Duration, expected: &T, value: impl Fn() -> T) {
    look(limit, || match value() {
        reached if reached == *expected => Ok(()),
        other => Err(format!("{what}: {expected:?} is expected, and it is {other:?}")),
    });
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's time limit is about real time")]
fn look<T>(limit: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) => {
                assert!(start.elapsed() < limit, "waited {} s in vain for: {why}", limit.as_secs());
            }
        }
        sleep(LOOK);
    }
}
