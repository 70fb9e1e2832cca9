//! `cargo xtask dashboards`: writes what is in `dashboards/` from one description of it, in [`boards`] and [`alerts`]: what Grafana
//! imports, what Prometheus loads, what promtool tests, and what people read.
//!
//! With `--draw` it draws the pictures there, of what a test's Prometheus answered; those are the only files that are not the same
//! each time.

mod alerts;
mod boards;
mod described;
mod draw;
mod grafana;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace;
use alerts::{ALERTS, RECORDS};
use boards::BOARDS;

/// `cargo xtask dashboards`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also draw each dashboard, of the answers in this file
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
}

/// Runs the verb.
pub fn main(args: &Args) -> Result<()> {
    let directory = workspace::root().join("dashboards");
    for (name, text) in files() {
        write(&directory.join(name), &text)?;
    }
    if let Some(file) = &args.draw {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let answers: Value = serde_json::from_str(&text).context("the answers are no JSON")?;
        for board in BOARDS {
            let picture = draw::svg(board, &answers[board.name]);
            write(&directory.join(format!("{}.svg", board.name)), &picture)?;
        }
    }
    Ok(())
}

/// Every file that is the same each time, by its name.
fn files() -> Vec<(String, String)> {
    let boards = BOARDS.iter().map(|board| (format!("{}.json", board.name), grafana::json(board)));
    let others = [
        ("rules.yml", rules::rules(RECORDS, ALERTS)),
        ("rules-test.yml", rules::tests(ALERTS)),
        ("RUNBOOK.md", rules::runbook(ALERTS)),
    ];
    boards.chain(others.map(|(name, text)| (name.to_owned(), text))).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_checked_in_is_what_is_described() {
        let directory = workspace::root().join("dashboards");
        for (name, text) in files() {
            let found = fs::read_to_string(directory.join(&name)).unwrap_or_default();
            assert!(found == text, "dashboards/{name} is not current: run `cargo xtask dashboards`");
        }
        let readme = fs::read_to_string(directory.join("README.md")).unwrap();
        for board in BOARDS {
            let picture = format!("{}.svg", board.name);
            assert!(readme.contains(&format!("({picture})")), "README.md does not show {picture}");
            let drawn = fs::read_to_string(directory.join(&picture)).unwrap_or_default();
            for panel in board.rows.iter().flat_map(|row| row.panels) {
                let title = format!(">{}<", draw::escaped(panel.title));
                assert!(drawn.contains(&title), "dashboards/{picture} has no panel {}", panel.title);
            }
        }
    }

    #[test]
    fn nothing_has_two_names_and_every_alert_says_what_to_do() {
        let mut names = BTreeSet::new();
        for board in BOARDS {
            let panels = board.rows.iter().flat_map(|row| row.panels);
            panels.for_each(|panel| {
                assert!(names.insert((board.name, panel.title)), "{} twice in {}", panel.title, board.name);
                assert!(panel.about.ends_with('.') && !panel.queries.is_empty(), "{}", panel.title);
            });
            assert!(board.rows.iter().all(|row| (1..=3).contains(&row.panels.len())), "{}", board.name);
        }
        for alert in ALERTS {
            assert!(
                names.insert(("alert", alert.name)) && alert.name.starts_with("Podbox"),
                "{}",
                alert.name
            );
            assert!(!alert.steps.is_empty() && alert.means.ends_with('.'), "{}", alert.name);
        }
    }
}
