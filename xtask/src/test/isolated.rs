//! One privileged test, in network and mount namespaces of its own: the host's are never touched, and no test sees
//! another's traces. Its words go to memory, its time is limited, and what it started in its process group ends with it.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::report::Outcome;
use super::said;
use super::took::{self, Took};
use crate::{clock, workspace};

/// The longest time one test may take, on a machine without KVM too.
const LIMIT: Duration = Duration::from_secs(600);
/// What each round adds to that in a soak (see `tests/src/rounds.rs`), and each of the kernel's scenarios.
const ROUND_LIMIT: Duration = Duration::from_secs(30);
const SCENARIO_LIMIT: Duration = Duration::from_secs(10);
/// How often a running test is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What a test prints before its name if it would be skipped in a machine.
const HOST_ONLY: &str = "HOST ONLY ";

/// How a test went.
pub struct Ran {
    /// As it says.
    pub outcome: Outcome,
    /// Whether no kernel changes what it tests: a machine need not repeat it.
    pub host_only: bool,
    /// How long it took.
    pub took: Took,
}

/// Runs the test `name` of the program `path`.
pub fn run(path: &Path, name: &str, on_host: bool) -> Result<Ran> {
    let mut said =
        File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).context("no memory for its output")?);
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private"]);
    command.args(["sh", "-c", r#"ip link set lo up; exec "$@""#, "sh"]);
    command.arg(path).args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command
        .env("PODBOX_TEST_LEVEL", if on_host { "host" } else { "vm" })
        .env("PATH", workspace::search_path(&workspace::target().join("debug"))?)
        .current_dir(workspace::root());
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).process_group(0);
    let start = clock::now();
    let child = command.spawn().context("cannot start unshare")?;
    let (ended, cpu) = wait(child)?;
    let took = Took { wall: clock::now().saturating_duration_since(start), cpu };
    let mut text = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let host_only = text.lines().any(|line| line.contains(HOST_ONLY));
    Ok(Ran { outcome: judge(ended, &text), host_only, took })
}

/// Waits for the test's end; no status if it took too long and was killed, with all that it had started in its group.
fn wait(mut child: Child) -> Result<(Option<ExitStatus>, Option<Duration>)> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("no such process id")?);
    let start = clock::now();
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        if waitid(Id::Pid(pid), look)? != WaitStatus::StillAlive {
            let cpu = took::cpu_of(child.id());
            return Ok((Some(child.wait()?), cpu));
        }
        if clock::now().saturating_duration_since(start) > limit(LIMIT) {
            killpg(pid, Signal::SIGKILL).ok();
            child.wait()?;
            return Ok((None, None));
        }
        sleep(LOOK);
    }
}

/// `usual`, and more where a soak asks for many rounds or scenarios.
pub fn limit(usual: Duration) -> Duration {
    let asked = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(0);
    let rounds = ROUND_LIMIT.saturating_mul(asked("PODBOX_ROUNDS"));
    let scenarios = SCENARIO_LIMIT.saturating_mul(asked("PODBOX_SCENARIOS"));
    usual.saturating_add(rounds.max(scenarios))
}

/// What the test's end and its words come to.
fn judge(ended: Option<ExitStatus>, words: &str) -> Outcome {
    let skipped = words.lines().find_map(said::skip);
    match ended {
        None => Outcome::Failed(format!("took more than {} s\n{words}", limit(LIMIT).as_secs())),
        Some(status) if !status.success() => Outcome::Failed(words.to_owned()),
        Some(_) => skipped.map_or(Outcome::Passed, |(_, why)| Outcome::Skipped(why.to_owned())),
    }
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
        assert_eq!(judge(status, "test a ... HOST ONLY a\nok"), Outcome::Passed);
    }

    #[test]
    fn a_failure_is_one_even_if_it_says_skipped() {
        let failed = judge(Some(ExitStatus::from_raw(101 << 8)), "SKIPPED a: no\npanicked");
        assert!(matches!(failed, Outcome::Failed(said) if said.contains("panicked")));
        assert!(matches!(judge(None, ""), Outcome::Failed(said) if said.contains("600 s")));
    }

    #[test]
    fn a_test_that_has_ended_has_a_status_and_a_time() {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let (status, cpu) = wait(child).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert!(cpu.is_some_and(|cpu| cpu < Duration::from_secs(10)));
    }
}
