//! Whether and when an ended container runs again, as the kubelet decides it.
//!
//! The first restart is immediate. Each further one waits from the container's end: 10 s, then twice the
//! last wait, 300 s at most, or less where the node says so; a container that ran for ten minutes starts over.

use std::time::{Duration, Instant};

/// The first wait.
pub const BACKOFF_BASE: Duration = Duration::from_secs(10);
/// The longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A try that went well for this long makes the next wait the first one again.
pub const BACKOFF_RESET: Duration = Duration::from_secs(600);

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

/// What follows one container's end: its `restartPolicyRules`, then its own or its pod's `restartPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What follows where no rule applies.
    pub policy: RestartPolicy,
    /// What follows certain exit codes, whatever the policy says; the first one that applies counts.
    pub rules: Vec<(Codes, Action)>,
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The container is run again.
    Restart,
    /// All of the pod begins anew.
    RestartAll,
}

/// Exit codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codes {
    /// These.
    In(Vec<i32>),
    /// All but these.
    NotIn(Vec<i32>),
}

impl Restart {
    /// By this policy alone.
    pub fn by(policy: RestartPolicy) -> Restart {
        Restart { policy, rules: Vec::new() }
    }

    /// Whether a container that ended with this exit code runs again.
    pub fn restarts(&self, code: i32) -> bool {
        self.rule(code).is_some() || self.policy.restarts(code)
    }

    /// Whether all of its pod begins anew after an end with this exit code.
    pub fn restarts_all(&self, code: i32) -> bool {
        self.rule(code) == Some(Action::RestartAll)
    }

    fn rule(&self, code: i32) -> Option<Action> {
        let applies = |codes: &Codes| match codes {
            Codes::In(codes) => codes.contains(&code),
            Codes::NotIn(codes) => !codes.contains(&code),
        };
        self.rules.iter().find(|(codes, _)| applies(codes)).map(|(_, action)| *action)
    }
}

/// How long the first wait is, and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    base: Duration,
    max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { base: BACKOFF_BASE, max: BACKOFF_MAX }
    }
}

impl Pace {
    /// The usual one with no wait longer than `max`.
    pub fn up_to(max: Duration) -> Pace {
        Pace { base: BACKOFF_BASE.min(max), max }
    }
}

/// The wait before the next try of something that keeps failing: a restart, a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pace: Pace,
    /// The wait that applies now, and when it was chosen; none before the first try.
    current: Option<(Duration, Instant)>,
}

impl Backoff {
    /// One that nothing was tried under yet.
    pub fn new(pace: Pace) -> Backoff {
        Backoff { pace, current: None }
    }

    /// As an earlier one had [chosen](Backoff::chosen).
    pub fn again(pace: Pace, current: Option<(Duration, Instant)>) -> Backoff {
        Backoff { pace, current }
    }

    /// The wait that applies, and when it was chosen.
    pub fn chosen(&self) -> Option<(Duration, Instant)> {
        self.current
    }

    /// A try is made now, after one that ended at `ended`: chooses the wait that would follow its failure.
    pub fn tried(&mut self, ended: Instant, now: Instant) {
        let wait = match self.current {
            Some((wait, chosen)) if !over(chosen, ended) => (2 * wait).min(self.pace.max),
            _ => self.pace.base,
        };
        self.current = Some((wait, now));
    }

    /// When the next try may be made after a failure at `ended`; `None`: at once.
    pub fn until(&self, ended: Instant, now: Instant) -> Option<Instant> {
        let (wait, chosen) = self.current?;
        let until = ended + wait;
        (!over(chosen, ended) && until > now).then_some(until)
    }

    /// The shortest wait there is.
    pub fn first(&self) -> Duration {
        self.pace.base
    }

    /// The wait that applies after the next failure.
    pub fn wait(&self) -> Duration {
        self.current.map_or(Duration::ZERO, |(wait, _)| wait)
    }
}

/// Whether a try that was made at `tried` went well for so long that its end is no sequel of earlier ones.
fn over(tried: Instant, ended: Instant) -> bool {
    ended.saturating_duration_since(tried) > BACKOFF_RESET
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// The waits of something that is tried again as soon as it may be, and fails each time after `lasts`.
    fn waits(pace: Pace, lasts: Duration, tries: usize) -> Vec<u64> {
        let mut now = clock::instant();
        let mut backoff = Backoff::new(pace);
        assert_eq!(backoff.until(now, now), None, "the first restart is immediate");
        let mut waits = Vec::new();
        let mut ended = now;
        for _ in 0..tries {
            backoff.tried(ended, now);
            now += lasts;
            ended = now;
            let until = backoff.until(ended, now);
            waits.push(until.map_or(0, |until| (until - now).as_secs()));
            now = until.unwrap_or(now);
        }
        waits
    }

    #[test]
    fn waits_double_to_five_minutes() {
        assert_eq!(waits(Pace::default(), Duration::from_secs(1), 7), [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(waits(Pace::up_to(Duration::from_secs(25)), Duration::from_secs(1), 4), [10, 20, 25, 25]);
        assert_eq!(waits(Pace::up_to(Duration::from_secs(1)), Duration::from_secs(1), 3), [1, 1, 1]);
    }

    #[test]
    fn only_ten_minutes_of_running_well_are_forgiven() {
        let [most, more] = [600, 601].map(Duration::from_secs);
        assert_eq!(waits(Pace::default(), most, 3), [10, 20, 40]);
        assert_eq!(waits(Pace::default(), more, 3), [0, 0, 0]);
    }

    #[test]
    fn policies_decide_by_the_exit_code_and_rules_before_them() {
        let by = |policy, rules: &[Codes]| {
            let rules = rules.iter().map(|codes| (codes.clone(), Action::Restart)).collect();
            Restart { policy, rules }
        };
        let (three, others) = (Codes::In(vec![3]), Codes::NotIn(vec![0, 3]));
        let table = [
            (by(RestartPolicy::Always, &[]), 0, true),
            (by(RestartPolicy::Always, &[]), 1, true),
            (by(RestartPolicy::OnFailure, &[]), 0, false),
            (by(RestartPolicy::OnFailure, &[]), 137, true),
            (by(RestartPolicy::Never, &[]), 1, false),
            (by(RestartPolicy::Never, std::slice::from_ref(&three)), 3, true),
            (by(RestartPolicy::Never, std::slice::from_ref(&three)), 4, false),
            (by(RestartPolicy::Never, &[others]), 4, true),
            (by(RestartPolicy::OnFailure, &[three]), 4, true),
        ];
        for (restart, code, expected) in table {
            assert_eq!(restart.restarts(code), expected, "{restart:?} {code}");
        }
    }

    #[test]
    fn the_first_rule_that_applies_counts() {
        let rules = vec![(Codes::In(vec![1]), Action::Restart), (Codes::NotIn(vec![0]), Action::RestartAll)];
        let restart = Restart { policy: RestartPolicy::Never, rules };
        assert_eq!([0, 1, 2].map(|code| restart.restarts(code)), [false, true, true]);
        assert_eq!([0, 1, 2].map(|code| restart.restarts_all(code)), [false, false, true]);
    }
}
