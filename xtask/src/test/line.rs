//! Lines that tell of a test: libtest's, and our own out of a machine.

use super::report::Outcome;
use super::took::Took;

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The test.
    pub name: String,
    /// How it went; what a failed one said stands elsewhere.
    pub outcome: Outcome,
    /// How long it took, if that is told.
    pub took: Took,
}

/// Reads `test NAME ... ok`, with a time or without one, and the like.
pub fn parse(line: &str) -> Option<Line> {
    let (name, rest) = line.trim_start_matches("test ").split_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    if name.contains(' ') {
        return None;
    }
    let (word, rest) = rest.split_at(rest.find([' ', ',', ':']).unwrap_or(rest.len()));
    // `<0.003s>` is libtest's, `(0.0 s)` ours.
    let told = rest.trim_start();
    let took = match told.split_once([')', '>']) {
        Some((time, _)) if told.starts_with('(') => Took::parse(&time[1..]),
        Some((time, _)) if told.starts_with('<') => Took::parse(&time[1..].replace('s', " s")),
        _ => None,
    };
    let why = || rest.split_once([':', ',']).map_or("", |(_, why)| why).trim().to_owned();
    let outcome = match word {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed(String::new()),
        "ignored" => Outcome::Skipped(why()),
        "skipped" => Outcome::Skipped(rest.split_once("): ").map_or("", |(_, why)| why).to_owned()),
        _ => return None,
    };
    Some(Line { name: name.to_owned(), outcome, took: took.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(line: &str, name: &str, outcome: Outcome, ms: u64) {
        let took = Took::wall(Duration::from_millis(ms));
        assert_eq!(parse(line), Some(Line { name: name.to_owned(), outcome, took }), "{line}");
    }

    #[test]
    fn lines_of_libtest_and_of_our_own_are_read() {
        let skipped = |why: &str| Outcome::Skipped(why.to_owned());
        check("test a::b ... ok", "a::b", Outcome::Passed, 0);
        check("test a::b ... ok <0.250s>", "a::b", Outcome::Passed, 250);
        check("test a ... FAILED <2.000s>", "a", Outcome::Failed(String::new()), 2000);
        check("test a ... ignored, a measurement", "a", skipped("a measurement"), 0);
        check("net::a ... ok (1.5 s)", "net::a", Outcome::Passed, 1500);
        check("net::a ... skipped (0.0 s): it needs root: no", "net::a", skipped("it needs root: no"), 0);
        check("test a - should panic ... ok", "a", Outcome::Passed, 0);
        for other in ["running 3 tests", "and then ... what", "x ... y"] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn a_line_of_a_report_is_read_back_with_both_times() {
        let line = parse("net::a ... ok (1.5 s, cpu 0.5 s)").unwrap();
        assert_eq!(line.took.cpu, Some(Duration::from_millis(500)));
    }
}
