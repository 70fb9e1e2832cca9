//! A probe's time, part by part: which part of it the network took, the queue before the server, the server itself, and
//! its answer's way. Pure; who sees connections is behind [`Timelines`].
//!
//! The kernel's own marks are taken where packets arrive, so a prober that waits for the processor doesn't stretch a
//! part. What was not seen is no part, and the part after it has its time.

use serde::{Deserialize, Serialize};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What the kernel saw of one connection so far. Each is time since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The other side's kernel agreed to it.
    pub connected: Option<Duration>,
    /// The server took it out of its queue.
    pub accepted: Option<Duration>,
    /// The first byte came from the server.
    pub first: Option<Duration>,
    /// The latest byte came.
    pub last: Option<Duration>,
}

/// A part of a probe's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the other side's kernel agreed to the connection.
    Connect,
    /// Until the server took it out of its queue.
    AcceptQueue,
    /// Until the answer's first byte.
    Application,
    /// Until its last byte.
    Transfer,
}

impl Phase {
    /// Its name, as the label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::AcceptQueue => "accept_queue",
            Phase::Application => "application",
            Phase::Transfer => "transfer",
        }
    }
}

/// What comes back on a probe's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: to be connected is all (`tcpSocket`).
    Nothing,
    /// The answer and nothing before it (`httpGet`).
    Bytes,
    /// The answer after other words, of TLS or HTTP/2: its own first byte can't be told.
    Mixed,
}

/// One probe, in time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Just before it connected.
    pub begin: Duration,
    /// When its verdict was there.
    pub end: Duration,
    /// What was to come back.
    pub answer: Answer,
    /// It came to its end, whatever the answer says; otherwise its last part lasts until `end`.
    pub whole: bool,
}

impl Timeline {
    /// The parts that a probe came to, in their order.
    pub fn phases(&self, span: &Span) -> Vec<(Phase, Duration)> {
        let mut phases = Vec::with_capacity(4);
        let mut since = span.begin;
        // Whether there is more after this part.
        let mut part = |phase, mark: Option<Duration>| {
            let until = mark.unwrap_or(span.end);
            phases.push((phase, until.saturating_sub(since)));
            since = until;
            mark.is_some()
        };
        if !part(Phase::Connect, self.connected) || span.answer == Answer::Nothing {
            return phases;
        }
        // Without a mark the connection may still lie in the queue, or nobody looks: the next part has this time.
        if self.accepted.is_some() {
            part(Phase::AcceptQueue, self.accepted);
        }
        let last = if span.whole { self.last } else { None };
        match span.answer {
            Answer::Bytes if part(Phase::Application, self.first) => _ = part(Phase::Transfer, last),
            Answer::Mixed => _ = part(Phase::Application, last),
            Answer::Bytes | Answer::Nothing => {}
        }
        phases
    }

    /// Whether the server was given the connection and left it in its queue; meaningful only where accepts are seen.
    pub fn is_queued(&self) -> bool {
        self.connected.is_some() && self.accepted.is_none() && self.first.is_none()
    }
}

/// Who sees the connections of probes.
pub trait Timelines: Send + Sync {
    /// Follows a socket from now on, which is yet to be connected; ends with what it returns. `None` where nothing can
    /// be seen.
    fn follow(&self, socket: BorrowedFd<'_>) -> Option<Box<dyn Followed>>;
    /// Whether it is seen when a server takes a connection.
    fn sees_accepts(&self) -> bool;
}

/// A socket that is followed.
pub trait Followed: Send + Sync {
    /// What was seen so far.
    fn timeline(&self) -> Timeline;
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seen(connected: u64, accepted: Option<u64>, first: Option<u64>, last: Option<u64>) -> Timeline {
        Timeline {
            connected: Some(ms(connected)),
            accepted: accepted.map(ms),
            first: first.map(ms),
            last: last.map(ms),
        }
    }

    fn check(timeline: &Timeline, answer: Answer, whole: bool, expected: &[(&str, u64)]) {
        let span = Span { begin: ms(100), end: ms(200), answer, whole };
        let phases: Vec<_> = timeline
            .phases(&span)
            .into_iter()
            .map(|(phase, took)| (phase.name(), took.as_millis() as u64))
            .collect();
        assert_eq!(phases, expected, "{timeline:?} {answer:?}");
    }

    #[test]
    fn an_answer_has_four_parts() {
        let timeline = seen(101, Some(111), Some(151), Some(153));
        check(
            &timeline,
            Answer::Bytes,
            true,
            &[("connect", 1), ("accept_queue", 10), ("application", 40), ("transfer", 2)],
        );
        check(&timeline, Answer::Mixed, true, &[("connect", 1), ("accept_queue", 10), ("application", 42)]);
        check(&timeline, Answer::Nothing, true, &[("connect", 1)]);
    }

    #[test]
    fn the_part_in_which_a_probe_failed_lasts_until_its_end() {
        check(&Timeline::default(), Answer::Bytes, false, &[("connect", 100)]);
        check(
            &seen(110, Some(120), None, None),
            Answer::Bytes,
            false,
            &[("connect", 10), ("accept_queue", 10), ("application", 80)],
        );
        // Drop by drop, and never whole.
        check(
            &seen(110, None, Some(120), Some(190)),
            Answer::Bytes,
            false,
            &[("connect", 10), ("application", 10), ("transfer", 80)],
        );
        check(
            &seen(110, None, Some(120), Some(190)),
            Answer::Mixed,
            false,
            &[("connect", 10), ("application", 90)],
        );
    }

    #[test]
    fn a_wait_that_nobody_saw_is_the_applications() {
        check(
            &seen(110, None, Some(150), Some(150)),
            Answer::Bytes,
            true,
            &[("connect", 10), ("application", 40), ("transfer", 0)],
        );
        assert!(seen(1, None, None, None).is_queued());
        assert!(!seen(1, Some(2), None, None).is_queued() && !Timeline::default().is_queued());
    }
}
