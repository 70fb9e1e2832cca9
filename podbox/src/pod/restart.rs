//! Whether and when an ended container runs again, as the kubelet decides it.
//!
//! The first restart is immediate. Each further one waits from the container's end: 10 s, then twice the
//! last wait, 300 s at most; a container that was left alone for twice the longest wait starts over.

use std::time::{Duration, Instant};

/// The first wait.
pub const BACKOFF_BASE: Duration = Duration::from_secs(10);
/// The longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// When a container that ended is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// Unless it exited with 0.
    OnFailure,
    /// Not.
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended with this exit code runs again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// The wait before the next try of something that keeps failing: a restart, a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// The wait that applies now, and when it was chosen; none before the first try.
    current: Option<(Duration, Instant)>,
}

impl Backoff {
    /// As an earlier one had [chosen](Backoff::chosen).
    pub fn again(current: Option<(Duration, Instant)>) -> Backoff {
        Backoff { current }
    }

    /// The wait that applies, and when it was chosen.
    pub fn chosen(&self) -> Option<(Duration, Instant)> {
        self.current
    }

    /// A try is made now: chooses the wait that would follow its failure.
    pub fn tried(&mut self, now: Instant) {
        let wait = match self.current {
            Some((wait, chosen)) if now.saturating_duration_since(chosen) <= 2 * BACKOFF_MAX => {
                (2 * wait).min(BACKOFF_MAX)
            }
            _ => BACKOFF_BASE,
        };
        self.current = Some((wait, now));
    }

    /// When the next try may be made after a failure at `ended`; `None`: at once.
    pub fn until(&self, ended: Instant, now: Instant) -> Option<Instant> {
        let (wait, chosen) = self.current?;
        let over = now.saturating_duration_since(chosen) > 2 * BACKOFF_MAX;
        let until = ended + wait;
        (!over && until > now).then_some(until)
    }

    /// The wait that applies after the next failure.
    pub fn wait(&self) -> Duration {
        self.current.map_or(Duration::ZERO, |(wait, _)| wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn waits_double_to_five_minutes_and_reset_after_ten() {
        let start = clock::instant();
        let mut now = start;
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(now, now), None, "the first start is immediate");
        let mut waits = Vec::new();
        for _ in 0..7 {
            backoff.tried(now);
            now += Duration::from_secs(1);
            let until = backoff.until(now, now).expect("a wait follows each try");
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        now += Duration::from_secs(601);
        assert_eq!(backoff.until(now, now), None);
        backoff.tried(now);
        assert_eq!(backoff.wait(), BACKOFF_BASE);
    }

    #[test]
    fn policies_decide_by_the_exit_code() {
        let table = [
            (RestartPolicy::Always, 0, true),
            (RestartPolicy::Always, 1, true),
            (RestartPolicy::OnFailure, 0, false),
            (RestartPolicy::OnFailure, 137, true),
            (RestartPolicy::Never, 1, false),
        ];
        for (policy, code, expected) in table {
            assert_eq!(policy.restarts(code), expected, "{policy:?} {code}");
        }
    }
}
