//! Rules as Prometheus loads them, their tests as promtool runs them, and the runbook as people read it.

use std::fmt::Write;

use super::described::{Alert, Record, Severity};

/// How often rules are looked at in their tests.
const EVERY: &str = "1m";
/// What is computed once, and the alerts.
const GROUPS: [&str; 2] = ["podbox-records", "podbox-alerts"];

/// `rules.yml`.
pub fn rules(records: &[Record], alerts: &[Alert]) -> String {
    let [computed, looked_at] = GROUPS;
    let mut text = format!(
        "# Written by `cargo xtask dashboards`. RUNBOOK.md says of each alert what it means and what to do.\ngroups:\n\
         - name: {computed}\n  rules:\n"
    );
    for Record { name, expr } in records {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - record: {name}\n    expr: {}", quoted(expr));
    }
    let _ = writeln!(text, "- name: {looked_at}\n  rules:");
    for alert in alerts {
        let severity = word(alert.severity);
        let _ = writeln!(text, "  - alert: {}\n    expr: {}", alert.name, quoted(alert.expr));
        if !alert.lasts.is_empty() {
            let _ = writeln!(text, "    for: {}", alert.lasts);
        }
        let _ = writeln!(
            text,
            "    labels: {{severity: {severity}}}\n    annotations:\n      summary: {}\n      description: {}\n      runbook_url: {}",
            quoted(&templated(alert.summary)),
            quoted(first_step(alert)),
            quoted(&link(alert)),
        );
    }
    text
}

/// `rules-test.yml`.
pub fn tests(alerts: &[Alert]) -> String {
    // Without an order, promtool looks at the groups of one moment in any.
    let mut text = format!(
        "# Written by `cargo xtask dashboards`: `promtool test rules dashboards/rules-test.yml` runs it.\n\
         rule_files: [rules.yml]\nevaluation_interval: {EVERY}\ngroup_eval_order: [{}]\ntests:\n",
        GROUPS.join(", ")
    );
    for alert in alerts {
        let Alert { name, proof, .. } = alert;
        let _ = writeln!(text, "- name: {name}\n  interval: {EVERY}\n  input_series:");
        for (series, values) in proof.series {
            let _ = writeln!(text, "  - {{series: {}, values: {}}}", quoted(series), quoted(values));
        }
        let _ = writeln!(
            text,
            "  alert_rule_test:\n  - {{eval_time: {}, alertname: {name}, exp_alerts: []}}",
            proof.quiet
        );
        let _ = writeln!(
            text,
            "  - eval_time: {}\n    alertname: {name}\n    exp_alerts:\n    - exp_labels:",
            proof.due
        );
        for (label, value) in proof.labels {
            let _ = writeln!(text, "        {label}: {}", quoted(value));
        }
        let summary = filled(alert.summary, proof.labels);
        let _ = writeln!(
            text,
            "        severity: {}\n      exp_annotations:\n        summary: {}\n        description: {}\n        runbook_url: {}",
            word(alert.severity),
            quoted(&summary),
            quoted(first_step(alert)),
            quoted(&link(alert)),
        );
    }
    text
}

/// `RUNBOOK.md`.
pub fn runbook(alerts: &[Alert]) -> String {
    let mut text = String::from(
        "# Runbook\n\nWhat each alert of `rules.yml` means, and what to do, in this order. Written by `cargo xtask dashboards`.\n\n\
         podbox's log is what it writes on standard error: `journalctl -u podbox` where systemd runs it. `PODBOX_LOG=info` in its\n\
         environment makes it tell more (`podbox --help`).\n",
    );
    for alert in alerts {
        let Alert { name, expr, lasts, severity, means, steps, .. } = alert;
        let lasts = if lasts.is_empty() { String::new() } else { format!(", for {lasts}") };
        let _ = writeln!(text, "\n## {name}\n\n{means}\n");
        for (index, step) in steps.iter().enumerate() {
            let _ = writeln!(text, "{}. {step}", index + 1);
        }
        let _ = writeln!(text, "\n_{}{lasts}_: `{expr}`", word(*severity));
    }
    text
}

/// What to do first: receivers show a description below the summary.
fn first_step(alert: &Alert) -> &'static str {
    alert.steps.first().copied().unwrap_or_default()
}

/// Where the runbook is read: receivers make a link of it.
fn link(alert: &Alert) -> String {
    let repository = env!("CARGO_PKG_REPOSITORY");
    format!("{repository}/blob/main/dashboards/RUNBOOK.md#{}", alert.name.to_lowercase())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// `{pod}` as Prometheus' templates have it.
fn templated(text: &str) -> String {
    text.replace('{', "{{ $labels.").replace('}', " }}")
}

fn filled(text: &str, labels: &[(&str, &str)]) -> String {
    labels.iter().fold(text.to_owned(), |text, (label, value)| text.replace(&format!("{{{label}}}"), value))
}

/// A text of YAML in single quotes: nothing in it means anything but two of them.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_filled_in_and_quotes_doubled() {
        assert_eq!(templated("{pod} ends"), "{{ $labels.pod }} ends");
        assert_eq!(filled("{pod} of {namespace}", &[("pod", "p"), ("namespace", "n")]), "p of n");
        assert_eq!(quoted("a 'b'"), "'a ''b'''");
    }
}
