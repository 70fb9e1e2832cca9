//! What the doctor found, as data, and how it reads. Pure.

use crate::api::error::chain;
use serde::Serialize;
use std::fmt::Write;

/// How a facility of the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Pods run, with something lost.
    Degraded,
    /// Not there.
    Missing,
}

/// One facility.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was seen, or why not.
    pub seen: String,
    /// What podbox cannot do therefore; empty if all is well.
    pub lost: String,
    /// What to do about it; empty if nothing can be, or need be.
    pub mend: String,
    /// No pod runs without it.
    pub essential: bool,
}

impl Finding {
    /// All is well.
    pub fn ok(name: &str, seen: impl Into<String>) -> Finding {
        let (lost, mend) = (String::new(), String::new());
        Finding { name: name.into(), state: State::Ok, seen: seen.into(), lost, mend, essential: false }
    }

    /// Pods run, but `lost`.
    pub fn degraded(name: &str, seen: impl Into<String>, lost: &str, mend: &str) -> Finding {
        Finding { state: State::Degraded, lost: lost.into(), mend: mend.into(), ..Finding::ok(name, seen) }
    }

    /// No pod can run.
    pub fn missing(name: &str, seen: impl Into<String>, lost: &str, mend: &str) -> Finding {
        let finding = Finding::degraded(name, seen, lost, mend);
        Finding { state: State::Missing, essential: true, ..finding }
    }

    /// What trying it came to: fine, or missing for the error and its causes.
    pub fn tried<T>(
        name: &str,
        result: Result<T, impl std::error::Error>,
        seen: impl FnOnce(T) -> String,
        (lost, mend): (&str, &str),
    ) -> Finding {
        match result {
            Ok(value) => Finding::ok(name, seen(value)),
            Err(error) => Finding::missing(name, chain(&error), lost, mend),
        }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether pods can run here.
    pub can_run: bool,
    /// One for each facility, in a fixed order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Sums up.
    pub fn new(findings: Vec<Finding>) -> Report {
        let can_run = !findings.iter().any(|finding| finding.essential && finding.state == State::Missing);
        Report { can_run, findings }
    }

    /// For people: a line for each facility, what is lost and how to mend it below.
    pub fn render(&self, colours: bool) -> String {
        let width = self.findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for finding in &self.findings {
            let state = paint(finding.state, colours);
            let _ = writeln!(text, "{state}  {:width$}  {}", finding.name, finding.seen);
            for (word, line) in [("lost", &finding.lost), ("mend", &finding.mend)] {
                if !line.is_empty() {
                    let _ =
                        writeln!(text, "{:indent$}{word}: {line}", "", indent = STATE_WIDTH + 2 + width + 2);
                }
            }
        }
        let _ = writeln!(text, "\n{}", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let names = |state| {
            let of = self.findings.iter().filter(|finding| finding.state == state);
            of.map(|finding| finding.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let degraded = names(State::Degraded);
        match (self.can_run, degraded.is_empty()) {
            (true, true) => "Pods can run here.".to_owned(),
            (true, false) => format!("Pods can run here, with less of: {degraded}."),
            (false, _) => format!("Pods cannot run here without: {}.", names(State::Missing)),
        }
    }
}

/// Width of the longest state.
const STATE_WIDTH: usize = 8;

fn paint(state: State, colours: bool) -> String {
    let (word, colour) = match state {
        State::Ok => ("ok", 32),
        State::Degraded => ("degraded", 33),
        State::Missing => ("missing", 31),
    };
    let padded = format!("{word:STATE_WIDTH$}");
    if colours { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Finding::ok("kernel", "6.12.0"),
            Finding::degraded("cpu controller", "not offered", "CPU limits", "boot with cgroup_no_v1=all"),
        ])
    }

    #[test]
    fn a_report_reads_in_aligned_lines() {
        let expected = "\
ok        kernel          6.12.0
degraded  cpu controller  not offered
                          lost: CPU limits
                          mend: boot with cgroup_no_v1=all

Pods can run here, with less of: cpu controller.
";
        assert_eq!(report().render(false), expected);
        assert!(report().render(true).contains("\x1b[33mdegraded\x1b[0m"));
    }

    #[test]
    fn one_essential_facility_missing_and_no_pod_runs() {
        let mut findings = report().findings;
        findings.push(Finding::missing("overlayfs", "no such device", "container roots", "modprobe overlay"));
        let report = Report::new(findings);
        assert!(!report.can_run);
        assert!(report.render(false).ends_with("Pods cannot run here without: overlayfs.\n"));
    }

    #[test]
    fn the_report_is_data_for_programs() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["can_run"], true);
        assert_eq!(json["findings"][1]["state"], "degraded");
    }
}
