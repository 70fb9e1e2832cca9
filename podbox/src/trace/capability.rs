//! What of the kernel's knowledge can be had on this host, by which backend, and what is lost. Pure data,
//! for `podbox doctor` and the log at start.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the reason begins for what was had and is not any more.
const DETACHED: &str = "detached: ";

/// One answer per signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapabilityReport {
    /// In a fixed order.
    pub signals: Vec<Capability>,
}

/// How one signal is had, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// What is to be known.
    pub signal: Signal,
    /// The hook that is live; `None` where there is none.
    pub backend: Option<&'static str>,
    /// Why it is not the best one, or not there at all; empty if all is well.
    pub reason: String,
    /// What podbox cannot say therefore; empty if all is well.
    pub lost: &'static str,
}

/// What the kernel can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Ends of processes.
    Exits,
    /// Who sent the signals that end processes.
    Senders,
    /// Victims of the OOM killer.
    OomVictims,
    /// Whose limit was hit, and why this victim.
    OomDecision,
    /// Reaping of the dead.
    Reaping,
    /// When containers' programs are executed.
    Executions,
    /// Sockets that listen.
    Listening,
    /// What becomes of a probe's connection.
    Connections,
    /// When a server takes a connection.
    Accepts,
    /// What the programs cost.
    ProgramCost,
    /// All of that while no podbox runs.
    Survival,
}

impl Signal {
    /// All of them, in the report's order.
    pub const ALL: [Signal; 11] = [
        Signal::Exits,
        Signal::Senders,
        Signal::OomVictims,
        Signal::OomDecision,
        Signal::Reaping,
        Signal::Executions,
        Signal::Listening,
        Signal::Connections,
        Signal::Accepts,
        Signal::ProgramCost,
        Signal::Survival,
    ];

    /// As metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Exits => "exits",
            Signal::Senders => "senders",
            Signal::OomVictims => "oom-victims",
            Signal::OomDecision => "oom-decision",
            Signal::Reaping => "reaping",
            Signal::Executions => "executions",
            Signal::Listening => "listening",
            Signal::Connections => "connections",
            Signal::Accepts => "accepts",
            Signal::ProgramCost => "program-cost",
            Signal::Survival => "survival",
        }
    }

    /// What podbox cannot say without it.
    fn lost(self) -> &'static str {
        match self {
            Signal::Exits => "exits of processes that are not PID 1 stay unseen",
            Signal::Senders => {
                "who killed a container stays unknown, as do OOM victims that only share another one's memory"
            }
            Signal::OomVictims => "containers killed for memory look like killed by SIGKILL",
            Signal::OomDecision => "an OOM victim's role, and whose limit was hit, stay unknown",
            Signal::Reaping => "zombies and their lifetimes stay unseen",
            Signal::Executions => "when a container's program began is the keeper's word only",
            Signal::Listening => {
                "containers become ready with their probe's next period, not as soon as they listen; when they first did stays unknown"
            }
            Signal::Connections => "which part of its time a probe spent where stays unknown",
            Signal::Accepts => {
                "the time that probes wait to be accepted is told as the application's; when a container first took a connection stays unknown"
            }
            Signal::ProgramCost => "the cost of the BPF programs stays unmeasured",
            Signal::Survival => {
                "what happens while podbox is down stays unseen, but for containers' own ends"
            }
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Exits => "process exits",
            Signal::Senders => "senders of signals",
            Signal::OomVictims => "OOM victims",
            Signal::OomDecision => "OOM limit and role",
            Signal::Reaping => "zombies reaped",
            Signal::Executions => "programs executed",
            Signal::Listening => "sockets that listen",
            Signal::Connections => "probes' connections",
            Signal::Accepts => "accept queues",
            Signal::ProgramCost => "BPF program cost",
            Signal::Survival => "records while podbox is down",
        })
    }
}

impl Capability {
    /// The best backend is live.
    pub fn live(signal: Signal, backend: &'static str) -> Capability {
        Capability { signal, backend: Some(backend), reason: String::new(), lost: "" }
    }

    /// A lesser backend is live.
    pub fn reduced(signal: Signal, backend: &'static str, reason: String, lost: &'static str) -> Capability {
        Capability { signal, backend: Some(backend), reason, lost }
    }

    /// How much of it there is, in a word.
    pub fn state(&self) -> &'static str {
        match (self.backend.is_some(), self.lost.is_empty()) {
            (true, true) => "live",
            (true, false) => "reduced",
            (false, _) => "absent",
        }
    }

    /// There is none.
    pub fn absent(signal: Signal, reason: String) -> Capability {
        Capability { signal, backend: None, reason, lost: signal.lost() }
    }
}

impl CapabilityReport {
    /// Nothing can be had, for one reason.
    pub fn nothing(reason: &str) -> CapabilityReport {
        CapabilityReport {
            signals: Signal::ALL.map(|signal| Capability::absent(signal, reason.to_owned())).into(),
        }
    }

    /// A program was detached, and with it what it told.
    pub fn detached(&mut self, program: &str, reason: &str) {
        let signal = match program {
            "signal_sent" => Signal::Senders,
            "process_exec" => Signal::Executions,
            "socket_state" => Signal::Listening,
            "connection_accepted" => Signal::Accepts,
            "zombie_freed" | "zombie_released" => Signal::Reaping,
            _ => return,
        };
        self.given_up(signal, &format!("{DETACHED}{reason}"));
    }

    /// The same, of a signal; nothing, if this is another reason.
    pub fn given_up(&mut self, signal: Signal, reason: &str) {
        if reason.starts_with(DETACHED) {
            self.lost(signal, reason.to_owned());
        }
    }

    /// It was had, and is not any more.
    pub fn lost(&mut self, signal: Signal, reason: String) {
        if let Some(found) = self.signals.iter_mut().find(|capability| capability.signal == signal) {
            *found = Capability::absent(signal, reason);
        }
    }

    /// The answer for one signal.
    pub fn get(&self, signal: Signal) -> Option<&Capability> {
        self.signals.iter().find(|capability| capability.signal == signal)
    }

    /// Whether a signal is had at all.
    pub fn has(&self, signal: Signal) -> bool {
        self.get(signal).is_some_and(|capability| capability.backend.is_some())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.signal, self.backend.unwrap_or("not available"))?;
        if !self.reason.is_empty() {
            write!(f, " ({}); {}", self.reason, self.lost)?;
        }
        Ok(())
    }
}

impl fmt::Display for CapabilityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signals.iter().try_for_each(|capability| writeln!(f, "{capability}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_lost_and_why() {
        let report = CapabilityReport::nothing("no BTF");
        assert_eq!(report.signals.len(), Signal::ALL.len());
        assert!(!report.has(Signal::Exits));
        let mut less =
            CapabilityReport { signals: vec![Capability::live(Signal::Senders, "tp_btf signal_generate")] };
        less.given_up(Signal::Senders, "something else");
        assert!(less.has(Signal::Senders));
        less.detached("signal_sent", "too dear");
        assert_eq!(less.signals, [Capability::absent(Signal::Senders, "detached: too dear".into())]);
        let reduced = Capability::reduced(Signal::Reaping, "x", "y".into(), "z");
        assert_eq!((reduced.state(), less.signals[0].state()), ("reduced", "absent"));
        assert_eq!(Capability::live(Signal::Exits, "x").state(), "live");
        let line = report.get(Signal::OomVictims).unwrap().to_string();
        assert_eq!(
            line,
            "OOM victims: not available (no BTF); containers killed for memory look like killed by SIGKILL"
        );
        assert_eq!(
            Capability::live(Signal::Exits, "tp_btf sched_process_exit").to_string(),
            "process exits: tp_btf sched_process_exit"
        );
    }
}
