//! One probe of one run, as a state machine.
//!
//! ```text
//!             due ──begin──▶ in flight ──outcome──▶ due a period after the last one …
//!              ▲                 │
//!   trigger ───┘                 └─ Failure, as often as the threshold: startup and liveness are over
//! ```
//!
//! Upstream's rules: outcomes count when as many in a row are alike as the threshold says; liveness stands as a success at
//! first, readiness as a failure, startup as neither; what errored is thrown away. Beyond them: a trigger brings a probe
//! forward, not before the initial delay and not more often than [`SPACING`] ([`SETTLED_SPACING`]) says; if that one fails, it counts for nothing, so
//! that no trigger can bring a failure forward. If it succeeds, it counts as the first success in a row, never as a
//! further one: a threshold of three successes still takes two periods.

use super::spec::ProbeSpec;
use crate::api::probe::ProbeType;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Between the beginnings of two probes of which the second one was triggered.
pub const SPACING: Duration = Duration::from_millis(50);
/// The same for a server that begins to listen: it is about to be ready.
const LISTENING_SPACING: Duration = Duration::from_millis(5);
/// The same for processes that end: whoever waits for something in a script has them all the time.
const ENDED_SPACING: Duration = Duration::from_millis(500);
/// The same where the last one succeeded.
pub const SETTLED_SPACING: Duration = Duration::from_secs(1);
/// Until a probe is run again that says nothing of the container, since the prober itself was kept from running.
pub const STARVED_RETRY: Duration = Duration::from_millis(100);
/// Such probes in a row, a minute of them by the usual timeout: a host may be that busy. A container that hangs and leaves no
/// processor to anybody else for longer has failed after all.
pub const STARVED_MOST: u32 = 60;

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// So it did, with something that people may want to know.
    Warning(String),
    /// It failed, and why.
    Failure(String),
    /// It could not be run, so that nothing is known: upstream's word for the state, and why.
    Errored(&'static str, String),
    /// Its time ran out while the prober was kept from running.
    Starved,
}

/// How a run stands by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing is known yet.
    Unknown,
    /// By its last words, as many as the threshold says.
    Success,
    /// The same.
    Failure,
}

/// A probe of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Prober {
    probe: ProbeType,
    standing: Standing,
    /// What the last ones came to, and how many in a row.
    streak: (Standing, u32),
    /// Not before: the end of the initial delay.
    from: Instant,
    /// By its period.
    next: Instant,
    /// Before that, if something happened.
    triggered: Option<Instant>,
    /// When the last one began.
    begun: Option<Instant>,
    /// One is being run; whether its failure counts.
    flight: Option<bool>,
    /// How many said nothing, since the prober was kept from running, after the last one that did.
    starved: u32,
    /// It is not run any more.
    over: bool,
}

impl Prober {
    /// Of a run that was started at `begun`.
    pub fn new(probe: ProbeType, spec: &ProbeSpec, begun: Instant) -> Prober {
        let from = begun + spec.initial_delay;
        let standing = match probe {
            ProbeType::Startup => Standing::Unknown,
            ProbeType::Liveness => Standing::Success,
            ProbeType::Readiness => Standing::Failure,
        };
        Prober {
            probe,
            standing,
            streak: (Standing::Unknown, 0),
            from,
            next: from,
            triggered: None,
            begun: None,
            flight: None,
            starved: 0,
            over: false,
        }
    }

    /// Goes on from what an earlier daemon knew; one that has succeeded may wait for a part of its period, so that not all
    /// of a node's probes are run at once.
    pub(super) fn recall(&mut self, standing: Standing, now: Instant, later: Duration) {
        self.standing = standing;
        let at = if self.succeeded() { now + later } else { now };
        self.next = self.from.max(at);
        self.over = standing == Standing::Failure && self.ends_runs();
    }

    /// Its period may have become another one.
    pub(super) fn follow(&mut self, spec: &ProbeSpec) {
        if let Some(begun) = self.begun {
            self.next = self.next.min(begun + spec.period);
        }
    }

    /// How the run stands by it.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it stands as a success.
    pub fn succeeded(&self) -> bool {
        self.standing == Standing::Success
    }

    /// When it is to be run next, if no other one is.
    pub fn due(&self) -> Option<Instant> {
        let waits = self.over || self.flight.is_some();
        (!waits).then(|| self.triggered.map_or(self.next, |at| at.min(self.next)))
    }

    /// It is run now.
    pub fn begin(&mut self, spec: &ProbeSpec, now: Instant) {
        let by_period = now >= self.next;
        self.flight = Some(by_period);
        self.triggered = None;
        let first = self.begun.replace(now).is_none();
        if by_period && first {
            // What held it up was another probe, or a hook: the periods are counted from here.
            self.next = now + spec.period;
        } else if by_period {
            // From tick to tick, whatever a probe takes; ticks that passed meanwhile are left out.
            let late = now.saturating_duration_since(self.next).as_nanos() / spec.period.as_nanos().max(1);
            let ticks = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
            self.next = self.next.checked_add(spec.period.saturating_mul(ticks)).unwrap_or(now + spec.period);
        }
    }

    /// Whether the one that is being run counts if it fails.
    pub(super) fn counts(&self) -> bool {
        self.flight == Some(true)
    }

    /// Whether it is run again where the prober was kept from running.
    pub(super) fn forgives(&self) -> bool {
        self.starved < STARVED_MOST
    }

    /// Something happened: it may be worth running it now. Whether it is due earlier for that.
    pub fn trigger(&mut self, now: Instant) -> bool {
        self.hasten(SPACING, now)
    }

    /// The same for a server that begins to listen.
    pub fn listening(&mut self, now: Instant) -> bool {
        self.hasten(LISTENING_SPACING, now)
    }

    /// The same for a process that ended. Many containers have some that end all the time: where nothing is to be brought
    /// forward, that is no reason.
    pub fn ended(&mut self, now: Instant) -> bool {
        !self.is_settled() && self.hasten(ENDED_SPACING, now)
    }

    /// It succeeds, and nothing was said against it.
    pub(super) fn is_settled(&self) -> bool {
        self.succeeded() && self.streak.0 != Standing::Failure
    }

    fn hasten(&mut self, spacing: Duration, now: Instant) -> bool {
        if self.over {
            return false;
        }
        // Where nothing is to be brought forward, there is no hurry.
        let spacing = if self.is_settled() { SETTLED_SPACING } else { spacing };
        let spaced = self.begun.map_or(now, |begun| begun + spacing);
        self.forward(now.max(spaced))
    }

    fn forward(&mut self, at: Instant) -> bool {
        let at = at.max(self.from);
        let earlier = at < self.triggered.map_or(self.next, |triggered| triggered.min(self.next));
        if earlier {
            self.triggered = Some(at);
        }
        earlier
    }

    /// What came of it. Whether the run stands otherwise for it.
    pub fn outcome(&mut self, spec: &ProbeSpec, outcome: &Outcome, now: Instant) -> bool {
        let Some(counts) = self.flight.take() else { return false };
        if self.over {
            return false;
        }
        let before = self.standing;
        self.starved = if *outcome == Outcome::Starved { self.starved.saturating_add(1) } else { 0 };
        match outcome {
            Outcome::Success | Outcome::Warning(_) => self.succeed(spec, counts),
            Outcome::Failure(_) if counts => self.count(Standing::Failure, spec.failures),
            // It says nothing that counts.
            Outcome::Failure(_) | Outcome::Errored(..) => {}
            // It is run again as the one that it was.
            Outcome::Starved if counts => self.next = now + STARVED_RETRY,
            Outcome::Starved => drop(self.forward(now + STARVED_RETRY)),
        }
        if let (Some(eager), Some(begun), false) = (spec.until_ready, self.begun, self.succeeded()) {
            self.forward(now.max(begun + eager));
        }
        self.standing != before
    }

    fn succeed(&mut self, spec: &ProbeSpec, counts: bool) {
        if counts {
            return self.count(Standing::Success, spec.successes);
        }
        if self.streak.0 != Standing::Success {
            self.count(Standing::Success, spec.successes);
            // The next one in a row comes a period later.
            self.next = self.begun.map_or(self.next, |begun| begun + spec.period);
        }
    }

    fn count(&mut self, standing: Standing, threshold: u32) {
        let (last, times) = self.streak;
        let times = if last == standing { times.saturating_add(1) } else { 1 };
        self.streak = (standing, times);
        if times < threshold {
            return;
        }
        self.standing = standing;
        // The run ends for it: what it says from now on is of no interest.
        self.over = standing == Standing::Failure && self.ends_runs();
    }

    fn ends_runs(&self) -> bool {
        matches!(self.probe, ProbeType::Startup | ProbeType::Liveness)
    }

    /// It is asked no more, and holds nobody up.
    pub(super) fn quiet(&mut self) {
        self.standing = Standing::Success;
        self.over = true;
    }
}
