//! `podbox trace`: how a pod came up, stage by stage, as a waterfall.

use super::{pods, table};
use crate::api::startup::{Row, SeenBy, Waterfall};
use crate::config::Config;
use anyhow::bail;
use std::process::ExitCode;
use std::time::Duration;

/// How wide the whole way is.
const WIDTH: u64 = 40;

/// Arguments of `podbox trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The pod: NAME or NAMESPACE/NAME; also one that left this node of late
    pod: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line and a bar for each stage: when it began, how long it took, and whether the kernel or podbox says so
    Text,
    /// A JSON array, an object for each pod that has or had the name
    Json,
}

/// Prints what the running podbox knows.
pub fn run(args: &TraceArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut waterfalls: Vec<Waterfall> = pods::ask(config, "/starts")?;
    waterfalls.retain(|own| pods::is(&args.pod, &own.namespace, &own.pod));
    if waterfalls.is_empty() {
        bail!("nothing of a pod {} has been on this host since podbox started", args.pod);
    }
    pods::print(&match args.output {
        Format::Json => pods::json(&waterfalls)?,
        Format::Text => waterfalls.iter().map(text).collect::<Vec<_>>().join("\n"),
    })
}

fn text(waterfall: &Waterfall) -> String {
    let Waterfall { namespace, pod, uid, accepted, ready_us, stages } = waterfall;
    let accepted = match accepted {
        Some(at) => format!("accepted {at:.3}"),
        None => "accepted before this podbox began".to_owned(),
    };
    let ready = match ready_us {
        Some(micros) => format!(", ready after {}", micros_short(*micros)),
        None => String::new(),
    };
    let ends = stages.iter().filter_map(|row| Some(row.offset_us? + row.took_us?));
    let whole = ends.max().unwrap_or(0);
    let lines: Vec<_> = stages.iter().map(|row| line(row, whole)).collect();
    let header = ["STAGE", "CONTAINER", "BEGAN", "TOOK", "SEEN BY", "WATERFALL"];
    format!("pod {namespace}/{pod} ({uid}): {accepted}{ready}\n{}", table::render(&header, &lines))
}

fn line(row: &Row, whole: u64) -> Vec<String> {
    let micros = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), micros_short);
    let by = match row.seen_by {
        Some(SeenBy::Kernel) => "kernel",
        Some(SeenBy::Podbox) => "podbox",
        None => "-",
    };
    let bar = match (row.offset_us, row.took_us) {
        (Some(offset), Some(took)) => bar(offset, took, whole),
        _ => String::new(),
    };
    let bar = match (bar.is_empty(), row.remark.is_empty()) {
        (_, true) => bar,
        (true, false) => row.remark.clone(),
        (false, false) => format!("{bar} {}", row.remark),
    };
    vec![
        row.stage.to_string(),
        row.container.clone().unwrap_or_else(|| "-".to_owned()),
        micros(row.offset_us),
        micros(row.took_us),
        by.to_owned(),
        bar,
    ]
}

/// Where on the whole way; what takes no time is a stroke.
fn bar(offset: u64, took: u64, whole: u64) -> String {
    let place = |at: u64| (at * WIDTH).checked_div(whole).unwrap_or(0).min(WIDTH) as usize;
    let (from, to) = (place(offset).min(WIDTH as usize - 1), place(offset + took));
    match to.saturating_sub(from) {
        0 => format!("{}▏", " ".repeat(from)),
        wide => format!("{}{}", " ".repeat(from), "█".repeat(wide)),
    }
}

fn micros_short(micros: u64) -> String {
    pods::short(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::startup::Stage;

    #[test]
    fn each_stage_is_a_line_with_its_place_on_the_way() {
        let row = |stage, container: Option<&str>, offset: u64, took: u64| Row {
            stage,
            container: container.map(str::to_owned),
            began_ns: Some(0),
            offset_us: Some(offset),
            took_us: Some(took),
            seen_by: Some(SeenBy::Podbox),
            remark: String::new(),
        };
        let listen = Row {
            seen_by: Some(SeenBy::Kernel),
            remark: "port 80".into(),
            ..row(Stage::Listen, Some("app"), 50_000, 25_000)
        };
        let unknown = Row {
            began_ns: None,
            offset_us: None,
            took_us: None,
            seen_by: None,
            remark: "not yet".into(),
            ..row(Stage::Accept, Some("app"), 0, 0)
        };
        let waterfall = Waterfall {
            namespace: "shop".into(),
            pod: "web".into(),
            uid: "u-1".into(),
            accepted: Some(jiff::Timestamp::UNIX_EPOCH),
            ready_us: Some(100_000),
            stages: vec![
                row(Stage::Accepted, None, 0, 0),
                row(Stage::Image, Some("app"), 0, 50_000),
                listen,
                unknown,
                row(Stage::Ready, None, 0, 100_000),
            ],
        };
        let expected = "\
pod shop/web (u-1): accepted 1970-01-01T00:00:00.000Z, ready after 100ms
STAGE      CONTAINER   BEGAN   TOOK    SEEN BY   WATERFALL
accepted   -           0µs     0µs     podbox    ▏
image      app         0µs     50ms    podbox    ████████████████████
listen     app         50ms    25ms    kernel                        ██████████ port 80
accept     app         -       -       -         not yet
ready      -           0µs     100ms   podbox    ████████████████████████████████████████
";
        assert_eq!(text(&waterfall), expected);
    }

    #[test]
    fn a_bar_stays_within_the_way() {
        assert_eq!(bar(10, 0, 10).chars().count(), WIDTH as usize);
        assert_eq!(bar(0, 0, 0), "▏");
        assert_eq!(bar(9, 1, 10).trim_start().chars().count(), 4);
    }
}
