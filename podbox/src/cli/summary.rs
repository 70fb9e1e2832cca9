//! What `podbox run` closes with: what the kernel saw of each container.

use super::table;
use crate::api::attribution::OomRole;
use crate::api::event::signal_name;
use crate::daemon::Daemon;
use crate::trace::{LIFETIME_BOUNDS_NS, Snapshot, Totals};
use std::fmt::Write;

const HEADER: &[&str] =
    &["CONTAINER", "PROCESSES", "EXIT 0", "EXIT >0", "BY SIGNAL", "OOM VICTIMS", "ZOMBIES' LIFETIMES"];

/// Prints it.
pub fn print(daemon: &Daemon) {
    match &daemon.tracer {
        Some(tracer) => print!("{}", render(&tracer.snapshot(), tracer.oom_watched())),
        None => println!(
            "\nThe kernel was not watched: no BPF program could be loaded (`podbox doctor` says why)."
        ),
    }
}

fn render(snapshot: &Snapshot, oom_watched: bool) -> String {
    let mut rows: Vec<Vec<String>> = snapshot
        .with_past()
        .map(|(container, totals)| {
            let name = format!("{}/{} {}", container.namespace, container.pod, container.container);
            row(name, totals, oom_watched)
        })
        .collect();
    rows.sort();
    let mut text = format!("\nWhat the kernel saw\n\n{}", table::render(HEADER, &rows));
    let lost: u64 = snapshot.losses.iter().map(|(_, count)| count).sum();
    // Writing to a String cannot fail.
    let _ = match lost {
        0 => writeln!(text, "\nNo record was lost."),
        lost => writeln!(
            text,
            "\n{lost} records were lost in the kernel; the counts above are exact all the same."
        ),
    };
    text
}

fn row(name: String, totals: &Totals, oom_watched: bool) -> Vec<String> {
    let stats = &totals.stats;
    let signalled: u64 = stats.exits_signal.iter().sum();
    let ended = stats.exits_success + stats.exits_error + signalled;
    vec![
        name,
        ended.to_string(),
        stats.exits_success.to_string(),
        stats.exits_error.to_string(),
        or_dash(by_signal(&stats.exits_signal)),
        or_dash(victims(totals, oom_watched)),
        or_dash(lifetimes(totals)),
    ]
}

fn or_dash(parts: Vec<String>) -> String {
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

fn by_signal(counts: &[u64]) -> Vec<String> {
    let seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    seen.map(|(signal, count)| format!("{count} {}", signal_name(signal as u8))).collect()
}

fn victims(totals: &Totals, oom_watched: bool) -> Vec<String> {
    let word = |role| match role {
        OomRole::Chosen => "chosen",
        OomRole::Group => "in the group",
        OomRole::Sharing => "sharing memory",
        OomRole::Exiting => "already exiting",
        OomRole::Unknown => "role unknown",
    };
    let roles = totals.oom_victims(oom_watched).into_iter().filter(|(_, count)| *count > 0);
    roles.map(|(role, count)| format!("{count} {}", word(role))).collect()
}

/// Every process is a zombie for a moment; of interest are the average and those that stayed.
fn lifetimes(totals: &Totals) -> Vec<String> {
    let stats = &totals.stats;
    let mut parts = Vec::new();
    if let Some(mean_ns) = stats.lifetime_sum_ns.checked_div(stats.reaped) {
        parts.push(format!("mean {:.1} ms", mean_ns as f64 / 1e6));
    }
    let second = LIFETIME_BOUNDS_NS.iter().take_while(|bound| **bound <= 1_000_000_000).count();
    let long: u64 = stats.lifetime_buckets.iter().skip(second).sum();
    if long > 0 {
        parts.push(format!("{long} over 1 s"));
    }
    if totals.zombies > 0 {
        parts.push(format!("{} unreaped", totals.zombies));
    }
    parts
}
