//! How much of a probe's time podbox itself did not get to run.
//!
//! Beside a probe that takes a while, a timer ticks; how late each tick comes is time that the prober lost. A probe that
//! is answered at once costs none. The ticks share the probe's task, so what they see is what the probe saw.

use crate::clock;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Ticks in one probe's time.
const TICKS: u32 = 25;
/// The shortest time between two.
const SHORTEST: Duration = Duration::from_millis(20);
/// What every timer may be late.
const USUAL: Duration = Duration::from_millis(3);

/// Does the work; how long the prober was kept from running meanwhile.
pub(super) async fn beside<T>(timeout: Duration, mut work: impl Future<Output = T> + Unpin) -> (T, Duration) {
    let every = (timeout / TICKS).max(SHORTEST);
    let mut lost = Duration::ZERO;
    let mut tick = Instant::from_std(clock::instant()) + every;
    loop {
        let done = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = sleep_until(tick) => None,
        };
        // The end of the work may have been late, too.
        let now = Instant::from_std(clock::instant());
        let late = now.saturating_duration_since(tick);
        if late > USUAL {
            lost += late;
        }
        if let Some(done) = done {
            return (done, lost);
        }
        tick = now + every;
    }
}

/// Whether so much was lost that a probe whose time ran out says nothing of the container: a quarter of its time.
pub(super) fn is_starvation(lost: Duration, timeout: Duration) -> bool {
    lost >= timeout / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test]
    async fn what_keeps_the_prober_from_running_is_seen_and_waiting_is_not() {
        let second = Duration::from_secs(1);
        // On a busy machine it may take some tries to wait in peace.
        let mut lost = second;
        for _ in 0..50 {
            let ((), waited) = beside(second, pin!(tokio::time::sleep(Duration::from_millis(60)))).await;
            lost = lost.min(waited);
        }
        assert!(!is_starvation(lost, second), "{lost:?}");
        let blocked = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            // What holds up this thread holds up the probe.
            std::thread::sleep(Duration::from_millis(400));
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let ((), lost) = beside(second, pin!(blocked)).await;
        assert!(is_starvation(lost, second), "{lost:?}");
    }
}
