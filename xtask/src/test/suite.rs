//! The privileged tests: each is run by itself, in network and mount namespaces of its own, so that the host's are never
//! touched and no test sees another's traces. The same code runs them on the host and, called again, in a machine.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::report::{Outcome, Report};
use super::stages::Binary;
use crate::{clock, vm, workspace};

/// The longest time one test may take, on a machine without KVM too.
const LIMIT: Duration = Duration::from_secs(300);
/// What each round adds to that in a soak; see `tests/src/rounds.rs`.
const ROUND_LIMIT: Duration = Duration::from_secs(30);
/// How often a running test is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The longest time all tests in a machine may take.
const MACHINE_LIMIT: Duration = Duration::from_secs(25 * 60);
/// What a test prints before its name if it can't run here.
const SKIPPED: &str = "SKIPPED ";

/// Runs the tests of `binaries` whose names contain one of `filter`, and adds their outcomes.
pub fn run(stage: &str, binaries: &[Binary], filter: &[String], report: &mut Report) {
    for binary in binaries {
        match list(&binary.path) {
            Err(error) => report.add(stage, &binary.name, Outcome::failed(&error)),
            Ok(tests) => {
                for test in tests {
                    let name = format!("{}::{test}", binary.name);
                    if filter.is_empty() || filter.iter().any(|part| name.contains(part)) {
                        let outcome = one(stage, &binary.path, &test);
                        report.add(stage, &name, outcome.unwrap_or_else(|error| Outcome::failed(&error)));
                    }
                }
            }
        }
    }
}

/// The names of the tests in a program; those marked `ignore` are not for us.
fn list(binary: &Path) -> Result<Vec<String>> {
    let names = |more: &[&str]| -> Result<Vec<String>> {
        let text = workspace::output(Command::new(binary).args(["--list", "--format", "terse"]).args(more))?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = names(&["--ignored"])?;
    Ok(names(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}

/// Runs one test.
fn one(stage: &str, binary: &Path, test: &str) -> Result<Outcome> {
    let mut said = unnamed()?;
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        r#"ip link set lo up; exec "$@""#,
        "sh",
    ]);
    command.arg(binary).args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command
        .env("PODBOX_TEST_LEVEL", if stage == "host" { "host" } else { "vm" })
        .env("PATH", workspace::search_path(&workspace::target().join("debug"))?)
        .current_dir(workspace::root());
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).process_group(0);
    let ended = wait(&mut command)?;
    let mut text = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut text)?;
    Ok(judge(ended, &String::from_utf8_lossy(&text)))
}

/// Waits for the test's end; `None` if it took too long and was killed, with all that it had started in its group.
fn wait(command: &mut Command) -> Result<Option<ExitStatus>> {
    let mut child = command.spawn().context("cannot start unshare")?;
    let start = clock::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::now().saturating_duration_since(start) > limit(LIMIT) {
            let group = Pid::from_raw(i32::try_from(child.id()).context("no such process id")?);
            killpg(group, Signal::SIGKILL).ok();
            child.wait()?;
            return Ok(None);
        }
        sleep(LOOK);
    }
}

/// `usual`, and more where a soak asks for many rounds.
fn limit(usual: Duration) -> Duration {
    let rounds = std::env::var("PODBOX_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    usual.saturating_add(ROUND_LIMIT.saturating_mul(rounds.unwrap_or(0)))
}

/// A file without a name: unlike a pipe, it doesn't stay open for us if a test leaves a process behind.
fn unnamed() -> Result<File> {
    let path = std::env::temp_dir().join(format!("podbox-test-{}", std::process::id()));
    let file = File::options().create_new(true).read(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What the test's end and its words come to.
fn judge(ended: Option<ExitStatus>, said: &str) -> Outcome {
    let skipped = said.lines().find_map(|line| line.split_once(SKIPPED)?.1.split_once(": "));
    match ended {
        None => Outcome::Failed(format!("took more than {} s\n{said}", limit(LIMIT).as_secs())),
        Some(status) if !status.success() => Outcome::Failed(said.to_owned()),
        Some(_) => skipped.map_or(Outcome::Passed, |(_, why)| Outcome::Skipped(why.to_owned())),
    }
}

/// Runs the tests in a machine with a kernel of `series`, all in one boot.
pub fn in_vm(series: &str, binaries: &[Binary], filter: &[String], report: &mut Report) -> Result<()> {
    let list = workspace::vm().join(format!("tests-{}-{series}", std::process::id()));
    let lines: Vec<String> =
        binaries.iter().map(|binary| format!("{}\t{}", binary.name, binary.path.display())).collect();
    std::fs::write(&list, format!("{series}\t{}\n{}\n", filter.join("\t"), lines.join("\n")))?;
    let results = workspace::vm().join(format!("results-{}-{series}", std::process::id()));
    let xtask = workspace::this_program()?;
    let words = [xtask.as_path(), Path::new("test"), Path::new("--inside"), &list];
    let machine = vm::Request {
        series: series.to_owned(),
        memory: "4G".to_owned(),
        timeout: limit(MACHINE_LIMIT),
        bin: workspace::target().join("debug"),
        command: words.iter().map(|word| word.display().to_string()).collect(),
    };
    // The machine's lines are the results: they are shown as they come and read back once it has ended.
    let ended = vm::run_into(&machine, File::create(&results).context("cannot keep the results")?);
    std::fs::remove_file(&list).ok();
    let lines = BufReader::new(File::open(&results)?).lines().map_while(Result::ok);
    let count = collect(series, lines, report);
    std::fs::remove_file(&results).ok();
    ended?;
    anyhow::ensure!(count.is_some(), "the machine ended before all tests had run");
    Ok(())
}

/// Adds the outcomes that the lines tell; `None` if their last line is missing.
fn collect(series: &str, lines: impl Iterator<Item = String>, report: &mut Report) -> Option<()> {
    let mut whole = None;
    let mut failed: Option<(String, String)> = None;
    for line in lines {
        let row = line.strip_prefix(series).and_then(|rest| parse(rest.trim_start()));
        if (row.is_some() || line == END)
            && let Some((name, said)) = failed.take()
        {
            report.record(series, &name, Outcome::Failed(said));
        }
        match row {
            Some((name, Outcome::Failed(_))) => failed = Some((name, String::new())),
            Some((name, outcome)) => report.record(series, &name, outcome),
            None if line == END => whole = Some(()),
            None => {
                if let Some((_, said)) = &mut failed {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        }
    }
    if let Some((name, said)) = failed {
        report.record(series, &name, Outcome::Failed(said));
    }
    whole
}

/// The last line of a run in a machine.
const END: &str = "--all tests have run--";

/// In the machine: runs the tests that the file lists, and prints their outcomes.
pub fn inside(list: &Path) -> Result<i32> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut lines = text.lines();
    let mut head = lines.next().context("an empty list")?.split('\t');
    let series = head.next().context("no kernel series")?;
    let filter: Vec<String> = head.filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let binaries: Vec<Binary> = lines
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, path)| Binary { name: name.to_owned(), path: path.into() })
        .collect();
    run(series, &binaries, &filter, &mut Report::default());
    println!("{END}");
    Ok(0)
}

/// The test and outcome that a line of libtest's, or of [`Report::add`]'s, tells: `test NAME ... ok`.
pub fn parse(line: &str) -> Option<(String, Outcome)> {
    let (name, word) = line.trim_start_matches("test ").split_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    let outcome = match word.split_once(['.', ',', ':', ' ']).map_or(word, |(first, _)| first) {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed(String::new()),
        "skipped" | "ignored" => {
            let why = word.split_once([':', ',']).map_or("", |(_, why)| why);
            Outcome::Skipped(why.trim().to_owned())
        }
        _ => return None,
    };
    (!name.contains(' ')).then(|| (name.to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_test_that_says_so_is_skipped_with_its_reason() {
        let status = Some(ExitStatus::from_raw(0));
        let said = "running 1 test\ntest a ... SKIPPED a: it needs a memory controller\nok\n";
        assert_eq!(judge(status, said), Outcome::Skipped("it needs a memory controller".to_owned()));
        assert_eq!(judge(status, "test a ... ok"), Outcome::Passed);
    }

    #[test]
    fn a_failure_is_one_even_if_it_says_skipped() {
        let failed = judge(Some(ExitStatus::from_raw(101 << 8)), "SKIPPED a: no\npanicked");
        assert!(matches!(failed, Outcome::Failed(said) if said.contains("panicked")));
        assert!(matches!(judge(None, ""), Outcome::Failed(said) if said.contains("300 s")));
    }

    #[test]
    fn lines_of_libtest_and_of_our_own_are_read() {
        let skipped = |why: &str| Outcome::Skipped(why.to_owned());
        assert_eq!(parse("test a::b ... ok"), Some(("a::b".to_owned(), Outcome::Passed)));
        assert_eq!(
            parse("test a ... ignored, a measurement"),
            Some(("a".to_owned(), skipped("a measurement")))
        );
        assert_eq!(
            parse("net::a ... skipped: it needs root"),
            Some(("net::a".to_owned(), skipped("it needs root")))
        );
        assert_eq!(parse("test a - should panic ... ok"), Some(("a".to_owned(), Outcome::Passed)));
        assert_eq!(parse("running 3 tests"), None);
        assert_eq!(parse("and then ... what"), None);
    }

    #[test]
    fn a_machine_that_went_down_in_the_middle_is_noticed() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
        let mut report = Report::default();
        assert_eq!(
            collect("6.1", lines("6.1      net::a ... ok\n6.1      net::b ... FAILED\nwhy\n"), &mut report),
            None
        );
        assert_eq!(collect("6.1", lines(&format!("6.1      net::a ... ok\n{END}\n")), &mut report), Some(()));
        assert_eq!(report.close(), 1);
    }
}
