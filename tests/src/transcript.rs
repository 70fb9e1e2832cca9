//! Transcripts: commands as people type them, and what they print. Each is a test and an example at once.
//!
//! ```text
//! # a remark
//! $ kubectl create configmap colours --from-literal=sky=blue
//! configmap/colours created
//! $ kubectl get configmap colours
//! NAME     DATA  AGE
//! colours  1     …
//! $ kubectl get configmap shapes
//! Error from server (NotFound): configmaps "shapes" not found
//! [1]
//! ```
//!
//! A command may go on in lines that begin with `> `. Standard error counts as output. `…` stands for anything within a
//! line, and alone in a line for any lines. Two spaces and more count as two, for columns are as wide as their
//! contents. A remark follows an empty line. `[1]` is the exit status, unless it is 0. A command after `~$` is run again until it prints what it should.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::node::Node;
use crate::run::limit;
use crate::wait;

/// One command, and what it should print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    /// Again until it is as it should be.
    again: bool,
    expected: Vec<String>,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        let after_blank = std::mem::replace(&mut before, line).trim().is_empty();
        let start = |command: &str, again| Step {
            line: number + 1,
            command: command.to_owned(),
            again,
            expected: Vec::new(),
        };
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(start(command, false));
        } else if let Some(command) = line.strip_prefix("~$ ") {
            steps.push(start(command, true));
        } else if let Some(step) = steps.last_mut() {
            match line.strip_prefix("> ").or_else(|| (line == ">").then_some("")) {
                Some(more) if step.expected.is_empty() => {
                    step.command.push('\n');
                    step.command.push_str(more);
                }
                _ if after_blank && line.starts_with("# ") => {}
                _ => step.expected.push(line.to_owned()),
            }
        }
    }
    for step in &mut steps {
        trim(&mut step.expected);
    }
    steps
}

fn trim(lines: &mut Vec<String>) {
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
}

/// A line with its columns close together.
fn narrow(line: &str) -> String {
    let columns = line.trim_end().replace('\t', "  ");
    let mut narrow = String::new();
    let mut spaces = 0;
    for c in columns.chars() {
        spaces = if c == ' ' { spaces + 1 } else { 0 };
        if spaces <= 2 {
            narrow.push(c);
        }
    }
    narrow
}

/// Whether a line is as a pattern says.
fn line_matches(pattern: &str, line: &str) -> bool {
    let (pattern, line) = (narrow(pattern), narrow(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether lines are as patterns say.
fn matches(patterns: &[String], lines: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any.trim() == "…" => {
            (0..=lines.len()).any(|skip| matches(rest, &lines[skip..]))
        }
        Some((pattern, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| line_matches(pattern, line) && matches(rest, others)),
    }
}

/// What a command prints, and its exit status in brackets.
fn run(mut shell: Command, command: &str) -> Vec<String> {
    let script = format!("exec 2>&1; {command}");
    let output = shell.args(["-c", &script]).output().expect("bash is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    trim(&mut lines);
    match output.status.code() {
        Some(0) => {}
        Some(code) => lines.push(format!("[{code}]")),
        None => lines.push(format!("[{}]", output.status)),
    }
    lines
}

fn take(node: &Node, step: &Step) -> Vec<String> {
    let once = || run(node.client("bash"), &step.command);
    if !step.again {
        return once();
    }
    let mut last = Vec::new();
    let matched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::wait_until("it prints what it should", limit().max(Duration::from_secs(60)), || {
            last = once();
            matches(&step.expected, &last)
        });
    }));
    drop(matched);
    last
}

/// Plays a transcript against a node.
///
/// # Panics
/// When a command prints something else than it should; says all that differ.
#[track_caller]
pub fn play(node: &Node, file: &Path) {
    let text = std::fs::read_to_string(file).expect("the transcript is readable");
    let mut differences = String::new();
    for step in parse(&text) {
        let printed = take(node, &step);
        if !matches(&step.expected, &printed) {
            let (name, line) = (file.display(), step.line);
            let _ = writeln!(differences, "{name}:{line}: $ {}", step.command);
            for line in &step.expected {
                let _ = writeln!(differences, "  - {line}");
            }
            for line in &printed {
                let _ = writeln!(differences, "  + {line}");
            }
        }
    }
    assert!(differences.is_empty(), "{differences}\nthe node said:\n{}", node.complained());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(pattern: &str, printed: &str, expected: bool) {
        assert_eq!(matches(&lines(pattern), &lines(printed)), expected, "{pattern:?} {printed:?}");
    }

    #[test]
    fn patterns_stand_for_what_differs_each_time() {
        check("NAME  AGE\na  …", "NAME      AGE\na         3s", true);
        check("a  …", "b         3s", false);
        check("a … c", "a b c d", false);
        check("first\n…\nlast", "first\nx\ny\nlast", true);
        check("first\n…\nlast", "first\nlast", true);
        check("first\n…\nlast", "first\nx", false);
        check("", "x", false);
    }

    #[test]
    fn commands_go_on_and_say_their_exit_status() {
        let steps = parse("# remark\n$ cat <<E\n> a\n>\n> E\n# a\n\n# remark\n~$ false\n[1]\n");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].command, "cat <<E\na\n\nE");
        assert_eq!(steps[0].expected, ["# a"]);
        assert!(steps[1].again && steps[1].line == 9);
        assert_eq!(run(Command::new("bash"), "echo one; echo two >&2; false"), ["one", "two", "[1]"]);
    }
}
