//! What the kernel counted, as metrics: copied from the BPF maps at each scrape.
//!
//! Counters are set to the map's own totals, so a lost event never falsifies a series. What is counted by container is written
//! as text, so that its series end when the container is forgotten: the recorder's never do. OOM victims are told for a day
//! longer, since who asks for them asks later. Text, too, are the histogram of zombies' lifetimes, which is in buckets in the
//! kernel already, and the programs' time, a counter of fractions of a second.

use crate::api::attribution::OomRole;
use crate::api::event::{OomLimit, signal_name};
use crate::metrics;
use crate::trace::{CapabilityReport, ContainerKey, Kind, LIFETIME_BOUNDS_NS, Loss, Snapshot, Totals};
use ::metrics::{counter, gauge};
use std::fmt::Write;

/// Sets the series of the node and its programs; returns the text of those that end with their containers, and of what the
/// recorder cannot hold.
pub fn record(snapshot: &Snapshot, oom_watched: bool) -> String {
    for (kind, count) in &snapshot.events {
        counter!(metrics::KERNEL_EVENTS, "kind" => kind_name(*kind)).absolute(*count);
    }
    for (kind, missed) in &snapshot.missed {
        counter!(metrics::KERNEL_EVENTS_MISSED, "kind" => kind_name(*kind)).absolute(*missed);
    }
    for (loss, count) in &snapshot.losses {
        counter!(metrics::BPF_DROPS, "kind" => loss_name(*loss)).absolute(*count);
    }
    counter!(metrics::BPF_DROPS, "kind" => "reaping").absolute(snapshot.unseen);
    for (source, compared) in snapshot.skew.by_source() {
        gauge!(metrics::KERNEL_SKEW, "source" => source).set(compared.differs as f64);
        gauge!(metrics::KERNEL_COMPARED, "source" => source).set(compared.containers as f64);
    }
    gauge!(metrics::KERNEL_UNWATCHED).set(snapshot.unwatched as f64);
    for cost in &snapshot.programs {
        counter!(metrics::BPF_RUNS, "program" => cost.program.clone()).absolute(cost.runs);
        counter!(metrics::BPF_SKIPPED, "program" => cost.program.clone()).absolute(cost.missed);
        gauge!(metrics::BPF_DETACHED, "program" => cost.program.clone()).set(0.0);
    }
    for program in &snapshot.detached {
        gauge!(metrics::BPF_DETACHED, "program" => program.clone()).set(1.0);
    }
    containers(snapshot, oom_watched) + &lifetimes(snapshot) + &run_seconds(snapshot)
}

/// Sets what can be told on this host, and what cannot.
pub fn signals(report: &CapabilityReport) {
    for capability in &report.signals {
        for state in ["live", "reduced", "absent"] {
            let is = f64::from(u8::from(capability.state() == state));
            gauge!(metrics::KERNEL_SIGNAL, "signal" => capability.signal.word(), "state" => state).set(is);
        }
    }
}

/// Counts by container, each with a label of its own: text, since the recorder keeps a series for ever.
fn containers(snapshot: &Snapshot, oom_watched: bool) -> String {
    let killed = || snapshot.past.iter().filter(|(_, totals)| totals.has_victims());
    let family = |name: &str, label: &str, rows: &dyn Fn(&Totals) -> Vec<(String, u64)>| {
        let mut text = metrics::family(name);
        let outlives = [metrics::OOM_VICTIMS, metrics::OOM_LIMITS].contains(&name);
        let past = outlives.then(killed).into_iter().flatten();
        for (container, totals) in snapshot.containers.iter().chain(past) {
            for (value, count) in rows(totals) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name}{{{},{label}=\"{value}\"}} {count}", labels(container));
            }
        }
        text
    };
    let codes = |totals: &Totals| {
        let stats = &totals.stats;
        vec![("zero".to_owned(), stats.exits_success), ("nonzero".to_owned(), stats.exits_error)]
    };
    let signals = |totals: &Totals| {
        let seen = totals.stats.exits_signal.iter().enumerate().filter(|(_, count)| **count > 0);
        seen.map(|(signal, count)| (signal_name(signal as u8).into_owned(), *count)).collect()
    };
    let roles = |totals: &Totals| {
        let roles = totals.oom_victims(oom_watched).into_iter();
        roles.map(|(role, count)| (role_name(role).to_owned(), count)).collect()
    };
    let limits = |totals: &Totals| {
        totals.oom_limits().map(|(limit, count)| (OomLimit::word(limit).to_owned(), count)).collect()
    };
    let senders =
        |totals: &Totals| totals.senders().map(|(origin, count)| (origin.word().to_owned(), count)).collect();
    let causes = |totals: &Totals| {
        totals.causes.iter().map(|(cause, count)| (cause.word().to_owned(), *count)).collect()
    };
    let mut zombies = metrics::family(metrics::ZOMBIES);
    for (container, totals) in &snapshot.containers {
        let _ = writeln!(zombies, "{}{{{}}} {}", metrics::ZOMBIES, labels(container), totals.zombies);
    }
    let mut pids = metrics::family(metrics::PIDS_UNTIL);
    let growing = snapshot.containers.iter().filter_map(|(name, totals)| Some((name, totals.pids_until?)));
    for (container, until) in growing {
        let _ = writeln!(pids, "{}{{{}}} {until}", metrics::PIDS_UNTIL, labels(container));
    }
    [
        family(metrics::EXITS, "code", &codes),
        family(metrics::SIGNAL_EXITS, "signal", &signals),
        family(metrics::SIGNAL_SENDERS, "sender", &senders),
        family(metrics::OOM_VICTIMS, "role", &roles),
        family(metrics::OOM_LIMITS, "limit", &limits),
        zombies,
        family(metrics::ZOMBIE_CAUSES, "cause", &causes),
        pids,
    ]
    .concat()
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Exit => "exit",
        Kind::Oom => "oom",
        Kind::Reap => "reap",
        Kind::Listen => "listen",
    }
}

fn loss_name(loss: Loss) -> &'static str {
    match loss {
        Loss::ExitEvent => "exit-event",
        Loss::OomEvent => "oom-event",
        Loss::ReapEvent => "reap-event",
        Loss::VictimRecord => "victim-record",
        Loss::DeadRecord => "dead-record",
        Loss::ListenEvent => "listen-event",
        Loss::EndRecord => "end-record",
        Loss::SentRecord => "sent-record",
    }
}

/// A counter of fractions, which the recorder does not have.
fn run_seconds(snapshot: &Snapshot) -> String {
    const NAME: &str = metrics::BPF_RUN_SECONDS;
    let mut text = metrics::family(NAME);
    for cost in &snapshot.programs {
        let _ = writeln!(text, "{NAME}{{program=\"{}\"}} {}", cost.program, cost.time.as_secs_f64());
    }
    text
}

/// Names of namespaces, pods and containers are DNS labels: nothing in them needs escaping.
fn labels(ContainerKey { namespace, pod, container }: &ContainerKey) -> String {
    format!("namespace=\"{namespace}\",pod=\"{pod}\",container=\"{container}\"")
}

fn role_name(role: OomRole) -> &'static str {
    match role {
        OomRole::Chosen => "chosen",
        OomRole::Group => "group",
        OomRole::Sharing => "sharing",
        OomRole::Exiting => "exiting",
        OomRole::Unknown => "unknown",
    }
}

fn lifetimes(snapshot: &Snapshot) -> String {
    const NAME: &str = metrics::ZOMBIE_LIFETIME_SECONDS;
    let mut text = metrics::family(NAME);
    for (container, totals) in &snapshot.containers {
        let labels = labels(container);
        let (stats, mut below) = (&totals.stats, 0);
        for (bound, count) in LIFETIME_BOUNDS_NS.iter().zip(&stats.lifetime_buckets) {
            below += count;
            let le = *bound as f64 / 1e9;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{NAME}_bucket{{{labels},le=\"{le}\"}} {below}");
        }
        let (all, sum) = (stats.reaped, stats.lifetime_sum_ns as f64 / 1e9);
        let _ = writeln!(text, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(text, "{NAME}_sum{{{labels}}} {sum}\n{NAME}_count{{{labels}}} {all}");
    }
    text
}
