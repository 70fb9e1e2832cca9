//! The privileged tests in a virtual machine, all in one boot. Outside: a list of tests goes in, lines come out and become
//! outcomes as they come. Inside: this program again, which runs what the list says and prints a line for each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::isolated;
use super::line::{self, Line};
use super::report::{Outcome, Report};
use super::suite::{self, Test};
use crate::{vm, workspace};

/// The longest time all tests in a machine may take.
const LIMIT: Duration = Duration::from_secs(80 * 60);
/// Its memory; it takes only what it uses.
const MEMORY: &str = "4G";
/// As [`MEMORY`], in kB.
const MEMORY_KB: u64 = 4 << 20;
/// The last line of a run in a machine.
const END: &str = "--all tests have run--";
/// How many tests that did not run are named.
const NAMED: usize = 3;

/// Whether two machines fit on this host beside each other: one without KVM takes one processor.
pub fn two_fit() -> bool {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kb = available.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
        && kb.is_some_and(|kb| kb > 2 * MEMORY_KB)
}

/// Runs `tests` in a machine with a kernel of `series`, and adds their outcomes.
pub fn run(series: &str, tests: &[Test], report: &Report) -> Result<()> {
    report.say(series, &format!("booting a machine for {} tests ...", tests.len()));
    let list = workspace::vm().join(format!("tests-{}-{series}", std::process::id()));
    std::fs::write(&list, write(series, tests))
        .with_context(|| format!("cannot write {}", list.display()))?;
    let xtask = workspace::this_program()?;
    let words = [xtask.as_path(), Path::new("test"), Path::new("--inside"), &list];
    let machine = vm::Request {
        series: series.to_owned(),
        memory: MEMORY.to_owned(),
        timeout: isolated::limit(LIMIT),
        bin: workspace::target().join("debug"),
        command: words.iter().map(|word| word.display().to_string()).collect(),
    };
    let (output, input) = io::pipe().context("cannot make a pipe")?;
    let (status, seen) = thread::scope(|scope| {
        let reader = scope.spawn(|| Lines::new(series, report).read(output));
        let status = vm::run_into(&machine, File::from(OwnedFd::from(input)));
        (status, reader.join().unwrap_or_default())
    });
    std::fs::remove_file(&list).ok();
    complete(status?, &seen, tests)
}

/// An error unless the last line has come and every test is among those seen.
fn complete(status: i32, seen: &Seen, tests: &[Test]) -> Result<()> {
    let names = tests.iter().map(Test::full_name);
    let missing: Vec<String> = names.filter(|name| !seen.tests.contains(name)).collect();
    if seen.whole && status == 0 && missing.is_empty() {
        return Ok(());
    }
    let how = match status {
        129.. => format!("was ended by signal {}", status - 128),
        _ => format!("ended with status {status}"),
    };
    let named = missing.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    bail!("the run {how} before {} of {} tests; the first of these: {named}", missing.len(), tests.len())
}

/// What the lines of a machine told.
#[derive(Debug, Default)]
struct Seen {
    tests: Vec<String>,
    /// Whether [`END`] has come.
    whole: bool,
}

/// The lines of a machine, on their way to the report.
struct Lines<'a> {
    series: &'a str,
    report: &'a Report,
    /// A failed test, until all that it said has come.
    failed: Option<(Line, String)>,
    seen: Seen,
}

impl<'a> Lines<'a> {
    fn new(series: &'a str, report: &'a Report) -> Lines<'a> {
        Lines { series, report, failed: None, seen: Seen::default() }
    }

    fn read(mut self, output: impl Read) -> Seen {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            self.take(&String::from_utf8_lossy(&line));
        }
        self.flush();
        self.seen
    }

    fn take(&mut self, line: &str) {
        let told = line.strip_prefix(self.series).and_then(|rest| line::parse(rest.trim_start()));
        match told {
            Some(told) => {
                self.flush();
                if matches!(told.outcome, Outcome::Failed(_)) {
                    self.failed = Some((told, String::new()));
                } else {
                    self.add(told);
                }
            }
            None if line == END => {
                self.flush();
                self.seen.whole = true;
            }
            None => {
                if let Some((_, said)) = &mut self.failed {
                    said.push_str(line);
                    said.push('\n');
                }
            }
        }
    }

    fn flush(&mut self) {
        if let Some((mut line, said)) = self.failed.take() {
            line.outcome = Outcome::Failed(said);
            self.add(line);
        }
    }

    fn add(&mut self, line: Line) {
        self.report.add(self.series, &line.name, line.outcome, line.took);
        self.seen.tests.push(line.name);
    }
}

/// The list that goes into a machine.
fn write(series: &str, tests: &[Test]) -> String {
    let row = |test: &Test| format!("{}\t{}\t{}\n", test.target, test.path.display(), test.name);
    std::iter::once(format!("{series}\n")).chain(tests.iter().map(row)).collect()
}

/// Reads what [`write`] wrote.
fn read(text: &str) -> Option<(&str, Vec<Test>)> {
    let (series, rows) = text.split_once('\n')?;
    let test = |row: &str| {
        let mut fields = row.split('\t').map(str::to_owned);
        Some(Test { target: fields.next()?, path: fields.next()?.into(), name: fields.next()? })
    };
    Some((series, rows.lines().map(test).collect::<Option<_>>()?))
}

/// In the machine: runs the tests that the file lists, and prints their outcomes.
pub fn inside(list: &Path) -> Result<i32> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let (series, tests) = read(&text).with_context(|| format!("{} is no list of tests", list.display()))?;
    suite::run(series, &tests, 1, &Report::default());
    println!("{END}");
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(target: &str, name: &str) -> Test {
        Test { target: target.to_owned(), path: "/a b/c".into(), name: name.to_owned() }
    }

    fn seen(lines: &str, report: &Report) -> Seen {
        Lines::new("6.1", report).read(lines.as_bytes())
    }

    #[test]
    fn a_list_arrives_as_it_was_sent() {
        let tests = [test("net", "a::b"), test("oom", "c")];
        assert_eq!(read(&write("6.1", &tests)), Some(("6.1", tests.to_vec())));
        assert_eq!(read("6.1\nnet\n"), None);
    }

    #[test]
    fn what_a_failed_test_said_is_kept_with_it() {
        let report = Report::default();
        let lines = "6.1      net::a ... FAILED (1.0 s)\nwhy\n6.2 no\n6.1      net::b ... ok (0.5 s)\n";
        seen(lines, &report);
        let failed = Outcome::Failed("why\n6.2 no\n".to_owned());
        let expected = [("net::a".to_owned(), failed), ("net::b".to_owned(), Outcome::Passed)];
        assert_eq!(report.outcomes("6.1"), expected);
    }

    #[test]
    fn a_machine_that_went_down_in_the_middle_is_noticed() {
        let tests = [test("net", "a"), test("net", "b")];
        let report = Report::default();
        let half = seen("6.1      net::a ... ok (0.1 s)\n", &report);
        let error = complete(143, &half, &tests).unwrap_err().to_string();
        assert_eq!(error, "the run was ended by signal 15 before 1 of 2 tests; the first of these: net::b");
        let lines = "6.1      net::a ... ok (0.1 s)\n6.1      net::b ... FAILED (0.1 s)\n";
        complete(0, &seen(&format!("{lines}{END}\n"), &report), &tests).unwrap();
        complete(0, &seen(lines, &report), &tests).unwrap_err();
    }
}
