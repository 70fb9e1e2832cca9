//! How containers begin, from the map in which the kernel notes it: for whoever asks, and as a metric.
//!
//! The metric takes each moment once. Nothing wakes anybody for it: it is looked for when metrics are read, and before an entry
//! goes. What a container did before this podbox was there is no observation of this one.

use super::map::Plain;
use super::tracer::{NOEXIST, State};
use crate::api::startup::{Firsts, Stage};
use crate::metrics;
use podbox_common::Firsts as Raw;
use std::collections::HashMap;
use std::time::Duration;

/// Containers that have begun under this podbox's eyes, by cgroup, and what of that the metric has.
#[derive(Debug, Default)]
pub(super) struct Beginnings(HashMap<u64, Firsts>);

impl State {
    /// A container is to begin, or has begun already where not everything is settled yet.
    pub fn begin(&mut self, cgroup: u64) {
        let firsts = if self.settled { Raw::default() } else { Raw::MISSED };
        // One that is there is of this container already; where there is no room, nothing is known of it.
        if self.maps.firsts.insert(cgroup, Plain(firsts), NOEXIST).is_ok() && self.settled {
            self.beginnings.0.insert(cgroup, Firsts::default());
        }
    }

    /// What the container did for the first time.
    pub fn firsts(&self, cgroup: u64) -> Option<Firsts> {
        self.maps.firsts.get(&cgroup, 0).ok().map(|raw| firsts(&raw.0))
    }

    /// Brings the metric up to date.
    pub fn observe_beginnings(&mut self) {
        let mut beginnings = std::mem::take(&mut self.beginnings);
        beginnings.0.retain(|cgroup, told| {
            let Some(seen) = self.firsts(*cgroup) else { return false };
            spans(told, &seen).for_each(|(stage, took)| {
                ::metrics::histogram!(metrics::STARTUP_STAGE_SECONDS, "stage" => stage.name()).record(took);
            });
            *told = seen;
            // Most that do not listen never will, and are kept until they go.
            seen.accepted.is_none()
        });
        self.beginnings = beginnings;
    }
}

fn firsts(raw: &Raw) -> Firsts {
    let seen = |ns: u64| (ns != 0 && ns != Raw::MISSED_NS).then(|| Duration::from_nanos(ns));
    Firsts {
        cloned: seen(raw.cloned_ns),
        executed: seen(raw.exec_ns),
        listened: seen(raw.listen_ns),
        port: raw.port as u16,
        connected: seen(raw.connected_ns),
        accepted: seen(raw.accepted_ns),
        missed: raw.exec_ns == Raw::MISSED_NS,
    }
}

/// What is new, and how long it took from what comes before it.
fn spans(before: &Firsts, now: &Firsts) -> impl Iterator<Item = (Stage, Duration)> {
    let connected = now.connected.or(now.listened);
    let of = [
        (Stage::Exec, before.executed, now.cloned, now.executed),
        (Stage::Listen, before.listened, now.executed, now.listened),
        (Stage::Connect, before.connected, now.listened, now.connected),
        (Stage::Accept, before.accepted, connected, now.accepted),
    ];
    of.into_iter().filter_map(|(stage, told, from, to)| match told {
        Some(_) => None,
        None => Some((stage, to?.saturating_sub(from?))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_is_told_once_by_the_time_since_the_one_before() {
        let raw = Raw { cloned_ns: 1_000, exec_ns: 3_000, ..Raw::default() };
        let ran = firsts(&raw);
        let spans = |before: &Firsts, now: &Firsts| -> Vec<_> {
            super::spans(before, now).map(|(stage, took)| (stage.name(), took.as_nanos())).collect()
        };
        assert_eq!(spans(&Firsts::default(), &ran), [("exec", 2_000)]);
        assert_eq!(spans(&ran, &ran), []);
        let raw = Raw { listen_ns: 10_000, port: 80, connected_ns: 12_000, accepted_ns: 12_500, ..raw };
        let served = firsts(&raw);
        assert_eq!(served.port, 80);
        let expected = [("listen", 7_000), ("connect", 2_000), ("accept", 500)];
        assert_eq!(spans(&ran, &served), expected);
        let missed = firsts(&Raw::MISSED);
        assert!(missed.missed && missed.executed.is_none() && missed.accepted.is_none());
        // A kernel that does not tell of one of them.
        let unconnected = Firsts { connected: None, ..served };
        assert_eq!(spans(&ran, &unconnected), [("listen", 7_000), ("accept", 2_500)]);
    }
}
