//! What becomes of one pod on a simulated node: what its node does next for it, and after which time. Pure.
//!
//! ```text
//!   bound ──▶ ContainerCreating ──start──▶ Running ──ready──▶ Ready ──run──▶ ended
//!                                             ▲                               │ it is of those that are started again
//!                                             └─────── CrashLoopBackOff ◀─────┘
//!                                             any of them, asked to go ──stop──▶ ended ──▶ out of the API
//! ```

use crate::api::object;
use crate::api::simulate::{Course, Span};
use crate::pod::pretend::{self, Deed, Stage};
use crate::pod::restart::{BACKOFF_BASE, BACKOFF_MAX, BACKOFF_RESET};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// With what containers end that are asked to: SIGTERM.
const ASKED: i32 = 143;

/// A pod, and how it fares.
pub struct Part<'a> {
    pod: &'a Value,
    course: Course,
    /// How long it takes to start, if it ever does.
    start: Option<Duration>,
    /// How long it takes then to be ready, if it ever is.
    ready: Option<Duration>,
}

impl<'a> Part<'a> {
    /// A pod's, which starts after so long if it does not say it.
    pub fn new(pod: &'a Value, start: Span) -> Part<'a> {
        let course = Course::of(pod);
        let usual = start.length().map(|start| start.mul_f64(0.5 + chance(object::uid(pod))));
        let start = course.start.map_or(usual, Span::length);
        let ready = course.ready.map_or_else(|| Some(initial_delay(pod)), Span::length);
        Part { pod, course, start, ready }
    }

    /// What its node does next for it, and after which time from when that came to be next.
    pub fn next(&self, now: SystemTime) -> Option<(Deed, Duration)> {
        let stage = match pretend::stage(self.pod) {
            // One that is never ready ends as any other.
            Some(Stage::Running) if self.ready.is_none() => Some(Stage::Ready),
            Some(Stage::Ready) if !object::deleting(self.pod) && !pretend::is_current(self.pod) => {
                return Some((Deed::Advance(Stage::Ready), Duration::ZERO));
            }
            stage => stage,
        };
        let run = self.course.runs(self.pod);
        let deed = pretend::deed(self.pod, stage, run.map(|_| self.course.exit))?;
        let wait = match deed {
            // Pods stay as they were bound, unless they say otherwise.
            Deed::Begin if self.start.is_none() && self.course.start.is_none() => return None,
            Deed::Begin => Duration::ZERO,
            Deed::Advance(Stage::Running) if matches!(stage, Some(Stage::BackOff(_))) => self.back_off(run),
            Deed::Advance(Stage::Starting | Stage::Running | Stage::BackOff(_)) => self.start?,
            Deed::Advance(Stage::Ready) => self.ready?,
            Deed::Advance(Stage::Ended(_)) => run?.saturating_sub(self.ran(now)),
            Deed::End => self.course.stop.min(grace(self.pod)),
            Deed::Remove => Duration::ZERO,
        };
        Some((deed, wait))
    }

    /// How far it has come once that is done, and how often its containers were started again; `None` if nothing is left of it.
    pub fn done(&self, deed: Deed) -> Option<(Stage, u32)> {
        let at_once = |wait: Option<Duration>| wait == Some(Duration::ZERO);
        let runs = || if at_once(self.ready) { Stage::Ready } else { Stage::Running };
        let restarts = restarts(self.pod);
        Some(match deed {
            Deed::Begin if at_once(self.start) => (runs(), restarts),
            Deed::Begin => (Stage::Starting, restarts),
            Deed::Advance(Stage::Running) => match pretend::stage(self.pod) {
                Some(Stage::BackOff(_)) => (runs(), restarts + 1),
                _ => (runs(), restarts),
            },
            Deed::Advance(Stage::Ended(code)) if self.starts_again(code) => (Stage::BackOff(code), restarts),
            Deed::Advance(stage) => (stage, restarts),
            Deed::End => (Stage::Ended(ASKED), restarts),
            Deed::Remove => return None,
        })
    }

    fn starts_again(&self, code: i32) -> bool {
        match self.pod["spec"]["restartPolicy"].as_str() {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        }
    }

    /// How long its containers, which ran so long, wait until they are started again: as under any kubelet.
    fn back_off(&self, run: Option<Duration>) -> Duration {
        match (restarts(self.pod), run) {
            (0, _) => Duration::ZERO,
            (_, Some(run)) if run >= BACKOFF_RESET => BACKOFF_BASE,
            (restarts, _) => BACKOFF_BASE.saturating_mul(1 << (restarts - 1).min(8)).min(BACKOFF_MAX),
        }
    }

    /// For how long its containers have run. Statuses have whole seconds: in doubt it is less.
    fn ran(&self, now: SystemTime) -> Duration {
        let started = self.pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].as_str();
        let ran = started.and_then(object::read_time).and_then(|at| now.duration_since(at).ok());
        ran.unwrap_or_default().saturating_sub(Duration::from_secs(1))
    }
}

fn restarts(pod: &Value) -> u32 {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let restarts = containers.filter_map(|one| one["restartCount"].as_u64()).max().unwrap_or(0);
    u32::try_from(restarts).unwrap_or(u32::MAX)
}

/// How long a pod's readiness probes wait before they ask first.
fn initial_delay(pod: &Value) -> Duration {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let delays = containers.filter_map(|one| one["readinessProbe"]["initialDelaySeconds"].as_u64());
    Duration::from_secs(delays.max().unwrap_or(0))
}

/// How long a pod may take to end that is asked to.
fn grace(pod: &Value) -> Duration {
    Duration::from_secs(pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0))
}

/// A number from 0 up to 1 that is always the same for a uid.
fn chance(uid: &str) -> f64 {
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 40) as f64 / f64::from(1 << 24)
}
