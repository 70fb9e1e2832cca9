//! How containers begin, from the map in which the kernel notes it: for whoever asks, and as a metric.
//!
//! Every program of the host that is executed passes by `process_exec`, and pays for it. So that one is attached only from when a
//! container is registered, which is before its first process is there, until all that are registered have executed something.
//!
//! The metric takes each moment once. Nothing wakes anybody for it: it is looked for when metrics are read, and before an entry
//! goes. What a container did before this podbox was there is no observation of this one.

use super::capability::Signal;
use super::load::{EXECUTIONS, pick};
use super::map::Plain;
use super::tracer::{NOEXIST, State, Tracer, lock};
use crate::api::error::chain;
use crate::api::startup::{Firsts, Stage};
use crate::{clock, limits, metrics};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, ProgramError};
use podbox_common::Firsts as Raw;
use std::collections::HashMap;
use std::time::Duration;

/// Containers that have begun under this podbox's eyes, by cgroup, and what of that the metric has.
#[derive(Debug, Default)]
pub(super) struct Beginnings(HashMap<u64, Firsts>);

/// The watch over programs that are executed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// While it is kept.
    link: Option<BtfTracePointLinkId>,
    /// When a container was last about to begin, since boot.
    asked: Duration,
}

impl State {
    /// A container is to begin, or has begun already where not everything is settled yet.
    pub fn begin(&mut self, cgroup: u64) {
        let firsts = if self.settled { Raw::default() } else { Raw::MISSED };
        // One that is there is of this container already; where there is no room, nothing is known of it.
        if self.maps.firsts.insert(cgroup, Plain(firsts), NOEXIST).is_ok() && self.settled {
            self.beginnings.0.insert(cgroup, Firsts::default());
        }
        // Nobody watched executions while no podbox ran: one may have been missed, and the next is not the first.
        if !self.settled
            && let Ok(Plain(raw)) = self.maps.firsts.get(&cgroup, 0)
            && raw.exec_ns == 0
        {
            let missed = Raw { cloned_ns: Raw::MISSED_NS, exec_ns: Raw::MISSED_NS, ..raw };
            let _ = self.maps.firsts.insert(cgroup, Plain(missed), 0);
        }
    }

    /// What the container did for the first time.
    pub fn firsts(&self, cgroup: u64) -> Option<Firsts> {
        self.maps.firsts.get(&cgroup, 0).ok().map(|raw| firsts(&raw.0))
    }

    /// Some container has been registered, and executed nothing yet.
    fn is_awaited(&self) -> bool {
        let live = self.register.entries().filter(|(_, entry)| entry.removed.is_none());
        let mut unseen = live.filter_map(|(cgroup, _)| self.maps.firsts.get(&cgroup, 0).ok());
        unseen.any(|firsts| firsts.0.exec_ns == 0)
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

impl Tracer {
    /// Sees programs executed from now on: a container that is in the register by now is about to begin.
    pub(super) fn watch_executions(&self) {
        let mut watch = lock(&self.executions);
        watch.asked = clock::boot();
        if watch.link.is_some() || !lock(&self.report).has(Signal::Executions) {
            return;
        }
        match self.with_executions(|program| program.attach()) {
            Ok(link) => watch.link = Some(link),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!("when containers' programs begin stays unseen: {error}");
                lock(&self.report).lost(Signal::Executions, error);
            }
        }
    }

    /// Does so no more where all that were to begin have begun, or are gone. Not at once: who attaches again just after
    /// detaching waits for the kernel.
    pub(super) fn rest_from_executions(&self, now: Duration) {
        // Held to the end: whoever registers a container meanwhile finds nothing attached, and attaches.
        let mut watch = lock(&self.executions);
        let lately = now.saturating_sub(watch.asked) < limits::EXECUTIONS_WATCHED;
        if watch.link.is_none() || lately || lock(&self.state).is_awaited() {
            return;
        }
        if let Some(link) = watch.link.take()
            && let Err(error) = self.with_executions(|program| program.detach(link))
        {
            tracing::debug!("the BPF program {EXECUTIONS} was detached already: {}", chain(&error));
        }
    }

    fn with_executions<T>(
        &self,
        action: impl FnOnce(&mut BtfTracePoint) -> Result<T, ProgramError>,
    ) -> Result<T, ProgramError> {
        action(pick(&mut lock(&self.ebpf), EXECUTIONS)?)
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
