//! What the kernel counted, as metrics: copied from the BPF maps at each scrape.
//!
//! Counters are set to the map's own totals, so a lost event never falsifies a series. The histogram of
//! zombies' lifetimes is already in buckets in the kernel; it is written as text, since the recorder takes
//! single observations only; so is the programs' time, a counter of fractions of a second.

use crate::metrics;
use crate::trace::{ContainerKey, Kind, LIFETIME_BOUNDS_NS, Loss, Snapshot, Totals};
use crate::{api::attribution::OomRole, api::event::signal_name};
use ::metrics::{Label, counter, gauge};
use std::fmt::Write;

/// Sets the series of all containers and programs; returns the histograms' text.
pub fn record(snapshot: &Snapshot, oom_watched: bool) -> String {
    for (container, totals) in &snapshot.containers {
        exits(container, totals);
        for (role, victims) in totals.oom_victims(oom_watched) {
            let mut labels = labels(container);
            labels.push(Label::new("role", role_name(role)));
            counter!(metrics::OOM_VICTIMS, labels).absolute(victims);
        }
        gauge!(metrics::ZOMBIES, labels(container)).set(totals.zombies as f64);
    }
    for (kind, count) in &snapshot.events {
        counter!(metrics::KERNEL_EVENTS, "kind" => kind_name(*kind)).absolute(*count);
    }
    for (kind, missed) in &snapshot.missed {
        counter!(metrics::KERNEL_EVENTS_MISSED, "kind" => kind_name(*kind)).absolute(*missed);
    }
    for (loss, count) in &snapshot.losses {
        counter!(metrics::BPF_DROPS, "kind" => loss_name(*loss)).absolute(*count);
    }
    gauge!(metrics::KERNEL_UNWATCHED).set(snapshot.unwatched as f64);
    for cost in &snapshot.programs {
        counter!(metrics::BPF_RUNS, "program" => cost.program.clone()).absolute(cost.runs);
    }
    lifetimes(snapshot) + &run_seconds(snapshot)
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

fn exits(container: &ContainerKey, totals: &Totals) {
    for (code, count) in [("zero", totals.stats.exits_success), ("nonzero", totals.stats.exits_error)] {
        let mut labels = labels(container);
        labels.push(Label::new("code", code));
        counter!(metrics::EXITS, labels).absolute(count);
    }
    let signals = totals.stats.exits_signal.iter().enumerate().filter(|(_, count)| **count > 0);
    for (signal, count) in signals {
        let mut labels = labels(container);
        labels.push(Label::new("signal", signal_name(signal as u8)));
        counter!(metrics::SIGNAL_EXITS, labels).absolute(*count);
    }
}

fn labels(container: &ContainerKey) -> Vec<Label> {
    vec![
        Label::new("namespace", container.namespace.clone()),
        Label::new("pod", container.pod.clone()),
        Label::new("container", container.container.clone()),
    ]
}

fn role_name(role: OomRole) -> &'static str {
    match role {
        OomRole::Chosen => "chosen",
        OomRole::Group => "group",
        OomRole::Exiting => "exiting",
        OomRole::Unknown => "unknown",
    }
}

/// Names of namespaces, pods and containers are DNS labels: nothing in them needs escaping.
fn lifetimes(snapshot: &Snapshot) -> String {
    const NAME: &str = metrics::ZOMBIE_LIFETIME_SECONDS;
    let mut text = metrics::family(NAME);
    for (ContainerKey { namespace, pod, container }, totals) in &snapshot.containers {
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\",container=\"{container}\"");
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
