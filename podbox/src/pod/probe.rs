//! Probes of a run: when each is due, and what follows from what came of it. Pure; whoever asks the container is
//! `node::probe`.
//!
//! ```text
//!              container started          startup succeeds
//!                     │                          │
//!   startup           ├─ initial delay ─▶ due …─▶┤
//!   liveness          │          (waits)         ├──▶ due, every period ──▶ Failure: the run is to end
//!   readiness         │          (waits)         ├──▶ due, every period ──▶ Success | Failure: ready or not
//! ```
//!
//! What it keeps is of one run and begins anew with the next. Where a container has no such probe, it counts as having
//! succeeded. Once its pod is to end, only readiness is still asked, as under every kubelet.

mod prober;
mod spec;

#[cfg(test)]
mod tests;

pub use prober::{Outcome, Prober, Standing};
pub use spec::{ProbeSpec, ProbeSpecs, of, port};

use crate::api::probe::ProbeType;
use crate::api::trigger::{Cause, Interest};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// The probes of a run. Of a container without any, nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probes {
    startup: Option<Prober>,
    liveness: Option<Prober>,
    readiness: Option<Prober>,
}

/// How a run stood by its probes, for a later daemon: nothing that was true becomes untrue because podbox restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    startup: Option<Standing>,
    liveness: Option<Standing>,
    readiness: Option<Standing>,
}

impl Probes {
    /// Of a run that was started at `begun`.
    pub fn new(specs: &ProbeSpecs, begun: Instant) -> Probes {
        let prober = |probe| specs.get(probe).map(|spec| Prober::new(probe, spec, begun));
        Probes {
            startup: prober(ProbeType::Startup),
            liveness: prober(ProbeType::Liveness),
            readiness: prober(ProbeType::Readiness),
        }
    }

    /// Of a run that an earlier daemon probed. `whose` spreads the probes of many containers over their periods.
    pub fn recall(
        specs: &ProbeSpecs,
        remembered: Remembered,
        begun: Instant,
        now: Instant,
        whose: impl Hash,
    ) -> Probes {
        let mut probes = Probes::new(specs, begun);
        for probe in ProbeType::ALL {
            let Some(spec) = specs.get(probe) else { continue };
            let standing = match probe {
                ProbeType::Startup => remembered.startup,
                ProbeType::Liveness => remembered.liveness,
                ProbeType::Readiness => remembered.readiness,
            };
            let later = spread(&whose, probe, spec.period);
            if let (Some(prober), Some(standing)) = (probes.get_mut(probe), standing) {
                prober.recall(standing, now, later);
            }
        }
        probes
    }

    /// What a later daemon is to know.
    pub fn remembered(&self) -> Remembered {
        let standing = |prober: &Option<Prober>| prober.as_ref().map(Prober::standing);
        Remembered {
            startup: standing(&self.startup),
            liveness: standing(&self.liveness),
            readiness: standing(&self.readiness),
        }
    }

    /// Its startup probe has succeeded, if it has one.
    pub fn started(&self) -> bool {
        self.startup.as_ref().is_none_or(Prober::succeeded)
    }

    /// Its readiness probe has succeeded of late, if it has one.
    pub fn ready(&self) -> bool {
        self.readiness.as_ref().is_none_or(Prober::succeeded)
    }

    /// When a probe is to be run next; none while it waits for something else than time.
    pub fn due(&self, probe: ProbeType) -> Option<Instant> {
        let asked = match probe {
            ProbeType::Startup => !self.started(),
            ProbeType::Liveness | ProbeType::Readiness => self.started(),
        };
        self.get(probe).filter(|_| asked)?.due()
    }

    /// A probe is run now.
    pub fn begin(&mut self, probe: ProbeType, spec: &ProbeSpec, now: Instant) {
        self.get_mut(probe).into_iter().for_each(|prober| prober.begin(spec, now));
    }

    /// Whether what is being run of this probe counts if it fails.
    pub fn counts(&self, probe: ProbeType) -> bool {
        self.get(probe).is_some_and(Prober::counts)
    }

    /// Whether what is being run of this probe is run again if podbox itself is kept from running meanwhile.
    pub fn forgives(&self, probe: ProbeType) -> bool {
        self.get(probe).is_some_and(Prober::forgives)
    }

    /// What came of it. Whether that changed how the run stands by this probe.
    pub fn outcome(&mut self, probe: ProbeType, spec: &ProbeSpec, outcome: &Outcome, now: Instant) -> bool {
        self.get_mut(probe).is_some_and(|prober| prober.outcome(spec, outcome, now))
    }

    /// Something happened that makes a probe worth running now. Whether any is due earlier for it.
    pub fn trigger(&mut self, specs: &ProbeSpecs, cause: Cause, now: Instant) -> bool {
        let mut any = false;
        for probe in ProbeType::ALL {
            let concerned = specs.get(probe).is_some_and(|spec| cause.concerns(spec.port));
            if let Some(prober) = self.get_mut(probe).filter(|_| concerned) {
                any |= match cause {
                    Cause::Listening { .. } => prober.listening(now),
                    Cause::Gone { .. } => prober.trigger(now),
                    Cause::Exited | Cause::OomKilled => prober.ended(now),
                    Cause::Zombie => false,
                };
            }
        }
        any
    }

    /// A server comes or goes in another container of its pod, on a port that a probe of this one asks.
    pub fn trigger_beside(&mut self, specs: &ProbeSpecs, cause: Cause, now: Instant) {
        let (Cause::Listening { port } | Cause::Gone { port }) = cause else { return };
        let asks = |probe| specs.get(probe).is_some_and(|spec| spec.port == Some(port));
        if ProbeType::ALL.into_iter().any(asks) {
            self.trigger(specs, cause, now);
        }
    }

    /// Its manifest has changed: of what is to be run, a shorter period counts from the last time on.
    pub fn follow(&mut self, specs: &ProbeSpecs) {
        for probe in ProbeType::ALL {
            if let (Some(prober), Some(spec)) = (self.get_mut(probe), specs.get(probe)) {
                prober.follow(spec);
            }
        }
    }

    /// Which triggers may bring something forward.
    pub fn interest(&self) -> Interest {
        let probers = || ProbeType::ALL.into_iter().filter_map(|probe| self.get(probe));
        match (probers().next(), probers().all(Prober::is_settled)) {
            (None, _) => Interest::Nothing,
            (Some(_), true) => Interest::Servers,
            (Some(_), false) => Interest::Ends,
        }
    }

    /// Its pod is to end: nothing is to be restarted any more, nor waited for.
    pub fn quiet(&mut self) {
        [&mut self.startup, &mut self.liveness].into_iter().flatten().for_each(Prober::quiet);
    }

    /// Whether the run is to end by what this probe said.
    pub fn condemned(&self, probe: ProbeType) -> bool {
        let ends = matches!(probe, ProbeType::Startup | ProbeType::Liveness);
        ends && self.get(probe).is_some_and(|prober| prober.standing() == Standing::Failure)
    }

    fn get(&self, probe: ProbeType) -> Option<&Prober> {
        match probe {
            ProbeType::Startup => self.startup.as_ref(),
            ProbeType::Liveness => self.liveness.as_ref(),
            ProbeType::Readiness => self.readiness.as_ref(),
        }
    }

    fn get_mut(&mut self, probe: ProbeType) -> Option<&mut Prober> {
        match probe {
            ProbeType::Startup => self.startup.as_mut(),
            ProbeType::Liveness => self.liveness.as_mut(),
            ProbeType::Readiness => self.readiness.as_mut(),
        }
    }
}

/// Some part of a period, the same each time.
fn spread(whose: &impl Hash, probe: ProbeType, period: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (whose, probe).hash(&mut hasher);
    period.mul_f64((hasher.finish() % 1024) as f64 / 1024.0)
}
