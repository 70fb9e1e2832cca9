//! `podbox probes`: what came of each probe of late, how long it took, and which timeout would have done.

use super::pods::{self, short};
use super::table;
use crate::api::probed::{Enough, Probed, Row, Verdict};
use crate::config::Config;
use anyhow::bail;
use std::process::ExitCode;
use std::time::Duration;

/// Results that one line shows.
const SHOWN: usize = 30;
/// Each twice the time of the one before it; the last one ends at the timeout.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Arguments of `podbox probes`.
#[derive(Debug, clap::Args)]
pub struct ProbesArgs {
    /// Only this pod's: NAME or NAMESPACE/NAME
    pod: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table: a bar per result, taller for longer ones, x for a failure, ? for one that says nothing
    Text,
    /// A JSON array with every result and its phases
    Json,
}

/// Prints what the running podbox knows.
pub fn run(args: ProbesArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut rows: Vec<Row> = pods::ask(config, "/probes")?;
    if let Some(pod) = &args.pod {
        rows.retain(|row| pods::is(pod, &row.namespace, &row.pod));
        if rows.is_empty() {
            bail!("no probe of a pod {pod} was run here; `podbox probes` shows those that were");
        }
    }
    pods::print(&match args.output {
        Format::Json => pods::json(&rows)?,
        Format::Text => text(&rows),
    })
}

fn text(rows: &[Row]) -> String {
    const HEADER: &[&str] =
        &["POD", "CONTAINER", "PROBE", "RESULTS", "P50", "P90", "P99", "TIMEOUT", "WOULD DO"];
    let line = |row: &Row| {
        let percentile = |percent| row.percentile(percent).map_or_else(|| "-".into(), short);
        vec![
            format!("{}/{}", row.namespace, row.pod),
            row.container.clone(),
            row.probe.name().to_owned(),
            bars(row),
            percentile(50),
            percentile(90),
            percentile(99),
            short(Duration::from_millis(row.timeout_ms)),
            enough(row.enough()),
        ]
    };
    let lines: Vec<_> = rows.iter().map(line).collect();
    table::render(HEADER, &lines)
}

/// The latest results, the newest at the right.
fn bars(row: &Row) -> String {
    let from = row.results.len().saturating_sub(SHOWN);
    row.results.iter().skip(from).map(|result| bar(result, row.timeout_ms)).collect()
}

fn bar(result: &Probed, timeout_ms: u64) -> char {
    match result.verdict {
        Verdict::Failure => 'x',
        Verdict::Unknown => '?',
        Verdict::Success => {
            // How often the timeout can be halved until the time is above it.
            let halvings = (timeout_ms * 1000 / result.took_us.max(1)).checked_ilog2().unwrap_or(0) as usize;
            BARS[BARS.len() - 1 - halvings.min(BARS.len() - 1)]
        }
    }
}

fn enough(enough: Option<Enough>) -> String {
    match enough {
        None => "-".to_owned(),
        Some(Enough::Of(time)) => short(time),
        Some(Enough::Over(time)) => format!("over {}", short(time)),
        Some(Enough::Never) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::probe::ProbeType;

    fn row(pod: &str, results: &[(Verdict, u64)]) -> Row {
        Row { pod: pod.into(), ..crate::api::probed::tests::row(ProbeType::Readiness, results) }
    }

    #[test]
    fn a_bar_doubles_up_to_the_timeout() {
        use Verdict::{Failure, Success, Unknown};
        let results = [
            (Success, 100),
            (Success, 7_000),
            (Success, 300_000),
            (Success, 999_999),
            (Failure, 5),
            (Unknown, 5),
        ];
        assert_eq!(bars(&row("web", &results)), "▁▁▇█x?");
        let many: Vec<_> = (0..64).map(|_| (Success, 1)).collect();
        assert_eq!(bars(&row("web", &many)).chars().count(), SHOWN);
    }

    #[test]
    fn a_probe_is_a_line() {
        let rows = [row("web", &[(Verdict::Success, 400), (Verdict::Failure, 1_000_000)])];
        let text = text(&rows);
        let last = text.lines().last().unwrap();
        let words: Vec<_> = last.split_whitespace().collect();
        let expected = ["shop/web", "app", "readiness", "▁x", "400µs", "1s", "1s", "1s", "over", "1s"];
        assert_eq!(words, expected);
    }
}
