//! A `podbox node` as a process of its own: started, measured, ended or killed.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podbox::clock;
use podbox_tests::api::Access;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How its first lines say where the kubeconfig is.
const SAYS: &str = "export KUBECONFIG=";

/// Where nodes run: a directory on a real disk, and a cgroup, so that what they leave running is ended in the end.
pub struct Ground {
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Ground {
    /// Makes both. What is durable in memory proves nothing, so that is refused.
    pub fn new() -> Result<Ground> {
        let program = std::env::current_exe()?;
        let beside = program.parent().context("a program lies in a directory")?;
        let dir = tempfile::Builder::new().prefix("bench-api-").tempdir_in(beside)?;
        let root = podbox::cli::config().cgroup_root;
        let ground = Ground { dir, cgroup: root.join(format!("podbox-bench-{}", std::process::id())) };
        ensure!(ground.file_system()? != "tmpfs", "{} is in memory; run this on a host", beside.display());
        fs::create_dir(&ground.cgroup).context("a cgroup")?;
        Ok(ground)
    }

    /// Where things can be kept.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What kind of file system that is on.
    pub fn file_system(&self) -> Result<String> {
        let mut find = Command::new("findmnt");
        let found = find.args(["-n", "-o", "FSTYPE", "-T"]).arg(self.path()).output();
        let found = found.context("starting findmnt")?;
        Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        podbox_tests::host::end_cgroup(&self.cgroup);
    }
}

/// A node that serves.
pub struct Node {
    child: Child,
    /// How to get in.
    pub access: Access,
    /// From the process' start to its first answer.
    pub started_in: Duration,
}

impl Node {
    /// Starts one that keeps its state under this name.
    pub async fn start(ground: &Ground, name: &str) -> Result<Node> {
        let podbox = std::env::current_exe()?.with_file_name("podbox");
        let began = clock::instant();
        let mut command = Command::new(podbox);
        command.arg("node").env("PODBOX_STATE_DIR", ground.path().join(name));
        command.env("PODBOX_CGROUP_ROOT", &ground.cgroup);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting podbox")?;
        let said = BufReader::new(child.stdout.take().context("it has standard output")?);
        let mut lines = said.lines().map_while(Result::ok);
        let Some(path) = lines.find_map(|line| line.split_once(SAYS).map(|(_, path)| path.to_owned())) else {
            bail!("podbox node ended before it served: {}", child.wait()?);
        };
        let access = Access::read(Path::new(path.trim()))?;
        let answer = access.ask("GET", "/api/v1/namespaces/default", None).await?;
        ensure!(answer.code == 200, "the first request was answered with {}", answer.code);
        Ok(Node { child, access, started_in: clock::instant() - began })
    }

    /// Time that it has spent on a processor, all threads together.
    pub fn worked(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // What follows the name, which may have anything in it: user and system time are the 14th and 15th of all.
        let rest = stat.rsplit_once(')').context("a process has a name")?.1;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10))
    }

    /// Megabytes that the process holds once it has had a moment.
    pub async fn resident_when_quiet(&self) -> Result<f64> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// Ends it as an administrator does.
    pub fn end(&mut self) -> Result<()> {
        self.finish(Signal::SIGTERM)
    }

    /// Ends it as a fault does.
    pub fn kill(&mut self) -> Result<()> {
        self.finish(Signal::SIGKILL)
    }

    fn finish(&mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
